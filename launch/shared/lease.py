"""One launcher per sweep at a URL, as far as an object store can tell.

Object stores have no locks. A launcher leaves its name at the URL, writes it anew every half
minute, and stops when it finds another's there.
"""

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from launch.errors import LaunchError
from launch.shared import mirror
from launch.shared.mirror import Mirror, TransferError
from launch.shared.repeat import repeatedly

NAME = ".lock.json"
"""In the folder of a sweep at its URL."""

_SECONDS_BETWEEN_RENEWALS = 30.0
_SECONDS_TO_LIVE = 120.0


@contextlib.contextmanager
def hold(sweep: Mirror) -> Iterator[Callable[[], None]]:
    """Holds the lease of a sweep.

    Args:
        sweep: The sweep's folder.

    Yields:
        A function that raises LaunchError if another launcher has taken the lease since.

    Raises:
        LaunchError: If another launcher holds it; the message names it.
        TransferError: If the URL cannot be reached.
    """
    lease = _Lease(sweep / NAME)
    lease.claim()
    try:
        with repeatedly(lease.renew, _SECONDS_BETWEEN_RENEWALS):
            yield lease.check
    finally:
        lease.release()


def is_held(sweep: Mirror) -> bool:
    """Tells whether a launcher, on any machine, holds the lease of a sweep.

    Raises:
        TransferError: If the URL cannot be reached.
    """
    return _holder(sweep / NAME) is not None


class _Lease:
    def __init__(self, file: Mirror) -> None:
        self._file = file
        self._own = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "token": secrets.token_hex(8),
        }
        self._lost: LaunchError | None = None

    def claim(self) -> None:
        holder = _holder(self._file)
        if holder is not None and holder["token"] != self._own["token"]:
            folder = self._file.url.removesuffix(f"/{NAME}")
            raise LaunchError(
                f"{folder} is being run by process {holder['pid']} on {holder['host']}; wait for "
                f"it, or stop it first (if it was killed, wait {_SECONDS_TO_LIVE:.0f} seconds)"
            )
        self._file.write(json.dumps(self._own | {"time": time.time()}))

    def renew(self) -> None:
        try:
            self.claim()
        except TransferError:
            raise
        except LaunchError as error:
            self._lost = error

    def check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        with contextlib.suppress(TransferError):
            holder = _holder(self._file)
            if holder is not None and holder["token"] == self._own["token"]:
                mirror.remove([self._file])


def _holder(file: Mirror) -> dict[str, Any] | None:
    """Returns who holds a lease; None for one that nobody has renewed, or whose process is gone."""
    text = file.read()
    if text is None:
        return None
    holder = json.loads(text)
    is_over = time.time() - holder["time"] > _SECONDS_TO_LIVE
    is_here = holder["host"] == socket.gethostname()
    return None if is_over or (is_here and not psutil.pid_exists(holder["pid"])) else holder
