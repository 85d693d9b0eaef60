"""The writer's choices: offset, folding, order of the axes and learning rates.

A choice is tried on a part of a large array, or on all of a smaller one, and what came out shortest
there codes the array.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import numpy as np

from kwc.coding.bits import Reader
from kwc.coding.context.coder import prior, write
from kwc.coding.context.header import (
    MATRIX,
    SETTINGS,
    SPLIT_COLUMNS,
    SPLIT_ROWS,
    STACK,
    Header,
    read_header,
)
from kwc.coding.context.layout import LEAST_SLICE, NO_GUIDE, ORDERS, value_dtype
from kwc.coding.dtypes import subtract_minimum, to_patterns
from kwc.coding.frequencies import least_bytes

_WORK = 1 << 16
"""The elements and bits, together, on which folds, neighbours and orders are tried."""

_WHOLE = 1 << 19
"""The elements and bits up to which learning rates are tried on all of an array.

They depend on its size.
"""

_ORDERLESS, _LEARNING = 1.02, 64
"""A first code that is longer than this multiple of an order-0 code, and these bytes, is given up.

Other folds, neighbours and rates gain less.
"""

_TRANSPOSED = ORDERS.index((1, 0, 2))
_CORNER = 128
_LEAST_PART = 4
_MOST_ROWS = 1 << 10


def best_code(array: np.ndarray, low: int, counts: np.ndarray) -> bytes | None:
    """Returns header and stream, or None if the elements seem to have no order worth a context.

    Args:
        array: integers or bools.
        low: the least one.
        counts: int64 [32769 at most], how often it and each one above it occurs.
    """
    centre = _centre(counts, low)
    offset = low + centre
    header = Header(
        offset=offset,
        has_negative=centre > 0,
        has_large=max(centre, len(counts) - 1 - centre) > 1,
        prior=prior((array.size - counts[centre]) / array.size),
    )
    bits = _entropy(counts[counts > 0])
    part, has_all_rows = _part(array, offset, bits)
    block = _values(part, offset)
    cost = _cost_on(block)
    tried = list(_folds(header, block, has_all_rows))
    if min(cost(h)[0] for h in tried if h.fold == MATRIX or block.ndim < 2) > _hopeless(block):
        return None
    # What wins by a little on a part may lose on the array, so there fewer deserve a closer look.
    folds, neighbours = (3, 2) if part is array else (2, 1)
    headers = sorted(tried, key=cost)[:folds]
    headers = sorted((s for h in headers for s in _smooths(h)), key=cost)[:neighbours]
    header = min((o for h in headers for o in _orders(h)), key=cost)
    header = min(_smooths(header), key=cost)
    values = block
    if part is not array:
        values = _values(array, offset)
        if array.size + bits <= _WHOLE:
            cost = _cost_on(values)
    return _code(values, min(_settings(header), key=cost))


def guided_code(array: np.ndarray, code: bytes, used: np.ndarray) -> bytes:
    """Returns header and stream with a guide, by the choices of the code without it.

    Args:
        array: what was coded.
        code: what `best_code` returned.
        used: the guide, see `kwc.coding.context.Guided`.
    """
    header = read_header(Reader(code))
    return _code(_values(array, header.offset), header, used)


def _values(array: np.ndarray, offset: int) -> np.ndarray:
    """Returns the array minus an offset; the array itself if that is 0, and if it can."""
    dtype = value_dtype(array.dtype, offset)
    if not offset and dtype == array.dtype:
        return np.require(array, requirements="CW")
    low, distances = subtract_minimum(to_patterns(array), array.dtype)
    values = distances.astype(dtype).reshape(array.shape)
    values -= dtype.type(offset - low)
    return values


def _cost_on(block: np.ndarray) -> Callable[[Header], tuple[int, int]]:
    """Returns the function from a header to the length of a block's code, coded once for each.

    And, as what decodes faster wins a tie, the axes along which neighbours are looked at.
    """
    return functools.cache(lambda header: (len(_code(block, header)), header.smooth))


def _code(values: np.ndarray, header: Header, used: np.ndarray = NO_GUIDE) -> bytes:
    return b"".join((header.to_bytes(), write(values.reshape(-1), header, values.shape, used)))


def _centre(counts: np.ndarray, low: int) -> int:
    """Returns the most frequent value, or 0 if that is not much rarer, above the least one."""
    mode = int(np.argmax(counts))
    zero = -low
    return zero if 0 <= zero < len(counts) and 2 * counts[zero] >= counts[mode] else mode


def _entropy(counts: np.ndarray) -> float:
    """Returns the bits of all counted elements, if nothing is known of their order."""
    return float(counts @ np.log2(counts.sum() / counts))


def _hopeless(block: np.ndarray) -> float:
    """Returns the bytes from which on a first code will not become shorter than an order-0 code."""
    symbols, counts = np.unique(block, return_counts=True)
    if len(symbols) < 2:
        return math.inf
    return _ORDERLESS * least_bytes(symbols - symbols[0], counts) + _LEARNING


def _part(array: np.ndarray, offset: int, bits: float) -> tuple[np.ndarray, bool]:
    """Returns a small array whole; else some columns, or a corner of an array with many rows.

    And whether the rows, which a header can split, are those of the array.

    Args:
        array: the array.
        offset: what is subtracted from its elements.
        bits: its entropy.
    """
    work = array.size + bits
    if work <= _WORK:
        return array, True
    *outer, middle, last = (1, 1, *array.shape)
    rows = math.prod(outer) * middle
    size = int(_WORK * array.size / work)
    if 1 < rows <= max(size // LEAST_SLICE, _MOST_ROWS):
        columns = _columns(array.reshape(rows, last) != offset, bits)
        return np.ascontiguousarray(array[..., columns]), True
    corner = array.reshape(-1, middle, last)[:, :_CORNER, : size // min(middle, _CORNER)]
    return np.ascontiguousarray(corner[: max(size // corner[0].size, 1)]), False


def _columns(matrix: np.ndarray, bits: float) -> np.ndarray:
    """Returns columns from everywhere, in ascending order; none that is nearly empty.

    Args:
        matrix: bool [rows, columns], which elements are not the offset.
        bits: the array's entropy.
    """
    used = np.count_nonzero(matrix, axis=0)
    full = np.flatnonzero(2 * used >= used.mean())
    work = len(matrix) + bits * used[full].mean() / max(used.sum(), 1)
    count = min(max(int(_WORK / work), LEAST_SLICE), len(full))
    return full[np.arange(count) * len(full) // count]


def _folds(header: Header, block: np.ndarray, has_all_rows: bool) -> Iterator[Header]:
    """Yields ways to fold, each with neighbours along two axes, and transposed without them."""
    shape = block.shape
    columns = shape[-1] if shape else 1
    folds = [header]
    if math.prod(shape[:-2]) > 1:
        folds.append(dataclasses.replace(header, fold=STACK))
    if has_all_rows:
        for divisor in _divisors(block.size // columns):
            folds.append(dataclasses.replace(header, fold=SPLIT_ROWS, divisor=divisor))
    if has_all_rows and len(shape) < 2:
        for divisor in _divisors(columns):
            folds.append(dataclasses.replace(header, fold=SPLIT_COLUMNS, divisor=divisor))
    for fold in folds:
        yield dataclasses.replace(fold, smooth=2)
        yield dataclasses.replace(fold, order=_TRANSPOSED)


def _orders(header: Header) -> Iterator[Header]:
    # With an axis of length 1 in front, there are two different orders.
    for order in (0, 1) if header.fold == MATRIX else range(len(ORDERS)):
        yield dataclasses.replace(header, order=order)


def _smooths(header: Header) -> Iterator[Header]:
    for smooth in range(4):
        yield dataclasses.replace(header, smooth=smooth)


def _settings(header: Header) -> Iterator[Header]:
    for index in range(len(SETTINGS)):
        yield dataclasses.replace(header, settings=index)


def _divisors(length: int) -> Iterator[int]:
    return (d for d in range(_LEAST_PART, length // _LEAST_PART + 1) if length % d == 0)
