"""Executors run jobs. They know folders and who waits for whom, not gin and not sweeps."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol


@dataclasses.dataclass(frozen=True)
class Job:
    """One folder to work in.

    Attributes:
        id: Name of the job.
        folder: What the work function is called with.
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
        workers: Processes of one job, joined by `tf.distribute`.

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
        state: `running` comes once before `done` or `failed`; `blocked` comes alone, when the job
            that this one waits for did not succeed.
        error: The last line of the error of a failed job.
        seconds: How long a finished job took.
    """

    job: Job
    state: Literal["running", "done", "failed", "blocked"]
    error: str | None = None
    seconds: float | None = None


class Executor(Protocol):
    """Runs jobs, each after the one it waits for."""

    def run(
        self, jobs: Sequence[Job], work: Callable[[pathlib.Path], str | None]
    ) -> Iterator[Event]:
        """Runs jobs and yields what happens as it happens.

        Args:
            jobs: The jobs, in the order to start them; a job comes after the one it waits for.
            work: Called with a job's folder; returns None or an error line. Can be pickled. What it
                raises ends the run.
        """


NAMES = ("inline",)


def create(name: str) -> Executor:
    """Makes an executor by its name, one of `NAMES`."""
    if name == "inline":
        from launch.executors import inline

        return inline.InlineExecutor()
    raise ValueError(f"executor {name!r} is not one of {NAMES}")
