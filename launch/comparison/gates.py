"""Limits on accuracy and size, and what became of each."""

import dataclasses
from collections.abc import Iterator

from launch.errors import LaunchError

# Metrics are float32: 0.96 is stored as 0.95999998.
_ROUNDING = 1e-7


def reaches(accuracy: float, floor: float) -> bool:
    """Tells whether an accuracy is at or above a floor, but for the rounding of a float32.

    Example:
        >>> reaches(0.9599999785423279, 0.96), reaches(0.9599, 0.96)
        (True, False)
    """
    return accuracy >= floor - _ROUNDING


@dataclasses.dataclass(frozen=True)
class Measured:
    """What gates are held against.

    Attributes:
        name: Which model it is, such as a file or a point of a curve.
        accuracy: The primary metric of the decoded model, a fraction; None if it is not known.
        file_bytes: Length of the file; a mean over seeds for a point of a curve.
        ratio: Dense bytes over file bytes.
    """

    name: str
    accuracy: float | None
    file_bytes: float
    ratio: float


@dataclasses.dataclass(frozen=True)
class Check:
    """One gate and what was measured: `passed` if `value` is on the right side of `limit`."""

    gate: str
    subject: str
    value: float | None
    limit: float
    passed: bool
    text: str


@dataclasses.dataclass(frozen=True)
class Gates:
    """Limits that a model must keep; None sets none.

    Attributes:
        min_accuracy: The lowest primary metric of the decoded model, a fraction.
        max_bytes: The longest file.
        min_ratio: The lowest ratio of dense bytes over file bytes.

    Raises:
        LaunchError: If a limit cannot be meant.

    Example:
        >>> gates = Gates(min_accuracy=0.96, max_bytes=20_000)
        >>> for check in gates.checks(Measured("m.kwc", 0.97, 20_480, 8.0)):
        ...     print(check.passed, check.text)
        True accuracy 97.00 % is at least 96.00 %
        False file 20,480 bytes is over 20,000 bytes
    """

    min_accuracy: float | None = None
    max_bytes: int | None = None
    min_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise LaunchError(
                f"--min-accuracy={self.min_accuracy:g}: write a fraction, such as 0.96 for 96 %"
            )
        for option, value in (("--max-bytes", self.max_bytes), ("--min-ratio", self.min_ratio)):
            if value is not None and not value > 0:
                raise LaunchError(f"{option}={value}: give it a number above zero")

    def __bool__(self) -> bool:
        return any(limit is not None for limit in dataclasses.astuple(self))

    def checks(self, measured: Measured) -> Iterator[Check]:
        """Yields one check for each limit that is set; an unknown accuracy fails its gate."""
        subject, accuracy = measured.name, measured.accuracy
        if (limit := self.min_accuracy) is not None:
            passed = accuracy is not None and reaches(accuracy, limit)
            shown = "unknown" if accuracy is None else f"{100 * accuracy:.2f} %"
            verdict = "at least" if passed else "below"
            text = f"accuracy {shown} is {verdict} {100 * limit:.2f} %"
            yield Check("min_accuracy", subject, accuracy, limit, passed, text)
        if (limit := self.max_bytes) is not None:
            passed = measured.file_bytes <= limit
            verdict = "within" if passed else "over"
            text = f"file {measured.file_bytes:,.0f} bytes is {verdict} {limit:,} bytes"
            yield Check("max_bytes", subject, measured.file_bytes, limit, passed, text)
        if (limit := self.min_ratio) is not None:
            passed = measured.ratio >= limit
            verdict = "at least" if passed else "below"
            text = f"ratio {measured.ratio:.2f} is {verdict} {limit:g}"
            yield Check("min_ratio", subject, measured.ratio, limit, passed, text)
