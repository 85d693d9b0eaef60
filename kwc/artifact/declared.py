"""What a file declares of its weights, in whatever version it is written, and the bounds of it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kwc import coding
from kwc.artifact.bounds import check_sizes
from kwc.artifact.errors import short
from kwc.compressor import WeightInfo
from kwc.ops import size

MASK = "mask"
"""Name of the bool array outside of which the other arrays of its shape are 0 and not stored."""

MAX_ELEMENTS = 1 << 40

_MAX_RANK = 32
_MAX_NAME = 1000


@dataclasses.dataclass(frozen=True)
class DeclaredArray:
    """What a header says about an array; `nbytes` is the length of its code."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    coder: str
    nbytes: int


@dataclasses.dataclass(frozen=True)
class DeclaredWeight:
    """What a header says about a weight; `algorithm` is an index into the header's algorithms."""

    info: WeightInfo
    algorithm: int
    arrays: tuple[DeclaredArray, ...]


@dataclasses.dataclass(frozen=True)
class Header:
    """What a header says.

    Attributes:
        algorithms: names and hyperparameters of the algorithms.
        weights: the weights in the order of their codes.
        metadata: JSON values that the writer added.
    """

    algorithms: list[tuple[str, dict[str, Any]]]
    weights: list[DeclaredWeight]
    metadata: dict[str, Any]

    @property
    def lengths(self) -> list[int]:
        """Bytes of the codes, in their order."""
        return [array.nbytes for weight in self.weights for array in weight.arrays]


def checked(header: Header) -> Header:
    """Returns a header whose parts were checked one by one.

    Raises:
        ValueError: names repeat, a mask comes too late, or arrays are too large for their weight.
    """
    _check_unique("weights", [weight.info.path for weight in header.weights])
    for weight in header.weights:
        info, arrays = weight.info, weight.arrays
        _check_unique(f"arrays of {info.path}", [array.name for array in arrays])
        if any(array.name == MASK and array.dtype == bool for array in arrays[1:]):
            raise ValueError(f"the mask of {info.path} is not its first array")
        check_sizes(info, {a.name: (size(a.shape), a.dtype.itemsize) for a in arrays})
    return header


def _check_unique(what: str, names: Sequence[str]) -> None:
    name, times = next(iter(collections.Counter(names).most_common(1)), ("", 0))
    if times > 1:
        raise ValueError(f"two {what} are called {name}")


def weight_info(
    path: str, shape: tuple[int, ...], dtype: str, output_axes: Sequence[int] | None
) -> WeightInfo:
    """Returns a weight's info; None stands for the usual output axes.

    Raises:
        ValueError: the axes are not those of the shape.
    """
    if output_axes is None:
        return WeightInfo(path, shape, dtype)
    inputs = tuple(axis for axis in range(len(shape)) if axis not in output_axes)
    return WeightInfo(path, shape, dtype, inputs, tuple(output_axes))


def checked_name(value: Any) -> str:
    """Returns a name; raises `ValueError` if it is none."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise ValueError(f"{short(value)!r} is no name: 1 to {_MAX_NAME} printable characters")
    return value


def checked_coder(value: Any) -> str:
    """Returns the name of a coder; raises `ValueError` if there is no such."""
    known = (*coding.CODERS, coding.GUIDED)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"there is no coder {short(value)!r}, only {', '.join(known)}")
    return value


def checked_integer(value: Any, stop: int) -> int:
    """Returns an integer from 0 to below `stop`; raises `ValueError` if it is none."""
    if type(value) is not int or not 0 <= value < stop:
        raise ValueError(f"{short(value)} stands where an integer from 0 to {stop - 1} belongs")
    return value


def checked_shape(lengths: Sequence[Any]) -> tuple[int, ...]:
    """Returns a shape; raises `ValueError` if it has too many axes or elements."""
    shape = tuple(checked_integer(n, MAX_ELEMENTS) for n in lengths)
    if len(shape) > _MAX_RANK or size([max(n, 1) for n in shape]) >= MAX_ELEMENTS:
        raise ValueError(
            f"{short(lengths)} is no shape: {_MAX_RANK} axes and 2^40 elements at most"
        )
    return shape


def checked_config(value: Any) -> dict[str, Any]:
    """Returns the hyperparameters of an algorithm; raises `ValueError` if they are none."""
    for text in _strings(value):
        if not text.isprintable():
            raise ValueError(f"{short(text)!r} holds characters that cannot be printed")
    return checked_object(value)


def checked_object(value: Any) -> dict[str, Any]:
    """Returns a JSON object; raises `ValueError` if it is none."""
    if not isinstance(value, dict):
        raise ValueError(f"{short(value)} stands where an object belongs")
    return value


def no_constant(name: str) -> None:
    """Refuses NaN and infinities, which Python's JSON would read."""
    raise ValueError(f"{name} is no JSON number")


def _strings(value: Any):
    """Yields every string within a JSON value, the keys of objects too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value:
            yield from _strings(item)
        if isinstance(value, dict):
            yield from _strings(list(value.values()))
