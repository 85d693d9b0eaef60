"""Remembers what the small files of a sweep hold, so that only new and changed ones are read.

A sweep of ten thousand trials has thirty thousand of them. What was read is kept in one file,
`.index.json`, under the size, the time and the inode of its source: a file that was replaced,
edited or copied is read again. The index may be deleted at any time.
"""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from kwc import files
from launch import layout

_VERSION = 1

Parse = Callable[[str], Any]
Read = Callable[[pathlib.Path, Parse], Any]


def read_now(path: pathlib.Path, parse: Parse) -> Any:
    """Reads and parses a text file, and remembers nothing."""
    return parse(path.read_text(encoding="utf-8"))


class Index:
    """What was read from the trials of one sweep."""

    def __init__(self, sweep_folder: pathlib.Path) -> None:
        """Opens the index of `runs/<sweep>/`; one that cannot be read is empty."""
        self._folder = sweep_folder
        self._is_changed = False
        self._files: dict[str, tuple[list[int], Any]] = {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            saved = json.loads((sweep_folder / layout.INDEX).read_text(encoding="utf-8"))
            if saved["version"] == _VERSION:
                self._files = dict(saved["files"])

    def read(self, path: pathlib.Path, parse: Parse) -> Any:
        """Returns what a file of a trial holds.

        Args:
            path: `runs/<sweep>/<id>/<name>`.
            parse: Makes a JSON value of the file's text; not called for a file that is as it was.
                A file is always read with the same one.

        Raises:
            OSError: If the file cannot be read.
            Exception: Whatever `parse` raises; it is called again the next time.
        """
        key = f"{path.parent.name}/{path.name}"
        status = os.stat(path)
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        if key not in self._files or self._files[key][0] != stamp:
            self._files[key] = stamp, read_now(path, parse)
            self._is_changed = True
        return self._files[key][1]

    def save(self) -> None:
        """Writes the index if something was read, without what is gone; it may fail to."""
        if self._is_changed:
            with contextlib.suppress(OSError):
                there = set(os.listdir(self._folder))
                kept = {k: v for k, v in self._files.items() if k.partition("/")[0] in there}
                text = json.dumps({"version": _VERSION, "files": kept})
                files.write_atomically(self._folder / layout.INDEX, text)
                self._is_changed = False


def of(sweep_folder: pathlib.Path) -> Index:
    """Returns the index of a sweep; a process opens it once."""
    return _opened(sweep_folder.absolute())


_opened = functools.lru_cache(maxsize=1)(Index)
