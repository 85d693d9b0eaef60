"""Does something again and again beside the main work."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from launch.shared.mirror import TransferError


@contextlib.contextmanager
def repeatedly(function: Callable[[], object], seconds: float) -> Iterator[None]:
    """Calls a function every so many seconds, on a thread of its own, until the block ends.

    A call that cannot reach its URL is passed over: the next one may.
    """
    ended = threading.Event()

    def call() -> None:
        while not ended.wait(seconds):
            with contextlib.suppress(TransferError):
                function()

    thread = threading.Thread(target=call, name=function.__qualname__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
