"""Runs one trial in its folder, in whichever process an executor chose."""

import contextlib
import dataclasses
import errno
import fcntl
import logging
import os
import pathlib
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from kwc import files
from launch import attempts, layout, results
from launch.errors import LaunchError, last_line
from launch.executors import ExecutorError

RunTrial = Callable[[pathlib.Path, pathlib.Path], Any]

# What stops every trial of a run folder, and how to mend it.
_STOPPING = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EROFS: "make it writable again",
}
_SECONDS_BETWEEN_TRIES = 0.2


@dataclasses.dataclass(frozen=True)
class TrialWork:
    """Runs a trial in its folder; see `launch.executors.Work`.

    Output goes to `log.txt`, the traceback of a failure to `error.txt`, and a line at the start and
    the end of each attempt to `attempts.jsonl`.

    Attributes:
        run_trial: Called with the config's path and a folder; writes `result.json` last.
    """

    run_trial: RunTrial

    def __call__(self, folder: pathlib.Path, index: int = 0) -> str | None:
        """Runs the trial, unless another process has finished it by then.

        Args:
            folder: The trial's folder, holding its `config.gin`.
            index: The place of this process among those of the trial. All but the first work in a
                folder of their own, beside the trial's.

        Returns:
            None when the trial left a valid result, else the last line of its error.

        Raises:
            ExecutorError: If the folder cannot be seen from this machine.
            OSError: If the disk is full or read-only; the trial is then neither done nor failed.
            KeyboardInterrupt: If the user stops it; likewise.
        """
        if not folder.is_dir():
            raise ExecutorError(
                f"{folder} is not there on {socket.gethostname()}: the run folder must have the "
                "same path on every machine of the cluster, or be a URL"
            )
        if index:
            return self._assist(folder, index)
        with sole(folder / layout.LOCK):
            with contextlib.suppress(LaunchError):
                results.read(folder / layout.RESULT)
                return None
            return self._run(folder)

    def fail(self, folder: pathlib.Path, error: str) -> None:
        """Writes `error.txt` for a trial whose process could not."""
        files.write_atomically(folder / layout.ERROR, error + "\n")
        attempts.end(folder, "failed", error=last_line(error))

    def failure(self, folder: pathlib.Path) -> str | None:
        """Returns the last line of `error.txt`, if there is one."""
        try:
            return last_line((folder / layout.ERROR).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _run(self, folder: pathlib.Path) -> str | None:
        (folder / layout.ERROR).unlink(missing_ok=True)
        attempts.start(folder)
        start = time.monotonic()
        try:
            with _captured(folder / layout.LOG):
                self.run_trial(folder / layout.CONFIG, folder)
                results.read(folder / layout.RESULT)
        except (Exception, SystemExit) as error:
            stopping = stopping_error(error)
            if stopping is not None:
                raise OSError(stopping, os.strerror(stopping), str(folder)) from error
            # What was written, if anything, is no result: the trial has failed.
            (folder / layout.RESULT).unlink(missing_ok=True)
            text = "".join(traceback.format_exception(error))
            files.write_atomically(folder / layout.ERROR, text)
            last = last_line(text)
            attempts.end(folder, "failed", error=last, seconds=time.monotonic() - start)
            return last
        attempts.end(folder, "done", seconds=time.monotonic() - start)
        return None

    def _assist(self, folder: pathlib.Path, index: int) -> None:
        scratch = folder.with_name(f"{folder.name}.worker{index}")
        # All processes must resume from the same step: that of the first one's checkpoint.
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        for path in [*folder.glob("ckpt-*"), *folder.glob("checkpoint")]:
            shutil.copy2(path, scratch)
        with _captured(scratch / layout.LOG):
            self.run_trial(folder / layout.CONFIG, scratch)
        shutil.rmtree(scratch)


def stopping_error(error: BaseException | None) -> int | None:
    """Returns the `errno` of a full or read-only disk behind an exception, if there is one.

    Python and TensorFlow say it differently; the text is that of the system in both.
    """
    while error is not None:
        for code in _STOPPING:
            is_same = isinstance(error, OSError) and error.errno == code
            if is_same or os.strerror(code) in str(error):
                return code
        error = error.__cause__ or error.__context__
    return None


def mend(code: int) -> str:
    """Returns what to do about a `stopping_error`."""
    return _STOPPING[code]


@contextlib.contextmanager
def sole(lock: pathlib.Path) -> Iterator[None]:
    """Waits until no other process works on a trial, and keeps others out.

    A process that Ray lost sight of may live on for a minute, with its trial.

    Args:
        lock: The file that they lock.
    """
    with open(lock, "a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_SECONDS_BETWEEN_TRIES)
        yield


@contextlib.contextmanager
def _captured(path: pathlib.Path) -> Iterator[None]:
    """Appends Python's and native code's standard output and error, and logging, to a file."""
    with open(path, "a", encoding="utf-8", buffering=1) as log, contextlib.ExitStack() as stack:
        log.write(f"--- process {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            stack.enter_context(_redirected(stream, descriptor, log))
        stack.enter_context(contextlib.redirect_stdout(log))
        stack.enter_context(contextlib.redirect_stderr(log))
        stack.enter_context(_logged(log))
        yield


@contextlib.contextmanager
def _redirected(stream: TextIO, descriptor: int, log: TextIO) -> Iterator[None]:
    """Points a file descriptor at the log, for native code and for handlers made earlier."""
    stream.flush()
    saved = os.dup(descriptor)
    os.dup2(log.fileno(), descriptor)
    try:
        yield
    finally:
        stream.flush()
        os.dup2(saved, descriptor)
        os.close(saved)


@contextlib.contextmanager
def _logged(log: TextIO) -> Iterator[None]:
    """Sends Python and absl logging from INFO up to the log."""
    root = logging.getLogger()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
