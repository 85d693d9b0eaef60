"""Executors run jobs. They know folders and who waits for whom, not gin and not sweeps."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

from launch.errors import LaunchError


@dataclasses.dataclass(frozen=True)
class Job:
    """One folder to work in.

    Attributes:
        id: Name of the job.
        folder: What the work is called with.
        after: The id of a job of the same run that must succeed first, if any.
    """

    id: str
    folder: pathlib.Path
    after: str | None = None


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one job may use.

    Attributes:
        cpus: CPU cores; also the number of threads of its computations.
        gpus: GPUs; below one, several jobs share a GPU.
        memory_gb: Memory in GB (1e9 bytes); a job that takes more is stopped. None sets no limit.
        minutes: Time; a job that takes longer is stopped. None sets no limit.
        workers: Processes of one job, joined by `tf.distribute`; each has the above.

    Raises:
        ValueError: If a value is not a number above zero (`gpus`: zero or above).
    """

    cpus: float = 1
    gpus: float = 0
    memory_gb: float | None = None
    minutes: float | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not (value > 0 or (field.name == "gpus" and value == 0)):
                raise ValueError(f"{field.name} = {value!r}: give it a number above zero")
        if not isinstance(self.workers, int):
            raise ValueError(f"workers = {self.workers!r}: give it a whole number")


@dataclasses.dataclass(frozen=True)
class Event:
    """What became of a job.

    Attributes:
        job: The job.
        state: `running` comes when a process starts on a job, `restarted` when that process died
            and another will try; `done` or `failed` comes once, last; `blocked` comes alone, when
            the job that this one waits for did not succeed.
        error: The last line of the error of a failed job, or why it was restarted.
        seconds: How long a finished job took.
    """

    job: Job
    state: Literal["running", "restarted", "done", "failed", "blocked"]
    error: str | None = None
    seconds: float | None = None


class Work(Protocol):
    """What is done in a job's folder. Can be pickled."""

    def __call__(self, folder: pathlib.Path, index: int = 0) -> str | None:
        """Does the work.

        Args:
            folder: The folder of the job.
            index: The place of this process among the `Resources.workers` of the job; only the
                first, 0, leaves results in the folder.

        Returns:
            None, or the last line of the error that it recorded in the folder.

        Raises:
            OSError: If no job can go on: the disk is full or turned read-only.
        """

    def fail(self, folder: pathlib.Path, error: str) -> None:
        """Records, from outside, that the job cannot be finished."""

    def failure(self, folder: pathlib.Path) -> str | None:
        """Returns the last line of the error recorded in the folder, if there is one."""


class Executor(contextlib.AbstractContextManager, Protocol):
    """Runs jobs, each after the one it waits for; leaving it as a context ends its processes."""

    def map(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Calls a function in the processes that are to run jobs, and returns what it returns.

        Args:
            function: Can be pickled, as can what it takes and returns.
            arguments: One for each call.
        """

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Event]:
        """Runs jobs and yields what happens as it happens.

        Args:
            jobs: The jobs, in the order to start them; a job comes after the one it waits for.
            work: What is done in the folder of each. What it raises ends the run.
        """


class ExecutorError(LaunchError):
    """Jobs cannot be run any more; those that finished are kept."""


NAMES = ("ray", "inline")


def create(name: str, resources: Resources, address: str | None = None) -> Executor:
    """Makes an executor.

    Args:
        name: One of `NAMES`.
        resources: What one job may use.
        address: The address of a Ray cluster; None starts Ray on this machine.

    Raises:
        ValueError: If the executor cannot do what is asked.
    """
    if name == "ray":
        from launch.executors import ray

        return ray.RayExecutor(resources, address)
    if name == "inline":
        from launch.executors import inline

        if address is not None:
            raise ValueError("--address is for --executor=ray; inline runs in this process")
        if resources.workers > 1:
            raise ValueError(f"{resources.workers} workers a trial need --executor=ray")
        return inline.InlineExecutor()
    raise ValueError(f"executor {name!r} is not one of {NAMES}")
