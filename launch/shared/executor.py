"""An executor whose jobs share a URL instead of a folder."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from launch import layout
from launch.executors import Event, Executor, ExecutorError, Job, Work
from launch.refresh import Refresher
from launch.shared import lease, mirror
from launch.shared.mirror import Mirror, TransferError
from launch.shared.sweep import push_tables
from launch.shared.work import SharedWork, is_done


class SharedExecutor(contextlib.AbstractContextManager):
    """Hands jobs to another executor by way of a URL, and brings back what they leave there."""

    def __init__(self, executor: Executor, sweep: Mirror) -> None:
        """Makes the executor.

        Args:
            executor: Runs the jobs.
            sweep: The folder of the sweep; those of the jobs are in it.
        """
        self._executor = executor
        self._sweep = sweep

    def __enter__(self) -> Self:
        """Enters the other executor."""
        self._executor.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Leaves the other executor."""
        self._executor.__exit__(*exception)

    def map(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Calls a function; see `launch.executors.Executor`."""
        return self._executor.map(function, arguments)

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Event]:
        """Runs jobs; see `launch.executors.Executor`.

        Raises:
            ExecutorError: If the URL cannot be reached.
            LaunchError: If another launcher runs the sweep.
        """
        refresh = Refresher(lambda: push_tables(self._sweep))
        try:
            with lease.hold(self._sweep) as check:
                self._publish([self._sweep / job.id for job in jobs])
                refresh()
                for event in self._executor.run(jobs, SharedWork(work, self._sweep.url)):
                    check()
                    if event.state in ("done", "failed"):
                        mirror.pull([self._sweep / event.job.id])
                        refresh()
                    yield event
        except TransferError as error:
            # The text of an error that comes from Ray is a traceback, its argument the error.
            raise ExecutorError(str(error.args[0])) from error

    def _publish(self, trials: Sequence[Mirror]) -> None:
        """Puts trials at the URL, without what another attempt left: it does not count any more."""
        # Another launcher may have finished some since the sweep was planned.
        mirror.pull(trials)
        todo = [trial for trial in trials if not is_done(trial)]
        mirror.remove(trial / name for trial in todo for name in (layout.RESULT, layout.ERROR))
        mirror.send(trial / name for trial in todo for name in (layout.CONFIG, layout.TRIAL))
