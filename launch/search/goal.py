"""What is searched, and the floor that a file must keep."""

import collections
import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from launch.comparison.gates import reaches
from launch.errors import LaunchError
from launch.trials import Trial

_DIGITS = 4


@dataclasses.dataclass(frozen=True)
class Axis:
    """A macro and the range to search.

    Attributes:
        name: The macro, an axis of some grid of the sweep.
        low: The lowest value.
        high: The highest value.
        log: Whether values are drawn evenly on a logarithmic scale.
        is_integer: Whether values are whole, as those in the sweep file.
    """

    name: str
    low: float
    high: float
    log: bool
    is_integer: bool

    @classmethod
    def parse(cls, text: str, trials: Iterable[Trial]) -> "Axis":
        """Reads `NAME=LOW:HIGH` or `NAME=LOW:HIGH:log`.

        Args:
            text: What the user wrote.
            trials: The trials that are searched; values are whole where all of theirs are.

        Raises:
            LaunchError: If it is neither, or the trials have no such axis of numbers.
        """
        name, _, bounds = text.partition("=")
        columns = collections.defaultdict(list)
        for trial in trials:
            for axis, value in trial.axes.items():
                columns[axis].append(value)
        numeric = sorted(axis for axis, values in columns.items() if _are_numbers(values))
        if name not in numeric:
            known = ", ".join(numeric) or "none"
            raise LaunchError(
                f"--axis {text}: no chosen trial has an axis of numbers {name!r}; such are: {known}"
            )
        values = columns[name]
        low, _, high = bounds.partition(":")
        high, log, scale = high.partition(":")
        is_integer = all(isinstance(value, int) for value in values)
        try:
            number = int if is_integer else float
            axis = cls(name, number(low), number(high), bool(log), is_integer)
            is_sound = axis.low < axis.high and scale == ("log" if log else "")
            if not is_sound or not math.isfinite(axis.high - axis.low):
                raise ValueError
        except ValueError as error:
            kind = "whole numbers, as in the trials" if is_integer else "numbers"
            form = f"{name}=LOW:HIGH or {name}=LOW:HIGH:log"
            raise LaunchError(f"--axis {text}: write {form}, LOW below HIGH, {kind}") from error
        if axis.log and axis.low <= 0:
            raise LaunchError(f"--axis {text}: a logarithmic scale starts above zero")
        return axis

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def rounded(self, value: float) -> float:
        """Returns a value in range that reads well: whole, or of four significant digits."""
        if self.is_integer:
            return int(value)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Floor:
    """The accuracy that a file must keep.

    Attributes:
        min_accuracy: The lowest primary metric of the decoded model, a fraction.
        max_drop: Or how many points it may lie below the dense model.
    """

    min_accuracy: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if (self.min_accuracy is None) == (self.max_drop is None):
            raise LaunchError("give one floor: --min-accuracy=0.96 or --max-drop=0.5 (points)")
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise LaunchError(
                f"--min-accuracy={self.min_accuracy:g}: write a fraction, such as 0.96 for 96 %"
            )

    def level(self, dense: float | None) -> float:
        """Returns the floor as a fraction, given the accuracy of the dense model."""
        if self.min_accuracy is not None:
            return self.min_accuracy
        if dense is None:
            raise LaunchError("--max-drop needs a dense baseline: use --min-accuracy")
        return dense - self.max_drop / 100


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a point came to, as means over its seeds.

    Attributes:
        accuracy: The primary metric of the decoded model, a fraction.
        floor: The least that it should be.
        file_bytes: Length of the file.
        trial: The trial of the first seed.
    """

    accuracy: float
    floor: float
    file_bytes: float
    trial: Trial

    @property
    def holds(self) -> bool:
        """Whether the accuracy reaches the floor."""
        return reaches(self.accuracy, self.floor)


def _are_numbers(values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
