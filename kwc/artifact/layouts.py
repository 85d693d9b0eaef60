"""What the weights of a file have in common: an algorithm, and the arrays that it packs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kwc import coding
from kwc.artifact.declared import DeclaredWeight, checked_shape
from kwc.compressor import WeightInfo

DTYPES = tuple(coding.DTYPES.values())
"""The dtypes by their number in a file."""

_NUMBERS = {dtype: number for number, dtype in enumerate(DTYPES)}

# How a layout gives the length of an axis of an array; higher numbers are the length plus 3.
_GIVEN, _ROWS, _COLUMNS, _LENGTHS = range(4)


class Template(NamedTuple):
    """An array of a layout.

    Attributes:
        name: of the array.
        dtype: its number.
        axes: how each axis gets its length; None for the weight's own shape.
    """

    name: str
    dtype: int
    axes: tuple[int, ...] | None

    def shape(self, info: WeightInfo, given: Iterator[int]) -> tuple[int, ...]:
        """Returns the shape of the array of a weight; takes what the weight gives.

        Raises:
            ValueError: it is no shape.
        """
        if self.axes is None:
            return info.shape
        rows, columns = info.matrix_shape
        lengths = {_ROWS: rows, _COLUMNS: columns}
        return checked_shape(
            [
                next(given) if axis == _GIVEN else lengths.get(axis, axis - _LENGTHS)
                for axis in self.axes
            ]
        )


class Layout(NamedTuple):
    """What weights have in common.

    Attributes:
        algorithm: position among the algorithms.
        dtype: number of the weight's dtype.
        output_axes: of the weight; None for the usual ones.
        arrays: its arrays.
    """

    algorithm: int
    dtype: int
    output_axes: tuple[int, ...] | None
    arrays: tuple[Template, ...]

    @property
    def given(self) -> int:
        """Number of lengths that each weight gives."""
        return sum((array.axes or ()).count(_GIVEN) for array in self.arrays)


def find(
    weights: Sequence[DeclaredWeight],
) -> tuple[list[Layout], list[int], list[list[int]]]:
    """Returns the layouts, the position of each weight's, and the lengths that each weight gives.

    A length that all weights of a layout give alike is written in the layout.
    """
    kinds = [_layout(weight) for weight in weights]
    positions = {kind: position for position, kind in enumerate(dict.fromkeys(kinds))}
    chosen = [positions[kind] for kind in kinds]
    given: dict[Layout, list[list[int]]] = {kind: [] for kind in positions}
    for weight, kind in zip(weights, kinds, strict=True):
        given[kind].append(_given(weight, kind))
    layouts = [
        _settle(kind, [set(lengths) for lengths in zip(*lists, strict=True)])
        for kind, lists in given.items()
    ]
    left = [_given(weight, layouts[i]) for weight, i in zip(weights, chosen, strict=True)]
    return layouts, chosen, left


def _layout(weight: DeclaredWeight) -> Layout:
    info = weight.info
    usual = WeightInfo(info.path, info.shape).output_axes
    return Layout(
        weight.algorithm,
        _NUMBERS[coding.dtype_from_name(info.dtype)],
        None if info.output_axes == usual else info.output_axes,
        tuple(
            Template(array.name, _NUMBERS[array.dtype], _axes(array.shape, info))
            for array in weight.arrays
        ),
    )


def _axes(shape: tuple[int, ...], info: WeightInfo) -> tuple[int, ...] | None:
    if shape == info.shape:
        return None
    rows, columns = info.matrix_shape
    inner, last = {columns: _COLUMNS, rows: _ROWS}, {rows: _ROWS, columns: _COLUMNS}
    # A length of 1 is rarely that of the rows, even where there is but one.
    return tuple(
        (last if axis == len(shape) - 1 else inner).get(length, _GIVEN) if length > 1 else _GIVEN
        for axis, length in enumerate(shape)
    )


def _given(weight: DeclaredWeight, layout: Layout) -> list[int]:
    return [
        length
        for array, template in zip(weight.arrays, layout.arrays, strict=True)
        if template.axes is not None
        for length, axis in zip(array.shape, template.axes, strict=True)
        if axis == _GIVEN
    ]


def _settle(layout: Layout, lengths: Sequence[set[int]]) -> Layout:
    """Returns a layout that gives the lengths of which there is but one."""
    remaining = iter(lengths)

    def settled(axis: int) -> int:
        if axis != _GIVEN:
            return axis
        values = next(remaining)
        return _LENGTHS + min(values) if len(values) == 1 else _GIVEN

    return layout._replace(
        arrays=tuple(
            array if array.axes is None else array._replace(axes=tuple(map(settled, array.axes)))
            for array in layout.arrays
        )
    )
