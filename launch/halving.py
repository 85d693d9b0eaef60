"""Successive halving: clear losers stop at a small budget, all others go on to the next.

    grid.Sweep.halving = {'budget': 'FINETUNE_STEPS', 'rungs': [30, 100], 'margin_points': 1.0}

Every point of the sweep first runs with the macro FINETUNE_STEPS bound to 30, then to 100, then
with what its files bind: the last rung is the sweep itself. The trials of the earlier rungs are of
the kind `rung`, and no curve holds them. Nothing is stored: who goes on is worked out again from
the results on disk each time the sweep is planned.
"""

import collections
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kwc import files
from launch import averages, layout
from launch.errors import LaunchError
from launch.trials import State, Status, Trial, axis_label, is_file, read_statuses

if TYPE_CHECKING:
    from launch.grid import Sweep

_ENDED = (State.DONE, State.FAILED, State.BROKEN, State.BLOCKED)

_Point = tuple[tuple[str, str], ...]
_Rung = dict[_Point, list[Trial]]


@dataclasses.dataclass(frozen=True)
class Halving:
    """What `Sweep.halving` binds.

    Attributes:
        budget: The macro that sets how long a trial trains.
        rungs: Its values before the full one, smallest first.
        margin_points: How many points of accuracy a clear loser lies behind.

    Raises:
        ValueError: If a value is missing or of the wrong kind.
    """

    budget: str
    rungs: Sequence[float]
    margin_points: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.budget, str) or not self.budget.isidentifier():
            raise ValueError(f"budget = {self.budget!r}: give it a macro's name")
        is_list = isinstance(self.rungs, list | tuple)
        if not is_list or not self.rungs or not all(_is_number(rung) for rung in self.rungs):
            raise ValueError(f"rungs = {self.rungs!r}: write a list of numbers above zero")
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs = {self.rungs!r}: write them smallest first, each once")
        if not _is_number(self.margin_points) and self.margin_points != 0:
            raise ValueError(f"margin_points = {self.margin_points!r}: give it a number of points")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a point came to at one rung, as means over its seeds: a fraction, and bytes."""

    accuracy: float
    file_bytes: float


@dataclasses.dataclass(frozen=True)
class Stop:
    """A point that goes no further, and why.

    Attributes:
        name: The point, as a reader knows it.
        reason: Which point beats it, at which budget and by how much.
    """

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Ladder:
    """What the results so far ask for.

    Attributes:
        trials: The baselines, then the trials of each rung that is open, in order.
        stops: The points that go no further.
        ahead: How many more trials later rungs may ask for.
    """

    trials: list[Trial]
    stops: list[Stop] = dataclasses.field(default_factory=list)
    ahead: int = 0


def climb(
    sweep: "Sweep", expand: Callable[["Sweep"], list[Trial]], sweep_folder: pathlib.Path
) -> Ladder:
    """Plans a sweep as far as its results decide.

    A rung is judged, one architecture at a time, when none of its trials is left to run. A point
    with a failed trial neither goes on nor stops another. A point that has results of the next rung
    stays there, whatever a grown sweep says later.

    Args:
        sweep: The sweep, with or without halving.
        expand: Expands a sweep without halving into trials; see `launch.grid.expand`.
        sweep_folder: `runs/<sweep>/`, where results are looked for.

    Raises:
        LaunchError: If the sweep cannot be expanded, or a rung has the full budget.
    """
    whole = dataclasses.replace(sweep, halving={})
    full = expand(whole)
    if not sweep.halving:
        return Ladder(full)
    halving = Halving(**sweep.halving)
    rungs = [_rung(whole, expand, halving.budget, budget) for budget in halving.rungs]
    rungs.append(_points(full, halving.budget))
    _check_distinct(rungs, halving)

    baselines = [trial for trial in full if trial.kind == "baseline"]
    statuses = read_statuses(sweep_folder, [*baselines, *_trials(rungs)])
    planned, stops, ahead = [*baselines, *_trials(rungs[:1])], [], 0
    going, waiting = set(rungs[0]), set()
    for budget, rung, above in zip(halving.rungs, rungs, rungs[1:], strict=False):
        entered, going = {point: rung[point] for point in rung if point in going}, set()
        for points in _by_arch(entered):
            if not all(statuses[trial.id].state in _ENDED for trial in _trials([points])):
                waiting |= points.keys()
                continue
            found = {point: _outcome(trials, statuses) for point, trials in points.items()}
            outcomes = {point: outcome for point, outcome in found.items() if outcome}
            beaten = {
                point: winner
                for point, winner in clear_losers(outcomes, halving.margin_points).items()
                if not _done(above.get(point, ()), statuses)
            }
            going |= outcomes.keys() - beaten.keys()
            at = f"{halving.budget}={budget}"
            stops += [_stop(point, winner, outcomes, at) for point, winner in beaten.items()]
        for point, trials in above.items():
            kept = trials if point in going else _done(trials, statuses)
            planned += kept
            ahead += (len(trials) - len(kept)) * (point in waiting)
    return Ladder(planned, stops, ahead)


def clear_losers(outcomes: Mapping[_Point, Outcome], margin_points: float) -> dict[_Point, _Point]:
    """Finds the points that another beats by more than the margin, at no more bytes.

    Args:
        outcomes: What each point came to.
        margin_points: The margin, in points of accuracy.

    Returns:
        For each clear loser the most accurate point that beats it.

    Example:
        >>> outcomes = {"q4": Outcome(0.97, 200), "q3": Outcome(0.96, 150), "p9": Outcome(0.9, 180)}
        >>> clear_losers(outcomes, 1.0)
        {'p9': 'q3'}
    """
    losers = {}
    for point, loser in outcomes.items():
        winners = [
            other
            for other, winner in outcomes.items()
            if 100 * (winner.accuracy - loser.accuracy) > margin_points
            and winner.file_bytes <= loser.file_bytes
        ]
        if winners:
            losers[point] = max(winners, key=lambda other: outcomes[other].accuracy)
    return losers


def save_stops(sweep_folder: pathlib.Path, stops: Sequence[Stop]) -> None:
    """Writes the stopped points as a section of the summary, or removes it when there is none."""
    path = sweep_folder / layout.STOPPED
    if stops:
        lines = [f"- {stop.name}: {stop.reason}." for stop in stops]
        files.write_atomically(path, "\n".join(["## Stopped early", "", *lines]) + "\n")
    else:
        path.unlink(missing_ok=True)


def _rung(
    sweep: "Sweep", expand: Callable[["Sweep"], list[Trial]], axis: str, budget: float
) -> _Rung:
    """Returns the points of a sweep at one budget."""
    grids = [{**grid, axis: [budget]} for grid in sweep.grids]
    points = _points(expand(dataclasses.replace(sweep, grids=grids)), axis)
    return {
        point: [dataclasses.replace(trial, kind="rung") for trial in trials]
        for point, trials in points.items()
    }


def _points(trials: Iterable[Trial], budget_axis: str) -> _Rung:
    """Groups the compression trials by point."""
    points: _Rung = {}
    for trial in trials:
        if trial.kind == "compression":
            points.setdefault(_point(trial, budget_axis), []).append(trial)
    return points


def _trials(rungs: Iterable[_Rung]) -> Iterator[Trial]:
    for rung in rungs:
        yield from itertools.chain.from_iterable(rung.values())


def _done(trials: Iterable[Trial], statuses: Mapping[str, Status]) -> list[Trial]:
    return [trial for trial in trials if statuses[trial.id].state is State.DONE]


def _check_distinct(rungs: Sequence[_Rung], halving: Halving) -> None:
    full = {trial.id for trial in _trials(rungs[-1:])}
    for budget, rung in zip(halving.rungs, rungs, strict=False):
        if any(trial.id in full for trial in _trials([rung])):
            raise LaunchError(
                f"Sweep.halving: {halving.budget} = {budget} is the full budget: leave it out of "
                "the rungs"
            )


def _point(trial: Trial, budget_axis: str) -> _Point:
    """Returns what names a point: how each axis but the budget is shown."""
    return tuple(
        (axis, axis_label(value) if is_file(value) else f"{axis}={axis_label(value)}")
        for axis, value in trial.axes.items()
        if axis != budget_axis
    )


def _name(point: _Point) -> str:
    return " ".join(shown for _, shown in point)


def _by_arch(rung: _Rung) -> Iterable[_Rung]:
    groups: dict[str, _Rung] = collections.defaultdict(dict)
    for point, trials in rung.items():
        groups[dict(point).get("arch", "")][point] = trials
    return groups.values()


def _outcome(trials: Sequence[Trial], statuses: Mapping[str, Status]) -> Outcome | None:
    """Averages a point over its seeds; None if a trial failed or measured no accuracy."""
    means = averages.over_seeds([statuses[trial.id].result for trial in trials])
    return means and Outcome(*means)


def _stop(point: _Point, winner: _Point, outcomes: Mapping[_Point, Outcome], at: str) -> Stop:
    loser, better = outcomes[point], outcomes[winner]
    change = 100 * (loser.accuracy - better.accuracy)
    ratio = loser.file_bytes / better.file_bytes
    reason = f"{change:+.1f} points at {ratio:.1f}x the bytes of {_name(winner)}, with {at}"
    return Stop(_name(point), reason)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
