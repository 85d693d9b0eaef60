"""The curves of a sweep, what is known of their points, and which to measure next."""

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from launch import averages, results
from launch.errors import LaunchError
from launch.search import sampler
from launch.search.goal import Axis, Floor, Outcome
from launch.search.sampler import Point
from launch.trials import State, Status, Trial, axis_label

Grids = list[dict[str, list[Any]]]
"""Grids of a sweep, of one point each."""

_Fixed = tuple[tuple[str, str], ...]


@dataclasses.dataclass
class Curve:
    """What stays fixed while the axes are searched, and what is known of its points.

    Attributes:
        fixed: The value of each other axis.
        points: The points that ended, in the order of the sweep; None where a trial failed.
        is_blocked: Whether a dense baseline failed, so that no point can be measured.
    """

    fixed: Mapping[str, Any]
    points: dict[Point, Outcome | None] = dataclasses.field(default_factory=dict)
    is_blocked: bool = False

    @property
    def name(self) -> str:
        """How a reader knows the curve."""
        return " ".join(map(axis_label, self.fixed.values()))

    @property
    def best(self) -> Outcome | None:
        """The smallest file that holds the floor; else the point nearest to it, if there is one."""
        measured = [outcome for outcome in self.points.values() if outcome]
        holding = [outcome for outcome in measured if outcome.holds]
        if holding:
            return min(holding, key=lambda outcome: outcome.file_bytes)
        return max(measured, key=lambda outcome: outcome.accuracy - outcome.floor, default=None)


class Curves:
    """The curves of a sweep over the searched axes."""

    def __init__(self, trials: Iterable[Trial], axes: Sequence[Axis]) -> None:
        """Finds the curves, without their points.

        Args:
            trials: The trials of a sweep, or a part of them.
            axes: The searched axes.

        Raises:
            LaunchError: If no trial has all the axes.
        """
        self._axes = {axis.name: axis for axis in axes}
        self._curves: dict[_Fixed, Curve] = {}
        for trial in trials:
            if self._has(trial.axes):
                fixed = {a: value for a, value in trial.axes.items() if a not in self._axes}
                self._curves.setdefault(self._key(fixed), Curve(fixed))
        if not self._curves:
            raise LaunchError(f"no trial has {' and '.join(self._axes)}; see `kwc sweep plan`")

    def __iter__(self) -> Iterator[Curve]:
        return iter(self._curves.values())

    @property
    def grids(self) -> Grids:
        """The known points as grids, curve after curve."""
        return [self._grid(curve, point) for curve in self for point in curve.points]

    def split(self, values: Iterable[Mapping[str, Any]]) -> tuple[Grids, Grids]:
        """Splits points into those on a curve and in range, each once, and the others.

        Args:
            values: Grids of one point, or the axis values of trials.
        """
        inside, outside = {}, []
        for axes in values:
            place = self._place(axes)
            if place is None:
                outside.append(dict(axes))
            else:
                inside[place] = self._grid(self._curves[place[0]], place[1])
        return list(inside.values()), outside

    def read(self, trials: Iterable[Trial], statuses: Mapping[str, Status], floor: Floor) -> None:
        """Replaces what is known by what these trials came to.

        Args:
            trials: The trials of all points, each point with each seed.
            statuses: Their statuses, and those of their baselines.
            floor: The floor.
        """
        groups: dict[tuple[_Fixed, Point], list[Trial]] = collections.defaultdict(list)
        for trial in trials:
            if place := self._place(trial.axes):
                groups[place].append(trial)
        for curve in self:
            curve.points, curve.is_blocked = {}, False
        for (key, point), group in groups.items():
            curve, states = self._curves[key], {statuses[trial.id].state for trial in group}
            if states == {State.DONE}:
                curve.points[point] = _outcome(group, statuses, floor)
            elif states & {State.FAILED, State.BROKEN}:
                curve.points[point] = None
            curve.is_blocked |= State.BLOCKED in states

    def ask(self, points: int, name: str, seed: int) -> Grids:
        """Asks for the next point of each curve.

        Args:
            points: How many points a curve gets.
            name: The sampler, one of `launch.search.sampler.NAMES`.
            seed: Seeds the sampler: a point depends on it and on what is known, on nothing else.

        Returns:
            A grid of one point for each curve that is not finished.
        """
        grids = []
        for curve in self:
            if len(curve.points) < points and not curve.is_blocked:
                point = sampler.propose(curve.points, list(self._axes.values()), name, seed)
                if point is not None:
                    grids.append(self._grid(curve, point))
        return grids

    def _has(self, values: Mapping[str, Any]) -> bool:
        return self._axes.keys() <= values.keys()

    def _place(self, values: Mapping[str, Any]) -> tuple[_Fixed, Point] | None:
        """Returns the curve and the point of axis values, None if they are outside."""
        if not self._has(values):
            return None
        single = {a: v[0] if isinstance(v, list | tuple) else v for a, v in values.items()}
        point = tuple(single[axis] for axis in self._axes)
        in_range = all(v in axis for v, axis in zip(point, self._axes.values(), strict=True))
        key = self._key(single)
        return (key, point) if in_range and key in self._curves else None

    def _key(self, values: Mapping[str, Any]) -> _Fixed:
        return tuple((a, axis_label(v)) for a, v in values.items() if a not in self._axes)

    def _grid(self, curve: Curve, point: Point) -> dict[str, list[Any]]:
        values = curve.fixed | dict(zip(self._axes, point, strict=True))
        return {axis: [value] for axis, value in values.items()}


def _outcome(
    group: Sequence[Trial], statuses: Mapping[str, Status], floor: Floor
) -> Outcome | None:
    """Averages a point over its seeds; None if a trial measured no accuracy."""
    means = averages.over_seeds([statuses[trial.id].result for trial in group])
    if means is None:
        return None
    dense = [_dense(trial, statuses) for trial in group]
    level = floor.level(None if None in dense else statistics.fmean(dense))
    return Outcome(accuracy=means[0], floor=level, file_bytes=means[1], trial=group[0])


def _dense(trial: Trial, statuses: Mapping[str, Status]) -> float | None:
    baseline = statuses.get(trial.baseline)
    return results.primary(baseline.result, "dense") if baseline and baseline.result else None
