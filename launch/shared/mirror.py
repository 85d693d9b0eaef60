"""Keeps a local folder and a URL equal by copying whole files, with TensorFlow's file systems.

A file is the same on both sides when its length and its time are: a copy gets the time that the
URL shows. TensorFlow is imported where it is needed: most commands know only local folders.
"""

import contextlib
import dataclasses
import os
import pathlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from launch import layout
from launch.errors import LaunchError

# What ends a trial: it travels last, so that the rest is there when it is.
_ENDS = (layout.RESULT, layout.ERROR)
# TensorFlow's names: a checkpoint, and the file that says which is the latest.
_CHECKPOINT = "ckpt-"
_LATEST = "checkpoint"
_TRANSFERS = 32


class TransferError(LaunchError, OSError):
    """A URL cannot be read or written, so no trial can go on."""


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Says what a reader can do about an error of TensorFlow's file systems."""
    from tensorflow import errors
    from tensorflow.io import gfile

    try:
        yield
    except errors.UnimplementedError as error:
        known = ", ".join(f"{scheme}://" for scheme in gfile.get_registered_schemes() if scheme)
        raise TransferError(
            f"{error.message}: TensorFlow knows {known} here; mount any other and give the folder"
        ) from error
    except errors.OpError as error:
        reason = " ".join(error.message.split()) or type(error).__name__
        raise TransferError(
            f"{reason}; check the address, the network and the credentials "
            "(GOOGLE_APPLICATION_CREDENTIALS for gs://), then run the same command again"
        ) from error


@dataclasses.dataclass(frozen=True)
class Mirror:
    """A folder, or a file, at a URL and its copy on this machine.

    Files whose names start with a dot are locks, or half-written: they stay where they are. Every
    method raises `TransferError` if the URL cannot be reached.

    Attributes:
        url: Any URL that `tf.io.gfile` reads and writes.
        path: The local path.
    """

    url: str
    path: pathlib.Path

    def __truediv__(self, name: str) -> "Mirror":
        """Returns the mirror of what this folder has under a name."""
        return Mirror(f"{self.url}/{name}", self.path / name)

    @_reported()
    def names(self) -> list[str]:
        """Returns what is in the folder at the URL; nothing if there is no such folder."""
        return _names(self)

    @_reported()
    def pull(self) -> None:
        """Brings the local folder up to date with the URL, checkpoints and all; see `pull`."""
        _pull([self], checkpoints=True)

    @_reported()
    def push(self) -> None:
        """Brings the URL up to date with the local folder, in which a trial may be at work.

        What is no longer in the local folder is removed from the URL, but for a result or an error.
        """
        # Read first: if it is the same in the end, all that it points to was listed and sent.
        latest = self._latest()
        here = {self / str(path.relative_to(self.path)): path for path in _walk(self.path)}
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            there = _files(pool, [self], checkpoints=True)
            changed = [file for file in here if not file._is_at_url(there.get(file))]
            _send(pool, [file for file in changed if file.path.name not in (*_ENDS, _LATEST)])
            if latest == self._latest():
                for file, content in latest.items():
                    file._write(content)
                gone = there.keys() - here.keys()
                _each(pool, Mirror._remove, [f for f in gone if f.path.name not in _ENDS])
            _send(pool, [file for file in changed if file.path.name in _ENDS])

    @_reported()
    def read(self) -> str | None:
        """Returns the text of the file at the URL, past the local copy; None if there is none."""
        from tensorflow.io import gfile

        if self._status() is None:
            return None
        with gfile.GFile(self.url, "r") as file:
            return file.read()

    @_reported()
    def write(self, text: str) -> None:
        """Writes the file at the URL, whole or not at all, past the local copy."""
        self._write(text.encode())

    def _write(self, content: bytes) -> None:
        from tensorflow.io import gfile

        folder, _, name = self.url.rpartition("/")
        temporary = f"{folder}/.{name}"
        gfile.makedirs(folder)
        with gfile.GFile(temporary, "wb") as file:
            file.write(content)
        gfile.rename(temporary, self.url, overwrite=True)

    def _status(self) -> Any:
        """Returns the status of what is at the URL, or None."""
        from tensorflow import errors
        from tensorflow.io import gfile

        try:
            return gfile.stat(self.url)
        except errors.NotFoundError:
            return None

    def _remove(self) -> None:
        from tensorflow import errors
        from tensorflow.io import gfile

        with contextlib.suppress(errors.NotFoundError):
            gfile.remove(self.url)

    def _latest(self) -> dict["Mirror", bytes]:
        """Returns the files that say which checkpoint is the latest, and what they say."""
        paths = [path for path in _walk(self.path) if path.name == _LATEST]
        return {self / str(path.relative_to(self.path)): path.read_bytes() for path in paths}

    def _is_at_url(self, there: Any) -> bool:
        """Tells whether the file at the URL, of this status, is the local one."""
        if there is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            here = self.path.stat()
            return (here.st_size, here.st_mtime_ns) == (there.length, there.mtime_nsec)
        return True  # Nothing to send: a trial at work has removed it.

    def _is_current(self, there: Any) -> bool:
        """Tells whether the local file is the URL's or newer; goes by length without times."""
        try:
            here = self.path.stat()
        except FileNotFoundError:
            return False
        is_newer = here.st_mtime_ns > there.mtime_nsec > 0
        is_same = here.st_size == there.length and there.mtime_nsec in (0, here.st_mtime_ns)
        return is_newer or is_same

    def _fetch(self, there: Any) -> None:
        from tensorflow import errors
        from tensorflow.io import gfile

        if self._is_current(there):
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            # A trial at work may have removed the file since it was listed.
            with contextlib.suppress(errors.NotFoundError):
                gfile.copy(self.url, str(temporary))
                if there.mtime_nsec:
                    os.utime(temporary, ns=(there.mtime_nsec, there.mtime_nsec))
                os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _put(self) -> None:
        from tensorflow.io import gfile

        # The file is held open: it gets the time even where a trial at work has replaced it, and
        # what has replaced it does not.
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            if self.path.name in _ENDS:
                self._write(file.read())
            else:
                gfile.copy(str(self.path), self.url, overwrite=True)
            there = self._status()
            if there is not None and there.mtime_nsec:
                os.utime(file.fileno(), ns=(there.mtime_nsec, there.mtime_nsec))


@_reported()
def pull(folders: Iterable[Mirror]) -> None:
    """Brings the local folders of trials up to date with their URLs, without checkpoints.

    A local file that is newer is kept; not so a result or an error, without which at the URL a
    trial has not ended. A folder that has the URL's result is up to date.

    Raises:
        TransferError: If a URL cannot be reached.
    """
    _pull(folders, checkpoints=False)


@_reported()
def send(files: Iterable[Mirror]) -> None:
    """Brings files at their URLs up to date with the local ones, where there are such.

    Raises:
        TransferError: If a URL cannot be reached.
    """
    files = [file for file in files if file.path.is_file()]
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        there = zip(files, pool.map(Mirror._status, files), strict=True)
        _send(pool, [file for file, status in there if not file._is_at_url(status)])


@_reported()
def remove(files: Iterable[Mirror]) -> None:
    """Removes files from both sides, where they are there.

    Raises:
        TransferError: If a URL cannot be reached.
    """
    files = list(files)
    for file in files:
        file.path.unlink(missing_ok=True)
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        _each(pool, Mirror._remove, files)


def _pull(folders: Iterable[Mirror], *, checkpoints: bool) -> None:
    folders = list(folders)
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        if not checkpoints:
            ended = pool.map(_has_result, folders)
            folders = [folder for folder, end in zip(folders, ended, strict=True) if not end]
        files = _files(pool, folders, checkpoints)
        ends = [file for file in files if file.path.name in _ENDS]
        for batch in (files.keys() - ends, ends):
            _each(pool, lambda file: file._fetch(files[file]), batch)
    for end in (folder / name for folder in folders for name in _ENDS):
        if end not in files:
            end.path.unlink(missing_ok=True)


def _has_result(folder: Mirror) -> bool:
    result = folder / layout.RESULT
    there = result._status() if result.path.exists() else None
    return there is not None and result._is_current(there)


def _files(
    pool: ThreadPoolExecutor, folders: Iterable[Mirror], checkpoints: bool
) -> Mapping[Mirror, Any]:
    """Returns the status of every file below folders at their URLs, a level at a time."""
    files, folders = {}, list(folders)
    while folders:
        entries = [
            folder / name
            for folder, names in zip(folders, pool.map(_names, folders), strict=True)
            for name in names
            if checkpoints or _CHECKPOINT not in name
        ]
        statuses = zip(entries, pool.map(Mirror._status, entries), strict=True)
        there = {entry: status for entry, status in statuses if status is not None}
        files |= {entry: status for entry, status in there.items() if not status.is_directory}
        folders = [entry for entry, status in there.items() if status.is_directory]
    return files


def _names(folder: Mirror) -> list[str]:
    from tensorflow import errors
    from tensorflow.io import gfile

    try:
        names = [name.rstrip("/") for name in gfile.listdir(folder.url)]
    except errors.NotFoundError:
        # TensorFlow says so of a folder that it cannot reach, too; the status tells.
        if folder._status() is None:
            return []
        raise
    return [name for name in names if name and not name.startswith(".")]


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for parent, _, names in os.walk(folder):
        yield from (pathlib.Path(parent, name) for name in names if not name.startswith("."))


def _send(pool: ThreadPoolExecutor, files: Iterable[Mirror]) -> None:
    from tensorflow.io import gfile

    files = list(files)
    _each(pool, gfile.makedirs, {file.url.rpartition("/")[0] for file in files})
    for is_end in (False, True):
        _each(pool, Mirror._put, [file for file in files if (file.path.name in _ENDS) is is_end])


def _each(pool: ThreadPoolExecutor, function: Callable[[Any], object], items: Iterable) -> None:
    for _ in pool.map(function, items):
        pass
