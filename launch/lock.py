"""One launcher per sweep folder."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from launch import layout
from launch.errors import LaunchError


@contextlib.contextmanager
def hold(sweep_folder: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a sweep folder; the system frees it when the process dies.

    Args:
        sweep_folder: The folder; made when missing.

    Raises:
        LaunchError: If another process holds the lock, which the message names, or the folder
            cannot be written to.
    """
    with _opened(sweep_folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise LaunchError(
                f"{sweep_folder} is being run by {file.read().strip() or 'another process'}; "
                "wait for it, or stop it first"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _opened(sweep_folder: pathlib.Path) -> IO[str]:
    try:
        sweep_folder.mkdir(parents=True, exist_ok=True)
        return open(sweep_folder / layout.LOCK, "a+", encoding="utf-8")
    except OSError as error:
        raise LaunchError(
            f"{error.strerror}: {error.filename}; give --runs a folder that can be written to"
        ) from error


def is_held(sweep_folder: pathlib.Path) -> bool:
    """Tells whether a process on this machine holds the lock of a sweep folder."""
    try:
        with open(sweep_folder / layout.LOCK, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
