"""Finds how a weight lies in a constant of an exported file."""

from __future__ import annotations

import itertools

import numpy as np

from kwc.runtime.layout import Layout

_CLOSE = 1e-5
_GATES = 4


def find(weight: np.ndarray, constant: np.ndarray, parts: int = 1) -> Layout | None:
    """Returns how a weight lies in a constant; None if it does not.

    >>> kernel = np.arange(6.0).reshape(2, 3)
    >>> find(kernel, kernel.T).axes
    (1, 0)
    >>> find(kernel, kernel.T * [[1.0], [2.0], [3.0]]).factor
    array([[1., 2., 3.]], dtype=float32)
    >>> find(kernel, kernel + 1)

    Args:
        weight: floating-point array.
        constant: floating-point array; of a weight's elements it may hold one scale for each index
            of an output axis, the last or the last two.
        parts: into how many equal parts the last axis may be cut.
    """
    if not weight.ndim or constant.size * parts != weight.size or weight.shape[-1] % parts:
        return None
    width = weight.shape[-1] // parts
    for number in range(parts):
        part = slice(number * width, (number + 1) * width) if parts > 1 else None
        cut = weight if part is None else weight[..., part]
        for axes in _orders(cut.shape, constant.shape):
            inverse = np.argsort(axes)
            moved = constant.reshape([cut.shape[axis] for axis in axes]).transpose(inverse)
            if np.array_equal(moved, cut):
                return Layout(axes, constant.shape, None, part)
            factor = _factor(cut, moved) if part is None else None
            if factor is not None:
                return Layout(axes, constant.shape, factor, part)
    return None


def parts_of(weight: np.ndarray, size: int) -> int:
    """Into how many parts a weight is cut if a constant of `size` elements holds one of them.

    That is 1, 4 for the gates of a recurrent kernel, or 0 if it can hold none.
    """
    return next((parts for parts in (1, _GATES) if weight.size == size * parts), 0)


def _orders(shape: tuple[int, ...], constant: tuple[int, ...]):
    """Orders of the axes whose reshape is the constant's shape: it may join axes, and add ones."""
    wanted = set(np.cumprod(constant, dtype=np.int64).tolist())
    seen = set()
    for axes in itertools.permutations(range(len(shape))):
        order = tuple(axis for axis in axes if shape[axis] != 1)
        lengths = np.cumprod([shape[axis] for axis in order], dtype=np.int64).tolist()
        if order not in seen and wanted <= {1, *lengths}:
            seen.add(order)
            yield axes


def _factor(weight: np.ndarray, constant: np.ndarray) -> np.ndarray | None:
    """The scale of each output channel that makes the constant of the weight, if there is one."""
    for outputs in ((-1,), (-2,), (-2, -1)):
        inputs = tuple(axis for axis in range(weight.ndim) if axis - weight.ndim not in outputs)
        if len(outputs) > weight.ndim - 1 or all(weight.shape[axis] == 1 for axis in inputs):
            continue
        largest = np.argmax(_flat(np.abs(weight), inputs), axis=0)[None]
        top = np.take_along_axis(_flat(weight, inputs), largest, axis=0)[0]
        scaled = np.take_along_axis(_flat(constant, inputs), largest, axis=0)[0]
        factor = np.divide(scaled, top, out=np.ones_like(scaled), where=top != 0)
        shape = [1 if axis in inputs else n for axis, n in enumerate(weight.shape)]
        factor = factor.astype(np.float32).reshape(shape)
        bound = _CLOSE * np.max(np.abs(constant), axis=inputs, keepdims=True)
        if np.all(np.abs(weight * factor - constant) <= bound):
            return factor
    return None


def _flat(array: np.ndarray, inputs: tuple[int, ...]) -> np.ndarray:
    """A matrix whose rows run over the input axes."""
    outputs = [axis for axis in range(array.ndim) if axis not in inputs]
    rows = int(np.prod([array.shape[axis] for axis in inputs]))
    return array.transpose([*inputs, *outputs]).reshape(rows, -1)
