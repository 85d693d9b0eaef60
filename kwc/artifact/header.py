"""The header of a file: JSON text that declares every weight, and its strict reader."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kwc import coding
from kwc.artifact.bounds import check_sizes
from kwc.artifact.errors import short
from kwc.artifact.weights import MASK, CodedWeight
from kwc.compressor import CompressionError, WeightInfo
from kwc.ops import size

_MAX_RANK = 32
_MAX_ELEMENTS = 1 << 40
_MAX_NAME = 1000


@dataclasses.dataclass(frozen=True)
class ArrayEntry:
    """What a header says about an array; `nbytes` is the length of its code."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    coder: str
    nbytes: int


@dataclasses.dataclass(frozen=True)
class WeightEntry:
    """What a header says about a weight; `algorithm` is an index into the header's algorithms."""

    info: WeightInfo
    algorithm: int
    arrays: tuple[ArrayEntry, ...]


@dataclasses.dataclass(frozen=True)
class Header:
    """What a header says.

    Attributes:
        algorithms: names and hyperparameters of the algorithms.
        weights: the weights in the order of their codes.
        metadata: JSON values that the writer added.
    """

    algorithms: list[tuple[str, dict[str, Any]]]
    weights: list[WeightEntry]
    metadata: dict[str, Any]


def dump(weights: Sequence[CodedWeight], metadata: Mapping[str, Any]) -> bytes:
    """Returns the header of a file with these weights.

    Raises:
        CompressionError: a reader would refuse it, or the metadata or hyperparameters are no JSON.
    """
    # By their text: to Python, but not to an algorithm, 1 and 1.0 are equal.
    algorithms: dict[str, int] = {}
    entries = []
    for weight in weights:
        compressor, info = weight.compressor, weight.info
        kind = _to_json(
            [compressor.name, compressor.config()], f"the hyperparameters of {compressor.name}"
        )
        arrays = [
            [array.name, array.dtype.name, list(array.shape), array.coder, len(array.code)]
            for array in weight.coded
        ]
        default = WeightInfo(info.path, info.shape)
        axes = [] if info.output_axes == default.output_axes else [list(info.output_axes)]
        if list(info.input_axes) != sorted(info.input_axes):
            raise CompressionError(
                f"{info.path} has the input axes {info.input_axes}; a file holds ascending ones."
            )
        index = algorithms.setdefault(kind, len(algorithms))
        entries.append([info.path, info.dtype, list(info.shape), index, arrays, *axes])
    header = {"algorithms": [json.loads(kind) for kind in algorithms], "weights": entries}
    if metadata:
        header["metadata"] = dict(metadata)
    text = _to_json(header, "the metadata")
    try:
        parse(text.encode())
    except ValueError as error:
        raise CompressionError(
            f"No reader would accept the artifact: {error}. Change the names or the metadata."
        ) from error
    return text.encode()


def _to_json(value: Any, name: str) -> str:
    try:
        return json.dumps(
            value, separators=(",", ":"), sort_keys=True, allow_nan=False, ensure_ascii=False
        )
    except (TypeError, ValueError) as error:
        raise CompressionError(
            f"An artifact holds JSON values only, and {name} are none: {error}. Pass numbers, "
            "strings, lists and dicts."
        ) from error


def parse(text: bytes) -> Header:
    """Reads a header and checks all of it.

    Raises:
        ValueError: it is not as the format says; the message says where.
    """
    try:
        header = _dict(json.loads(text, parse_constant=_no_constant))
        if not {"algorithms", "weights"} <= header.keys() <= {"algorithms", "weights", "metadata"}:
            raise ValueError(f"it has the keys {short(sorted(header))}")
        kinds = [_algorithm(kind) for kind in _list(header["algorithms"])]
        weights = [_weight(entry, len(kinds)) for entry in _list(header["weights"])]
        metadata = _dict(header.get("metadata", {}))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_unique("weights", [weight.info.path for weight in weights])
    return Header(kinds, weights, metadata)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _algorithm(value: Any) -> tuple[str, dict[str, Any]]:
    name, config = _list(value, 2)
    for text in _strings(config):
        if not text.isprintable():
            raise ValueError(f"{short(text)!r} holds characters that cannot be printed")
    return _name(name), _dict(config)


def _strings(value: Any) -> Iterator[str]:
    """Yields every string within a JSON value, the keys of objects too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value:
            yield from _strings(item)
        if isinstance(value, dict):
            yield from _strings(list(value.values()))


def _weight(value: Any, kinds: int) -> WeightEntry:
    path, dtype, shape, kind, arrays, *axes = _list(value, 5, 6)
    info = WeightInfo(_name(path), _shape(shape), _dtype(dtype).name)
    if axes:
        outputs = tuple(_integer(axis, len(info.shape)) for axis in _list(axes[0]))
        inputs = tuple(axis for axis in range(len(info.shape)) if axis not in outputs)
        info = dataclasses.replace(info, input_axes=inputs, output_axes=outputs)
    arrays = tuple(map(_array, _list(arrays)))
    _check_unique(f"arrays of {info.path}", [array.name for array in arrays])
    if any(array.name == MASK and array.dtype == bool for array in arrays[1:]):
        raise ValueError(f"the mask of {info.path} is not its first array")
    check_sizes(info, {array.name: size(array.shape) for array in arrays})
    return WeightEntry(info, _integer(kind, kinds), arrays)


def _check_unique(what: str, names: list[str]) -> None:
    name, times = next(iter(collections.Counter(names).most_common(1)), ("", 0))
    if times > 1:
        raise ValueError(f"two {what} are called {name}")


def _array(value: Any) -> ArrayEntry:
    name, dtype, shape, coder, nbytes = _list(value, 5)
    if not isinstance(coder, str) or coder not in coding.CODERS:
        raise ValueError(f"there is no coder {short(coder)!r}, only {', '.join(coding.CODERS)}")
    return ArrayEntry(
        _name(name), _dtype(dtype), _shape(shape), coder, _integer(nbytes, _MAX_ELEMENTS)
    )


def _list(value: Any, *lengths: int) -> list:
    if not isinstance(value, list) or (lengths and len(value) not in lengths):
        of = f" of {' or '.join(map(str, lengths))}" if lengths else ""
        raise ValueError(f"{short(value)} stands where a list{of} belongs")
    return value


def _dict(value: Any) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{short(value)} stands where an object belongs")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise ValueError(f"{short(value)!r} is no name: 1 to {_MAX_NAME} printable characters")
    return value


def _dtype(value: Any) -> np.dtype:
    if not isinstance(value, str):
        raise ValueError(f"{short(value)} is no dtype")
    return coding.dtype_from_name(value)


def _integer(value: Any, stop: int) -> int:
    if type(value) is not int or not 0 <= value < stop:
        raise ValueError(f"{short(value)} stands where an integer from 0 to {stop - 1} belongs")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(_integer(n, _MAX_ELEMENTS) for n in _list(value))
    if len(shape) > _MAX_RANK or size([max(n, 1) for n in shape]) >= _MAX_ELEMENTS:
        raise ValueError(f"{short(value)} is no shape: {_MAX_RANK} axes and 2^40 elements at most")
    return shape
