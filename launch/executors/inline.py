"""Runs jobs one after another in this process."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from launch.executors import Event, Job, Work
from launch.refresh import Refresher


class InlineExecutor(contextlib.AbstractContextManager):
    """The serial executor: for tests and for debugging. It sets no limits of time and memory."""

    def __init__(self, reset: Callable[[], object] | None = None) -> None:
        """Makes the executor.

        Args:
            reset: Called after each job, to free what it left in the process. By default garbage
                is collected, though not after each of many short jobs.
        """
        self._reset = reset or Refresher(gc.collect)

    def __exit__(self, *exception: object) -> None:
        """Ends nothing: there is no other process."""

    def map(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Calls a function; see `launch.executors.Executor`."""
        return [function(argument) for argument in arguments]

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Event]:
        """Runs jobs in order; see `launch.executors.Executor`."""
        unsuccessful: set[str] = set()
        for job in jobs:
            if job.after in unsuccessful:
                unsuccessful.add(job.id)
                yield Event(job, "blocked")
                continue
            yield Event(job, "running")
            start = time.monotonic()
            error = work(job.folder)
            seconds = time.monotonic() - start
            self._reset()
            if error is None:
                yield Event(job, "done", seconds=seconds)
            else:
                unsuccessful.add(job.id)
                yield Event(job, "failed", error, seconds)
