"""Values that change while a model trains."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf


class Step(NamedTuple):
    """Where training stands.

    Attributes:
        index: number of optimizer steps done, an int or an integer scalar tensor.
        total: number of optimizer steps planned; 0 for post-training compression.
    """

    index: int | tf.Tensor
    total: int


class Schedule(Protocol):
    """A value as a function of the training step. It reaches `final` at the end.

    Algorithms that hold one are hashed: make it a frozen dataclass.

    With `Step.total == 0` (post-training compression) the value is `final`.
    """

    final: float

    def __call__(self, step: Step) -> float | tf.Tensor:
        """Returns the value at `step`, a float or a float32 scalar tensor."""

    def last_change(self, total: int) -> int:
        """Returns the index of the first step, of `total`, from which the value is `final`."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same value at every step."""

    final: float

    def __call__(self, step: Step) -> float:
        return self.final

    def last_change(self, total: int) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """Moves from `initial` to `final`, fast first and slow towards the end.

    Zhu and Gupta, "To prune, or not to prune" (arXiv:1710.01878), equation 1, with the times
    given as fractions of the training so that one value serves every budget.

    >>> ramp = Polynomial(final=0.8)
    >>> ramp(Step(index=0, total=0))
    0.8
    >>> round(float(ramp(Step(index=375, total=1000))), 3)
    0.7

    Attributes:
        final: value from `end` on.
        initial: value until `begin`.
        begin: fraction of the training at which the value starts to move, in [0, 1).
        end: fraction of the training at which `final` is reached, in (begin, 1].
        power: exponent; 3 in the paper, 1 for a straight line.
    """

    final: float
    initial: float = 0.0
    begin: float = 0.0
    end: float = 0.75
    power: float = 3.0

    def __post_init__(self):
        if not 0.0 <= self.begin < self.end <= 1.0:
            raise ValueError(
                f"Polynomial needs 0 <= begin < end <= 1, fractions of the training; "
                f"got begin={self.begin}, end={self.end}."
            )

    def __call__(self, step: Step) -> float | tf.Tensor:
        if step.total == 0:
            return self.final
        done = tf.cast(step.index, tf.float32) / step.total
        remaining = 1.0 - tf.clip_by_value((done - self.begin) / (self.end - self.begin), 0.0, 1.0)
        moving = self.final + (self.initial - self.final) * remaining**self.power
        return tf.where(step.index < self.last_change(step.total), moving, self.final)

    def last_change(self, total: int) -> int:
        return math.ceil(self.end * total)


@dataclasses.dataclass(frozen=True)
class PiecewiseLinear:
    """Straight lines between points.

    >>> rate = PiecewiseLinear([(0, 0), (0.3, 1), (0.85, 1), (0.85, 0.3)], scale=2.0)
    >>> [round(float(rate(Step(index, total=100))), 3) for index in (0, 15, 84, 85)]
    [0.0, 1.0, 2.0, 0.6]
    >>> rate.final
    0.6

    Attributes:
        points: fractions of the training, in [0, 1] and ascending, each with a value. The first
            value holds before its point and the last after it; two points at one time are a jump.
        scale: factor of all values.
    """

    points: Sequence[tuple[float, float]]
    scale: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "points", tuple((time, value) for time, value in self.points))
        times = [time for time, _ in self.points]
        if not times or times != sorted(times) or times[0] < 0.0 or times[-1] > 1.0:
            raise ValueError(
                f"PiecewiseLinear needs points at ascending fractions of the training; got {times}."
            )

    @property
    def final(self) -> float:
        return self.scale * self.points[-1][1]

    def __call__(self, step: Step) -> float | tf.Tensor:
        if step.total == 0:
            return self.final
        value = tf.constant(self.points[0][1], tf.float32)
        for (begin, before), (end, after) in itertools.pairwise(self.points):
            if begin == end:
                passed = tf.cast(step.index >= math.ceil(end * step.total), tf.float32)
            else:
                done = tf.cast(step.index, tf.float32) / step.total
                passed = tf.clip_by_value((done - begin) / (end - begin), 0.0, 1.0)
            value += (after - before) * passed
        return tf.where(step.index < self.last_change(step.total), self.scale * value, self.final)

    def last_change(self, total: int) -> int:
        pairs = itertools.pairwise(self.points)
        changes = [end for (_, before), (end, after) in pairs if before != after]
        return math.ceil(max(changes, default=0) * total)


def as_schedule(value: float | Schedule) -> Schedule:
    """Returns `value` itself if it is a schedule, else the `Constant` of that number."""
    return value if callable(value) else Constant(float(value))
