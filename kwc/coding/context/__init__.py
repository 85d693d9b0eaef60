"""The `context` coder: integers by adaptive binary models that see what was coded before.

Few large weights of a sparse kernel lie anywhere: whole rows and columns are empty, pixels next to
each other are alike, and so are the signs. So each bit of a value is predicted from its neighbours
and from the slices of the array that it lies in, and what these say is mixed. It needs numba.
"""

import math

import numpy as np

from kwc.coding import bits
from kwc.coding.context.header import read_header
from kwc.coding.context.layout import value_dtype
from kwc.coding.dtypes import limits, pattern_dtype, subtract_minimum, to_patterns
from kwc.coding.errors import CodingError
from kwc.coding.frequencies import occurrences

_LARGEST = 1 << 15


class Context:
    """Applies to arrays of integers or bools whose values lie within 32768 of their most frequent.

    Each has at least 1 element and at most 2**31.
    """

    name = "context"

    def encode(self, array: np.ndarray) -> bytes | None:
        """Returns a header of a few bytes and the stream."""
        if array.dtype.kind not in "biu" or not 0 < array.size < 2**31:
            return None
        found = _counted(array)
        if found is None:
            return None
        _require_numba()
        from kwc.coding.context.search import best_code

        return best_code(array, *found)

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Inverts `encode`."""
        count = math.prod(shape)
        if dtype.kind not in "biu" or not 0 < count < 2**31:
            raise CodingError(f"corrupt data: a context code of {count} elements of {dtype.name}")
        reader = bits.Reader(data)
        header = read_header(reader)
        header.scan(shape)
        _require_numba()
        from kwc.coding.context.coder import read

        values = np.zeros(count, value_dtype(dtype, header.offset))
        read(bytes(reader.rest()), header, shape, values)
        least, most = limits(dtype)
        low, high = int(values.min()) + header.offset, int(values.max()) + header.offset
        if low < least or high > most:
            raise CodingError(f"corrupt data: a value does not fit {dtype.name}")
        patterns = values.astype(pattern_dtype(dtype))
        patterns += np.array(header.offset % 2 ** (8 * dtype.itemsize), patterns.dtype)
        return patterns


def _counted(array: np.ndarray) -> tuple[int, np.ndarray] | None:
    """Returns the least value, and how often it and those above occur; None of a wide range."""
    low, distances = subtract_minimum(to_patterns(array), array.dtype)
    return None if distances.max() > _LARGEST else (low, occurrences(distances))


def _require_numba() -> None:
    try:
        import numba  # noqa: F401
    except ImportError as error:
        raise CodingError(
            "the coder 'context' needs the package numba, which is not installed: pip install numba"
        ) from error
