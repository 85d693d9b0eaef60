"""Where the states of all contexts lie, and how an array is folded into three axes."""

import math
from typing import NamedTuple

import numpy as np

KINDS = 4
ZERO, NEGATIVE, ABOVE_ONE, ABOVE_MORE = range(KINDS)
"""The kinds of mixed bits; a context has a state for each."""

UNARY = 14
"""Magnitudes up to this are coded in unary."""

MOST_EXPONENT = 15
"""The largest exponent of what a magnitude is beyond UNARY."""

# The first states: those without context (ZERO, NEGATIVE, the magnitude above 1, 2, ... UNARY),
# those of the Elias gamma code, that of ZERO where a guide says unused, and those of contexts of
# neighbours.
EXPONENTS = 2 + UNARY
MANTISSAS = EXPONENTS + MOST_EXPONENT
UNUSED = MANTISSAS + 8 * (MOST_EXPONENT + 1)
NEAR = UNUSED + 1
WIDE = NEAR + KINDS * 27
PATTERN = WIDE + KINDS * 16
SCALE = PATTERN + KINDS * 64
SLICES = SCALE + 9 * UNARY

NEIGHBOURS = 3
"""The contexts of neighbours that a bit which is not of a magnitude has: NEAR, WIDE, PATTERN."""

NO_GUIDE = np.zeros(0, bool)
"""Stands for the guide of an array that has none; see `kwc.coding.context.Guided`."""

LEAST_SLICE = 8
"""Slices of fewer elements have no states."""

ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
"""Which axis is scanned slowest, and which fastest."""

_SLICED = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))


class Scan(NamedTuple):
    """An order in which to visit the elements of an array.

    Attributes:
        sizes: the lengths of three axes, the slowest first.
        strides: the distance in C order of elements that are neighbours along these axes.
    """

    sizes: tuple[int, int, int]
    strides: tuple[int, int, int]

    def slices(self) -> tuple[np.ndarray, int]:
        """Returns the contexts by position, and the number of states with them.

        A slice is what one index, or a pair of indices, of the three axes leaves. Axes of length
        1 make no slices, and those with less than LEAST_SLICE elements are of no use.

        Returns:
            int64 [n, 4]: for each way to slice, the position of the first slice's states, and the
            number of slices between neighbours along each axis.
        """
        rows, end = [], SLICES
        total = math.prod(self.sizes)
        for axes in _SLICED:
            lengths = [self.sizes[axis] for axis in axes]
            count = math.prod(lengths)
            if min(lengths) > 1 and total // count >= LEAST_SLICE:
                steps = [0, 0, 0]
                steps[axes[-1]] = 1
                if len(axes) == 2:
                    steps[axes[0]] = lengths[1]
                rows.append([end, *steps])
                end += KINDS * count
        return np.array(rows, np.int64).reshape(-1, 4), end


def value_dtype(dtype: np.dtype, offset: int) -> np.dtype:
    """Returns a signed dtype for the elements of an array minus an offset, as far as it is coded.

    That is the array's own where it holds them, so that no copy need be made.
    """
    if not offset and dtype.kind == "i" and dtype.itemsize <= 4:
        return dtype
    return np.dtype(np.int16 if dtype.itemsize == 1 else np.int32)


def scan(lengths: tuple[int, int, int], order: int) -> Scan:
    """Returns the scan of an array of three axes in one of ORDERS."""
    strides = (lengths[1] * lengths[2], lengths[2], 1)
    axes = ORDERS[order]
    return Scan(tuple(lengths[a] for a in axes), tuple(strides[a] for a in axes))
