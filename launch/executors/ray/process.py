"""What happens in the process that does a job."""

import dataclasses
import gc
import os
import pathlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from launch.executors import Resources, Work, memory
from launch.executors.ray import environment, group

# Jobs a process does before a new one takes its place: TensorFlow keeps some memory of each.
_JOBS_PER_PROCESS = 24
# Set in the environment of a process that was started for one job.
FRESH = "KWC_FRESH_PROCESS"

_jobs_done = 0


@dataclasses.dataclass(frozen=True)
class Started:
    """The first item of a task's stream."""

    host: str
    pid: int


@dataclasses.dataclass(frozen=True)
class Finished:
    """The last item of a task's stream: the error of the job, if it failed."""

    error: str | None


def remote(resources: Resources, function: Callable[..., Any]) -> Any:
    """Returns a function as a Ray task; processes are kept warm where nothing forbids it."""
    import ray

    # A process gives a GPU's memory back, and leaves a group, only when it ends.
    is_shared = resources.gpus == 0 and resources.workers == 1
    jobs = _JOBS_PER_PROCESS if is_shared else 1
    return ray.remote(max_calls=jobs, max_retries=0)(function)


def call(
    function: Callable[[Any], Any],
    arguments: Sequence[Any],
    resources: Resources,
    directory: pathlib.Path,
) -> list[Any]:
    """Calls a function, once for each argument, as a job would be done."""
    environment.prepare(resources, directory)
    return [function(argument) for argument in arguments]


def do(
    work: Work, folder: pathlib.Path, resources: Resources, directory: pathlib.Path
) -> Iterator[Started | Finished]:
    """Does one job.

    Args:
        work: What is done.
        folder: The job's folder.
        resources: What the job may use.
        directory: The launcher's working directory, which relative paths are meant from.

    Yields:
        `Started`, then `Finished`.

    Raises:
        ExecutorError: If the working directory cannot be seen from this machine.
        OSError: If no job can go on.
    """
    global _jobs_done
    environment.prepare(resources, directory)
    yield Started(socket.gethostname(), os.getpid())
    is_warm = _jobs_done > 0 and FRESH not in os.environ
    _jobs_done += 1

    def exceeded(reason: str) -> None:
        # What earlier jobs left in a warm process is not this one's fault: it gets a fresh one.
        if not is_warm:
            work.fail(folder, reason)

    with memory.limit(resources.memory_gb, exceeded), group.joined(work, folder, resources):
        error = work(folder)
    yield Finished(error)
    # Now, not amid the next job.
    gc.collect()
