"""The writer's choices: offset, folding, order of the axes and learning rates.

A choice is tried on a part of a large array, or on all of a smaller one, and what came out shortest
there codes the array.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from kwc.coding.context.coder import prior, write
from kwc.coding.context.header import (
    MATRIX,
    SETTINGS,
    SPLIT_COLUMNS,
    SPLIT_ROWS,
    STACK,
    Header,
)
from kwc.coding.context.layout import ORDERS
from kwc.coding.frequencies import occurrences

_WHOLE = 1 << 18
"""The work up to which all of an array is tried."""

_TINY = 1 << 16
"""The work up to which orders and neighbours are tried together."""

_TRANSPOSED = ORDERS.index((1, 0, 2))
_PART = 1 << 15
_CORNER = 128
_LEAST_PART = 4
_TINY_FOLDS = 6


def best_code(distances: np.ndarray, low: int) -> bytes:
    """Returns header and stream.

    Args:
        distances: unsigned integers up to 32768, the values' distances from the least one.
        low: the least value.
    """
    counts = occurrences(distances.reshape(-1))
    centre = _centre(counts, low)
    values = distances.astype(np.int32)
    values -= np.int32(centre)
    header = Header(
        offset=low + centre,
        has_negative=centre > 0,
        has_large=max(centre, len(counts) - 1 - centre) > 1,
        prior=prior((values.size - counts[centre]) / values.size),
    )
    work = _work(counts[counts > 0])
    block, has_all_rows = (values, True) if work <= _WHOLE else _part(values)

    def length(one: Header) -> int:
        return len(_code(block, one))

    folded = sorted(_folds(header, block, has_all_rows), key=length)
    if work <= _TINY:
        tried = (o for fold in folded[:_TINY_FOLDS] for s in _smooths(fold) for o in _orders(s))
        header = min(tried, key=length)
    else:
        header = min(_smooths(folded[0]), key=length)
        header = min(_orders(header), key=length)
    return _code(values, min(_settings(header), key=length))


def _code(values: np.ndarray, header: Header) -> bytes:
    return header.to_bytes() + write(values.reshape(-1), header, values.shape)


def _centre(counts: np.ndarray, low: int) -> int:
    """Returns the most frequent value, or 0 if that is not much rarer, above the least one."""
    mode = int(np.argmax(counts))
    zero = -low
    return zero if 0 <= zero < len(counts) and 2 * counts[zero] >= counts[mode] else mode


def _work(counts: np.ndarray) -> float:
    """What it takes to try an array, in some unit; the many bits of dense ones gain less by it."""
    size = counts.sum()
    return float(0.2 * size - 3 * counts @ np.log2(counts / size))


def _part(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns the first columns of an array, or a corner of one with many rows.

    And whether the rows, which a header can split, are those of the array.
    """
    *outer, middle, last = (1, 1, *values.shape)
    rows = math.prod(outer) * middle
    if 1 < rows <= _PART // 8:
        return np.ascontiguousarray(values[..., : max(_PART // rows, 1)]), True
    corner = values.reshape(-1, middle, last)[:, :_CORNER, : _PART // min(middle, _CORNER)]
    return np.ascontiguousarray(corner[: max(_PART // corner[0].size, 1)]), False


def _folds(header: Header, block: np.ndarray, has_all_rows: bool) -> Iterator[Header]:
    """Yields ways to fold, each with neighbours along one axis, and transposed without them."""
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
        yield dataclasses.replace(fold, smooth=1)
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
