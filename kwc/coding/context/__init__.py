"""The `context` coder: integers by adaptive binary models that see what was coded before.

Few large weights of a sparse kernel lie anywhere: whole rows and columns are empty, pixels next to
each other are alike, and so are the signs. So each bit of a value is predicted from its neighbours
and from the slices of the array that it lies in, and what these say is mixed. It needs numba.
"""

import math

import numpy as np

from kwc.coding import bits
from kwc.coding.context.header import read_header
from kwc.coding.context.layout import NO_GUIDE, value_dtype
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
        """Returns a header of a few bytes and the stream; None where it would not be short."""
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
        return _decoded(data, shape, dtype, NO_GUIDE)


class Guided:
    """Applies to arrays with two axes or more, of whose rows a guide says which are used.

    An output of a layer without weights of its own needs none in the layer that it goes to. Row r,
    where all axes but the last count rows, is one with a value that is not 0 only if `used[r % n]`:
    so the guide, bool [n], says, and errors in it cost bits and no more.
    """

    name = "context_1"

    def encode(self, array: np.ndarray, code: bytes, used: np.ndarray) -> bytes | None:
        """Returns a context code with the choices of `code`, or None where the guide tells nothing.

        Args:
            array: integers or bools.
            code: what `Context` makes of it.
            used: the guide.
        """
        if not _applies(used, array.shape):
            return None
        from kwc.coding.context.search import guided_code

        return guided_code(array, code, used)

    def decode(
        self, data: bytes, shape: tuple[int, ...], dtype: np.dtype, used: np.ndarray
    ) -> np.ndarray:
        """Inverts `encode`."""
        if not _applies(used, shape):
            raise CodingError(f"corrupt data: {used.size} rows guide an array of shape {shape}")
        return _decoded(data, shape, dtype, used)


def _applies(used: np.ndarray, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and 0 < used.sum() < used.size and shape[-2] % used.size == 0


def _decoded(data: bytes, shape: tuple[int, ...], dtype: np.dtype, used: np.ndarray) -> np.ndarray:
    count = math.prod(shape)
    if dtype.kind not in "biu" or not 0 < count < 2**31:
        raise CodingError(f"corrupt data: a context code of {count} elements of {dtype.name}")
    reader = bits.Reader(data)
    header = read_header(reader)
    header.scan(shape)
    _require_numba()
    from kwc.coding.context.coder import read

    values = np.zeros(count, value_dtype(dtype, header.offset))
    read(bytes(reader.rest()), header, shape, values, used)
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
