"""One trial of a sweep, its folder, and the state that its folder shows."""

import contextlib
import dataclasses
import enum
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from kwc import files
from launch import index, layout, results
from launch.errors import LaunchError, last_line


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of one config with one seed.

    Attributes:
        id: Hash of everything that decides the result; also the name of the trial's folder.
        kind: Whether it trains the dense baseline of an (arch, seed) or compresses it; a `rung`
            compresses it with less training, see `launch.halving`.
        axes: The value of each axis of the grid: a gin file's name, or a macro's value.
        seed: The seed of the run.
        baseline: The id of the baseline trial that must be done first, if any.
        identity: What the id covers beside the config: the version of kwc, the data's checksum.
        config: The whole gin text.
    """

    id: str
    kind: Literal["baseline", "rung", "compression"]
    axes: Mapping[str, Any]
    seed: int
    baseline: str | None
    identity: Mapping[str, Any]
    config: str

    def save(self, sweep_folder: pathlib.Path, read: index.Read = index.read_now) -> None:
        """Writes `config.gin` and `trial.json` into the trial's folder, unless they are there."""
        folder = sweep_folder / self.id
        with contextlib.suppress(LaunchError):
            if Trial.load(folder, read) == self:
                return
        record = dataclasses.asdict(self)
        config = record.pop("config")
        files.write_atomically(folder / layout.CONFIG, config)
        files.write_atomically(folder / layout.TRIAL, json.dumps(record, indent=1) + "\n")

    @classmethod
    def load(cls, folder: pathlib.Path, read: index.Read = index.read_now) -> "Trial":
        """Reads a trial from its folder.

        Args:
            folder: The trial's folder.
            read: Reads a file; that of an `Index` remembers what it has read.

        Raises:
            LaunchError: If the folder does not hold the trial that it is named after.
        """
        try:
            record = read(folder / layout.TRIAL, json.loads)
            trial = cls(**record, config=read(folder / layout.CONFIG, str))
        except (OSError, ValueError, TypeError) as error:
            raise LaunchError(
                f"{folder} holds no readable trial ({error}); `kwc sweep run` writes it again"
            ) from error
        if trial.id != folder.name:
            raise LaunchError(f"{folder} holds trial {trial.id}; give the folder its name back")
        return trial

    def describe(self) -> str:
        """Returns one line that names the trial to a reader."""
        values = [
            axis_label(value) if is_file(value) else f"{axis}={axis_label(value)}"
            for axis, value in self.axes.items()
        ]
        kind = ["baseline"] if self.kind == "baseline" else []
        return " ".join([*values, *kind, f"seed={self.seed}"])


def is_file(value: Any) -> bool:
    """Tells whether an axis value names a gin file; any other is a macro's value."""
    return isinstance(value, str) and value.endswith(".gin")


def axis_label(value: Any) -> str:
    """Returns how an axis value is shown and asked for: a file by its stem.

    Example:
        >>> axis_label("archs/lenet5.gin"), axis_label(0.5)
        ('lenet5', '0.5')
    """
    return value.rpartition("/")[2].removesuffix(".gin") if is_file(value) else str(value)


class State(enum.StrEnum):
    """Where a trial stands."""

    DONE = "done"
    FAILED = "failed"
    BROKEN = "broken"
    BLOCKED = "blocked"
    PENDING = "pending"


@dataclasses.dataclass(frozen=True)
class Status:
    """A trial's state, with the result of a done trial or the reason of a stopped one.

    Attributes:
        state: Where the trial stands.
        note: Why it stopped; empty for a trial that is done or pending.
        result: What a done trial wrote.
        can_retry: Whether running it again would lose nothing but a failure.
    """

    state: State
    note: str = ""
    result: results.Result | None = None
    can_retry: bool = True


def read_status(
    sweep_folder: pathlib.Path, trial: Trial, read: index.Read = index.read_now
) -> Status:
    """Reads the state of one trial from its folder; never raises on what a trial wrote.

    Args:
        sweep_folder: `runs/<sweep>/`.
        trial: The trial.
        read: Reads a file; that of an `Index` remembers what it has read.
    """
    folder = sweep_folder / trial.id
    try:
        if (folder / layout.RESULT).exists():
            Trial.load(folder, read)
            result = results.read(folder / layout.RESULT, read, results.without_weights)
            return Status(State.DONE, result=result)
        if (folder / layout.ERROR).exists():
            text = (folder / layout.ERROR).read_text(encoding="utf-8", errors="replace")
            return Status(State.FAILED, last_line(text))
    except results.UnknownSchemaError as error:
        return Status(State.BROKEN, str(error), can_retry=False)
    except LaunchError as error:
        return Status(State.BROKEN, str(error))
    return Status(State.PENDING)


def read_statuses(sweep_folder: pathlib.Path, trials: Iterable[Trial]) -> dict[str, Status]:
    """Reads the state of every trial; one whose baseline cannot be had is blocked.

    Returns:
        The status of each trial by its id.
    """
    trials, memory = list(trials), index.of(sweep_folder)
    statuses = {trial.id: read_status(sweep_folder, trial, memory.read) for trial in trials}
    memory.save()
    for trial in trials:
        baseline = statuses.get(trial.baseline)
        is_stuck = baseline and baseline.state in (State.FAILED, State.BROKEN)
        if is_stuck and statuses[trial.id].state is State.PENDING:
            statuses[trial.id] = Status(State.BLOCKED, f"its baseline {trial.baseline} failed")
    return statuses


def save_table(sweep_folder: pathlib.Path, trials: Sequence[Trial]) -> None:
    """Writes every trial's folder, then the ordered list of their ids."""
    read = index.of(sweep_folder).read
    for trial in trials:
        trial.save(sweep_folder, read)
    ids = json.dumps([trial.id for trial in trials], indent=1) + "\n"
    files.write_atomically(sweep_folder / layout.TRIAL_TABLE, ids)


def load_ids(sweep_folder: pathlib.Path) -> list[str]:
    """Reads the ids of the trials that a sweep's last `run` or `report` planned, in their order.

    Raises:
        LaunchError: If the folder holds no table.
    """
    path = sweep_folder / layout.TRIAL_TABLE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LaunchError(f"{path} cannot be read ({error}); `kwc sweep run` writes it") from error


def load_table(sweep_folder: pathlib.Path) -> list[Trial]:
    """Reads the trials that a sweep's last `run` or `report` planned, in their order.

    Raises:
        LaunchError: If the folder holds no table or a trial of it cannot be read.
    """
    read = index.of(sweep_folder).read
    return [Trial.load(sweep_folder / trial_id, read) for trial_id in load_ids(sweep_folder)]


def select(trials: Sequence[Trial], only: Sequence[str]) -> list[Trial]:
    """Picks trials by axis, with the baselines they need.

    Args:
        trials: All trials of a sweep.
        only: `axis=value` conditions; values of one axis are alternatives, axes combine. A file is
            matched by its stem or its name.

    Returns:
        The picked trials in the order given; all of them when `only` is empty.

    Raises:
        LaunchError: If a condition is malformed or matches no trial.
    """
    wanted: dict[str, list[str]] = {}
    for condition in only:
        axis, equals, text = condition.partition("=")
        values = {axis_label(t.axes[axis]) for t in trials if axis in t.axes}
        if not equals or not values:
            axes = sorted({axis for trial in trials for axis in trial.axes})
            raise LaunchError(f"--only {condition}: write AXIS=VALUE, AXIS one of {axes}")
        if not any(_matches(t.axes[axis], text) for t in trials if axis in t.axes):
            raise LaunchError(f"--only {condition}: {axis} is one of {sorted(values)}")
        wanted.setdefault(axis, []).append(text)
    picked = {
        trial.id
        for trial in trials
        if all(
            axis in trial.axes and any(_matches(trial.axes[axis], text) for text in texts)
            for axis, texts in wanted.items()
        )
    }
    if not picked:
        raise LaunchError(f"no trial matches all of --only {' '.join(only)}")
    picked |= {trial.baseline for trial in trials if trial.id in picked}
    return [trial for trial in trials if trial.id in picked]


def _matches(value: Any, text: str) -> bool:
    if text in (axis_label(value), value):
        return True
    try:
        return math.isclose(float(text), float(value))
    except (TypeError, ValueError):
        return False
