"""Bounds on what a file may make a reader allocate, as multiples of the weight it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kwc.compressor import WeightInfo
from kwc.ops import NumpyOps, size

_SLACK = 1 << 16
_BYTES_AN_ELEMENT = 16  # A float64 and as much again, or two pairs of factors.


def check_sizes(info: WeightInfo, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raises `ValueError` if a weight's arrays are too large for it.

    Args:
        info: the weight.
        sizes: elements of each array by its name, and bytes of an element.
    """
    most = max(info.size, 1)
    for name, (elements, _) in sizes.items():
        if elements > most:
            raise ValueError(
                f"the array {info.path}/{name} has {elements} elements, its weight {info.size}"
            )
    together = sum(elements for elements, _ in sizes.values())
    if together > 4 * most:
        raise ValueError(
            f"the arrays of {info.path} have {together} elements, more than four times the "
            f"{info.size} of the weight"
        )
    taken = sum(elements * itemsize for elements, itemsize in sizes.values())
    if taken > _BYTES_AN_ELEMENT * most + _SLACK:
        raise ValueError(
            f"the arrays of {info.path} take {taken} bytes, more than {_BYTES_AN_ELEMENT} for each "
            f"of the {info.size} elements of the weight"
        )


def bounded(array: np.ndarray, info: WeightInfo) -> BoundedArray:
    """Returns a view whose arithmetic raises `ValueError` before a result is too large.

    The declared arrays of a weight are small, but their product need not be: a column times a row
    has the square of their elements. Results may have four times the elements of the weight, and
    a constant more.
    """
    view = array.view(BoundedArray)
    view.most = 4 * info.size + _SLACK
    return view


class BoundedArray(np.ndarray):
    """An array whose results are refused before they take more than `most` elements."""

    most = 0

    def __array_finalize__(self, parent: Any) -> None:
        self.most = getattr(parent, "most", 0)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        shapes = [np.shape(x) for x in inputs]
        if method == "outer":
            self.check_room(shapes[0] + shapes[1])
        elif ufunc is np.matmul:
            self.check_room(_product_shape(*shapes))
        elif ufunc.signature is None and method == "__call__":
            self.check_room(np.broadcast_shapes(*shapes))
        if "out" in kwargs:
            kwargs["out"] = tuple(_plain(x) for x in kwargs["out"])
        result = getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
        return self._adopt(result) if isinstance(result, np.ndarray) else result

    def check_room(self, shape: Sequence[int]) -> None:
        """Raises `ValueError` if a result of this shape is too large."""
        if size(shape) > self.most:
            raise ValueError(f"its arrays make one of shape {tuple(shape)}, too large for it")

    def _adopt(self, result: np.ndarray) -> BoundedArray:
        view = result.view(BoundedArray)
        view.most = self.most
        return view


class BoundedOps(NumpyOps):
    """Decoding operations on `BoundedArray`s, which a file chose."""

    @staticmethod
    def cast(x: BoundedArray, dtype: str) -> BoundedArray:
        return x.astype(dtype)

    @staticmethod
    def gather(table: np.ndarray, indices: np.ndarray) -> BoundedArray:
        if indices.dtype.kind not in "iu":
            raise IndexError(f"indices are integers, not {indices.dtype}")
        if indices.size and int(indices.min()) < 0:
            raise IndexError(f"the index {int(indices.min())} is negative")
        # Either may be one that the algorithm itself has.
        bounds = indices if isinstance(indices, BoundedArray) else table
        bounds.check_room(indices.shape + table.shape[1:])
        return bounds._adopt(_plain(table)[_plain(indices)])

    @staticmethod
    def where(mask: BoundedArray, x: BoundedArray) -> BoundedArray:
        x.check_room(np.broadcast_shapes(mask.shape, x.shape))
        return x._adopt(NumpyOps.where(_plain(mask), _plain(x)))


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, BoundedArray) else x


def _product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a matrix product; NumPy refuses what has none."""
    if len(a) < 2 or len(b) < 2:
        return a[:-1] + b[:-2] + b[-1:] if len(b) > 1 else a[:-1]
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
