"""The header of a file: what it declares of every weight, in few bytes, and its strict reader.

Layouts are written once, and weights name them. docs/format.md describes every byte.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kwc.artifact import layouts
from kwc.artifact.declared import (
    MAX_ELEMENTS,
    DeclaredArray,
    DeclaredWeight,
    Header,
    checked,
    checked_coder,
    checked_config,
    checked_integer,
    checked_object,
    checked_shape,
    no_constant,
    weight_info,
)
from kwc.artifact.layouts import DTYPES, Layout, Template
from kwc.artifact.words import PathReader, PathWriter
from kwc.coding.bits import Reader, varint
from kwc.compressor import Chain, CompressionError

MAX_ITEMS = 1 << 17
"""The most coders, links, layouts, weights and arrays that a header may declare in all."""

MAX_CHARACTERS = 2 << 20
"""The most characters that the paths and names of a header may have in all."""

_FLAT = 0
"""Stands for the shape of one axis that is as long as the last one of the weight before."""


def to_json(value: Any, name: str) -> bytes:
    """Returns a JSON value as short text; `name` is what an error calls it.

    Raises:
        CompressionError: it is no JSON value.
    """
    try:
        text = json.dumps(
            value, separators=(",", ":"), sort_keys=True, allow_nan=False, ensure_ascii=False
        )
        return text.encode()
    except (TypeError, ValueError) as error:
        raise CompressionError(
            f"An artifact holds JSON values only, and {name} are none: {error}. Pass numbers, "
            "strings, lists and dicts."
        ) from error


def dump(header: Header) -> bytes:
    """Returns the bytes of a header.

    Raises:
        CompressionError: the metadata or hyperparameters are no JSON values.
    """
    names = PathWriter()
    arrays = [array for weight in header.weights for array in weight.arrays]
    coders = sorted({array.coder for array in arrays})
    found, chosen, given = layouts.find(header.weights)
    parts = [varint(len(coders)), *map(names.word, coders), varint(len(header.algorithms))]
    for name, config in header.algorithms:
        links = config["links"] if name == Chain.name else [(name, config)]
        parts += [varint(len(links)), *(_dump_link(*link, names) for link in links)]
    parts += [varint(len(found)), *(_dump_layout(layout, names) for layout in found)]
    parts.append(varint(len(header.weights)))
    parts += [names.path(weight.info.path) for weight in header.weights]
    before: tuple[int, ...] = ()
    for weight, layout in zip(header.weights, chosen, strict=True):
        shape = weight.info.shape
        is_flat = len(shape) == 1 and shape == before[-1:]
        rank = _FLAT if is_flat else 1 + len(shape)
        parts += [varint(rank * len(found) + layout), *map(varint, () if is_flat else shape)]
        before = shape
    parts += map(varint, itertools.chain(*given))
    # The last code is what is left of the payload.
    lengths = [*(array.nbytes for array in arrays[:-1]), 0]
    for array, length in zip(arrays, lengths, strict=False):
        parts.append(varint(length * len(coders) + coders.index(array.coder)))
    if header.metadata:
        parts.append(to_json(header.metadata, "the metadata"))
    return b"".join(parts)


def _dump_link(name: str, config: dict[str, Any], names: PathWriter) -> bytes:
    text = to_json(config, f"the hyperparameters of {name}") if config else b""
    return names.word(name) + varint(len(text)) + text


def _dump_layout(layout: Layout, names: PathWriter) -> bytes:
    arrays = (names.name(a.name) + _dump_axes(a.axes, a.dtype) for a in layout.arrays)
    axes = _dump_axes(layout.output_axes, layout.dtype)
    return b"".join([varint(layout.algorithm), axes, varint(len(layout.arrays)), *arrays])


def _dump_axes(axes: Sequence[int] | None, dtype: int) -> bytes:
    """A dtype, and axes unless they are the usual ones."""
    number = 0 if axes is None else 1 + len(axes)
    return varint(16 * number + dtype) + b"".join(map(varint, axes or ()))


def parse(data: bytes, payload_bytes: int) -> Header:
    """Reads a header and checks all of it.

    Args:
        data: the header.
        payload_bytes: length of all codes in the file.

    Raises:
        ValueError: it is not as the format says; the message says where.
    """
    try:
        return _Parser(data).header(payload_bytes)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class _Parser:
    """Reads the parts of a header in their order."""

    def __init__(self, data: bytes):
        self._reader = Reader(data)
        self._names = PathReader(self._reader, MAX_CHARACTERS)
        self._items = MAX_ITEMS

    def header(self, payload_bytes: int) -> Header:
        coders = self._many(lambda: checked_coder(self._names.word()))
        algorithms = self._many(self._algorithm)
        found = self._many(lambda: self._layout(len(algorithms)))
        paths = self._many(self._names.path)
        shapes = list(self._shapes(len(paths), len(found)))
        layouts_ = [found[position] for _, position in shapes]
        given = [[self._integer() for _ in range(layout.given)] for layout in layouts_]
        codes = self._codes(sum(len(layout.arrays) for layout in layouts_), coders, payload_bytes)
        weights = []
        for path, (shape, _), layout, lengths in zip(paths, shapes, layouts_, given, strict=True):
            info = weight_info(path, shape, DTYPES[layout.dtype].name, layout.output_axes)
            lengths = iter(lengths)
            arrays = tuple(
                DeclaredArray(
                    array.name, DTYPES[array.dtype], array.shape(info, lengths), *next(codes)
                )
                for array in layout.arrays
            )
            weights.append(DeclaredWeight(info, layout.algorithm, arrays))
        return checked(Header(algorithms, weights, self._metadata()))

    def _claim(self, items: int) -> int:
        self._items -= items
        if self._items < 0:
            raise ValueError(f"it declares more than {MAX_ITEMS} things in all")
        return items

    def _integer(self, stop: int = MAX_ELEMENTS) -> int:
        return checked_integer(self._reader.varint(), stop)

    def _many(self, read: Callable[[], Any]) -> list[Any]:
        """Reads a number, and as many things as it says."""
        return [read() for _ in range(self._claim(self._integer()))]

    def _algorithm(self) -> tuple[str, dict[str, Any]]:
        links = self._many(self._link)
        if not links:
            raise ValueError("an algorithm has no links")
        return links[0] if len(links) == 1 else (Chain.name, {"links": [list(x) for x in links]})

    def _link(self) -> tuple[str, dict[str, Any]]:
        name = self._names.word()
        text = bytes(self._reader.take(self._integer()))
        return name, checked_config(_from_json(text)) if text else {}

    def _layout(self, algorithms: int) -> Layout:
        algorithm = self._integer(algorithms)
        axes, dtype = self._axes()
        return Layout(algorithm, dtype, axes, tuple(self._many(self._template)))

    def _template(self) -> Template:
        name = self._names.name()
        axes, dtype = self._axes()
        return Template(name, dtype, axes)

    def _axes(self) -> tuple[tuple[int, ...] | None, int]:
        """Reads a dtype, and axes unless they are the usual ones."""
        number, dtype = divmod(self._integer(), 16)
        axes = tuple(self._integer() for _ in range(number - 1)) if number else None
        return axes, checked_integer(dtype, len(DTYPES))

    def _shapes(self, weights: int, layouts_: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yields the shape of each weight and the position of its layout."""
        before: tuple[int, ...] = ()
        for _ in range(weights):
            if not layouts_:
                raise ValueError("it has weights and no layouts")
            rank, position = divmod(self._integer(), layouts_)
            if rank == _FLAT and not before:
                raise ValueError("a weight has the last axis of a weight without axes")
            lengths = before[-1:] if rank == _FLAT else [self._integer() for _ in range(rank - 1)]
            before = checked_shape(lengths)
            yield before, position

    def _codes(
        self, arrays: int, coders: list[str], payload_bytes: int
    ) -> Iterator[tuple[str, int]]:
        """Reads the coder and the length of each code."""
        if self._claim(arrays) and not coders:
            raise ValueError("it has arrays and no coders")
        codes = [divmod(self._reader.varint(), len(coders)) for _ in range(arrays)]
        left = payload_bytes - sum(length for length, _ in codes)
        if left < 0 or (left and not codes) or (codes and codes[-1][0]):
            raise ValueError(
                f"it declares {payload_bytes - left} bytes of arrays but for the last, and the "
                f"file holds {payload_bytes}"
            )
        lengths = [length for length, _ in codes[:-1]] + [left]
        return ((coders[coder], n) for (_, coder), n in zip(codes, lengths, strict=False))

    def _metadata(self) -> dict[str, Any]:
        text = bytes(self._reader.rest())
        return checked_object(_from_json(text)) if text else {}


def _from_json(text: bytes) -> Any:
    return json.loads(str(text, "utf-8"), parse_constant=no_constant)
