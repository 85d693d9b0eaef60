"""Keeps something up to date that gets dearer the more trials there are."""

import time
from collections.abc import Callable

_MIN_SECONDS = 5.0
_LARGEST_SHARE = 0.05


class Refresher:
    """Calls a function when it is asked to, but not too often.

    The first call goes through. After each, calls are passed over for five seconds, or for as long
    as makes the function cost a twentieth of the time.
    """

    def __init__(
        self, refresh: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes the refresher.

        Args:
            refresh: What to call.
            clock: The time in seconds.
        """
        self._refresh = refresh
        self._clock = clock
        self._due = clock()

    def __call__(self) -> None:
        """Calls the function if it is time."""
        start = self._clock()
        if start >= self._due:
            self._refresh()
            end = self._clock()
            self._due = end + max(_MIN_SECONDS, (end - start) / _LARGEST_SHARE)
