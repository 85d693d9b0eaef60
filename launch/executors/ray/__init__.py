"""Runs jobs as Ray tasks: in warm processes on this machine, or on a cluster.

A job runs in one process at a time. A process that dies takes no other job with it: the job starts
again in a fresh one, where it resumes from what its folder holds, and fails after the third.
"""

import collections
import contextlib
import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from launch.executors import Event, ExecutorError, Job, Resources, Work
from launch.executors.ray import cluster, process

_MAX_ATTEMPTS = 3
_POLL_SECONDS = 1.0


class RayExecutor(contextlib.AbstractContextManager):
    """Runs as many jobs at once as the machine or the cluster has room for.

    Its processes stay warm from one call to the next. Use it as a context.
    """

    def __init__(self, resources: Resources, address: str | None = None) -> None:
        """Makes the executor.

        Args:
            resources: What one job may use.
            address: `host:port` of the head of a Ray cluster, or `auto`; None starts Ray here.

        Raises:
            ValueError: If the address is one of Ray's client.
        """
        if address is not None and address.startswith("ray://"):
            raise ValueError(
                f"--address={address}: give the head's own host:port (6379 is Ray's default), on a "
                "machine of the cluster; Ray's client cannot follow running trials"
            )
        self._resources = resources
        self._connected = cluster.connected(address, resources)

    def __enter__(self) -> Self:
        """Starts Ray, or joins the cluster.

        Raises:
            ExecutorError: If there is no cluster, or this machine is too small for one job.
        """
        self._connection = self._connected.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Stops Ray, or leaves the cluster."""
        self._connected.__exit__(*exception)

    def map(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Calls a function in as many processes as there is room for; see `Executor`.

        Raises:
            ExecutorError: If the cluster went away, or the function ends its process.
        """
        import ray

        count = max(1, min(self._connection.room(), len(arguments)))
        task = process.remote(self._resources, process.call).options(
            **cluster.options(self._resources, None)
        )
        shares = [arguments[start::count] for start in range(count)]
        tasks = [
            task.remote(function, share, self._resources, pathlib.Path.cwd()) for share in shares
        ]
        waiting = tasks
        while waiting:
            self._connection.check()
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_POLL_SECONDS)
        try:
            returned = ray.get(tasks)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise ExecutorError(cluster.cause_of_death(error)) from error
        results = list(arguments)
        for start, share in enumerate(returned):
            results[start::count] = share
        return results

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Event]:
        """Runs jobs; see `launch.executors.Executor`.

        Raises:
            ExecutorError: If the cluster went away.
        """
        yield from _Run(jobs, work, self._resources, self._connection).events()


@dataclasses.dataclass
class _Attempt:
    """One process at work on one job."""

    job: Job
    number: int
    group: Any = None
    started: float | None = None
    is_late: bool = False


class _Run:
    """One call of `RayExecutor.run`."""

    def __init__(
        self, jobs: Sequence[Job], work: Work, resources: Resources, connection: cluster.Connection
    ) -> None:
        import ray

        self._task = process.remote(resources, process.do)
        self._shared_work = ray.put(work)
        self._work = work
        self._resources = resources
        self._connection = connection
        ids = {job.id for job in jobs}
        self._dependents: dict[str, list[Job]] = collections.defaultdict(list)
        self._ready: collections.deque[_Attempt] = collections.deque()
        for job in jobs:
            if job.after in ids:
                self._dependents[job.after].append(job)
            else:
                self._ready.append(_Attempt(job, 1))
        self._running: dict[Any, _Attempt] = {}

    def events(self) -> Iterator[Event]:
        """Yields events until no job is left; then, or when told to stop, nothing runs on."""
        import ray

        try:
            while self._ready or self._running:
                self._submit()
                self._connection.check()
                running = list(self._running)
                finished, _ = ray.wait(running, num_returns=1, timeout=_POLL_SECONDS)
                for stream in finished:
                    yield from self._next(stream)
                self._stop_late()
        finally:
            for stream, attempt in self._running.items():
                ray.cancel(stream, force=True)
                cluster.release(attempt.group)

    def _submit(self) -> None:
        room = self._connection.slots() - len(self._running)
        for _ in range(min(room, len(self._ready))):
            attempt = self._ready.popleft()
            attempt.group = cluster.reserve(self._resources)
            options = cluster.options(self._resources, attempt.group)
            if attempt.number > 1:
                # Processes are shared among tasks of one environment only: this one's is new.
                name = f"{attempt.job.id} {attempt.number}"
                options["runtime_env"] = {"env_vars": {process.FRESH: name}}
            folder = attempt.job.folder.absolute()
            directory = pathlib.Path.cwd()
            stream = self._task.options(**options).remote(
                self._shared_work, folder, self._resources, directory
            )
            self._running[stream] = attempt

    def _next(self, stream: Any) -> Iterator[Event]:
        """Yields what the next item of a task's stream, or the end of its process, says."""
        import ray

        attempt = self._running[stream]
        try:
            item = ray.get(next(stream))
        except StopIteration:
            return
        except (ray.exceptions.RayError, OSError) as error:
            self._forget(stream)
            yield from self._died(attempt, error)
            return
        if isinstance(item, process.Started):
            attempt.started = time.monotonic()
            yield Event(attempt.job, "running")
            return
        self._forget(stream)
        yield from self._finished(attempt, item.error)

    def _forget(self, stream: Any) -> None:
        cluster.release(self._running.pop(stream).group)

    def _died(self, attempt: _Attempt, error: Exception) -> Iterator[Event]:
        import ray

        folder = attempt.job.folder
        if isinstance(error, ray.exceptions.RayTaskError):
            if isinstance(error, OSError):
                raise error
            self._work.fail(folder, str(error))
        elif attempt.is_late:
            minutes = self._resources.minutes
            self._work.fail(folder, f"took longer than {minutes:g} minutes")
        elif self._work.failure(folder) is None:
            cause = cluster.cause_of_death(error)
            if attempt.number < _MAX_ATTEMPTS:
                self._ready.appendleft(_Attempt(attempt.job, attempt.number + 1))
                yield Event(attempt.job, "restarted", cause)
                return
            self._work.fail(folder, f"{cause}, {_MAX_ATTEMPTS} times")
        yield from self._finished(attempt, self._work.failure(folder))

    def _finished(self, attempt: _Attempt, error: str | None) -> Iterator[Event]:
        seconds = None if attempt.started is None else time.monotonic() - attempt.started
        dependents = self._dependents.pop(attempt.job.id, [])
        if error is None:
            yield Event(attempt.job, "done", seconds=seconds)
            self._ready.extend(_Attempt(job, 1) for job in dependents)
            return
        yield Event(attempt.job, "failed", error, seconds)
        while dependents:
            yield from (Event(job, "blocked") for job in dependents)
            blocked = (self._dependents.pop(job.id, []) for job in dependents)
            dependents = list(itertools.chain.from_iterable(blocked))

    def _stop_late(self) -> None:
        import ray

        if self._resources.minutes is None:
            return
        for stream, attempt in self._running.items():
            is_over = (
                attempt.started is not None
                and time.monotonic() - attempt.started > 60 * self._resources.minutes
            )
            if is_over and not attempt.is_late:
                attempt.is_late = True
                ray.cancel(stream, force=True)
