"""Runs one trial in its folder, in whichever process an executor chose."""

import contextlib
import errno
import logging
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from kwc import files
from launch import layout, results

RunTrial = Callable[[pathlib.Path, pathlib.Path], Any]


def work(folder: pathlib.Path, run_trial: RunTrial) -> str | None:
    """Runs a trial; its output goes to `log.txt`, the traceback of a failure to `error.txt`.

    Args:
        folder: The trial's folder, holding its `config.gin`.
        run_trial: Called with the config's path and the folder; writes `result.json` last.

    Returns:
        None when the trial left a valid result, else the last line of its error.

    Raises:
        OSError: If the disk is full; the trial is then neither done nor failed.
        KeyboardInterrupt: If the user stops it; likewise.
    """
    (folder / layout.ERROR).unlink(missing_ok=True)
    try:
        with _captured(folder / layout.LOG):
            run_trial(folder / layout.CONFIG, folder)
            results.read(folder / layout.RESULT)
    except (Exception, SystemExit) as error:
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        text = "".join(traceback.format_exception(error))
        files.write_atomically(folder / layout.ERROR, text)
        return text.strip().splitlines()[-1]
    return None


def is_disk_full(error: BaseException | None) -> bool:
    """Tells whether a full disk is behind an exception, as Python or TensorFlow say it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


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
