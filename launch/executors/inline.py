"""Runs jobs one after another in this process."""

import gc
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

from launch.executors import Event, Job


class InlineExecutor:
    """The serial executor: for one machine, for tests and for debugging."""

    def __init__(self, reset: Callable[[], object] = gc.collect) -> None:
        """Makes the executor.

        Args:
            reset: Called after each job, to free what it left in the process.
        """
        self._reset = reset

    def run(
        self, jobs: Sequence[Job], work: Callable[[pathlib.Path], str | None]
    ) -> Iterator[Event]:
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
