"""Stops a process that takes more memory than it may."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import psutil

_SECONDS_BETWEEN_LOOKS = 0.25
_EXIT_STATUS = 70
GB = 1e9


@contextlib.contextmanager
def limit(memory_gb: float | None, on_exceeded: Callable[[str], None]) -> Iterator[None]:
    """Ends this process, at once and without clean-up, when it takes more memory than allowed.

    Args:
        memory_gb: The most resident memory, in GB (1e9 bytes); None sets no limit.
        on_exceeded: Called with the reason just before the end.
    """
    if memory_gb is None:
        yield
        return
    finished = threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not finished.wait(_SECONDS_BETWEEN_LOOKS):
            used = process.memory_info().rss / GB
            if used > memory_gb:
                try:
                    on_exceeded(f"took {used:.2f} GB of memory; it may take {memory_gb:g} GB")
                finally:
                    os._exit(_EXIT_STATUS)

    watcher = threading.Thread(target=watch, name="memory limit", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
