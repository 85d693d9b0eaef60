"""The dtypes an artifact may hold, and arrays as unsigned bit patterns.

Every coder works on *patterns*: the flat, native-endian unsigned integers that have the same bits
as the array. So a coder is bit-exact for NaN payloads and negative zeros without knowing them, and
byte order is handled in one place.
"""

from types import MappingProxyType

import ml_dtypes
import numpy as np

from kwc.coding.errors import CodingError

DTYPES = MappingProxyType(
    {
        dtype.name: dtype
        for dtype in map(
            np.dtype,
            (
                np.bool_,
                *(np.int8, np.int16, np.int32, np.int64),
                *(np.uint8, np.uint16, np.uint32, np.uint64),
                *(np.float16, ml_dtypes.bfloat16, np.float32, np.float64),
            ),
        )
    }
)
"""Names of the dtypes an artifact may hold, each with its native NumPy dtype."""


def dtype_name(dtype: np.typing.DTypeLike) -> str:
    """Returns the artifact's name of a dtype, whatever its byte order.

    >>> dtype_name(np.dtype(">f4"))
    'float32'

    Raises:
        CodingError: if an artifact cannot hold the dtype.
    """
    name = np.dtype(dtype).name
    dtype_from_name(name)
    return name


def dtype_from_name(name: str) -> np.dtype:
    """Returns the native NumPy dtype of an artifact's dtype name.

    Raises:
        CodingError: if the name is not in `DTYPES`.
    """
    if name not in DTYPES:
        raise CodingError(f"unsupported dtype {name!r}; supported: {', '.join(DTYPES)}")
    return DTYPES[name]


def pattern_dtype(dtype: np.dtype) -> np.dtype:
    """Returns the native unsigned integer dtype with the item size of `dtype`."""
    return np.dtype(f"u{dtype.itemsize}")


def to_patterns(array: np.ndarray) -> np.ndarray:
    """Returns the elements of `array` in C order as a flat array of unsigned bit patterns.

    >>> to_patterns(np.array([[1.0], [-0.0]], np.float16)).tolist()
    [15360, 32768]
    """
    native = np.ascontiguousarray(array, dtype_from_name(dtype_name(array.dtype)))
    return native.reshape(-1).view(pattern_dtype(native.dtype))


def to_octets(array: np.ndarray) -> np.ndarray:
    """Returns the little-endian bytes of the elements in C order, flat; where it can, no copy.

    >>> to_octets(np.array([1, 258], np.int16)).tolist()
    [1, 0, 2, 1]
    """
    patterns = to_patterns(array)
    return patterns.astype(patterns.dtype.newbyteorder("<"), copy=False).view(np.uint8)


def from_patterns(patterns: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Inverts `to_patterns` up to the shape.

    Raises:
        CodingError: if `dtype` is bool and a pattern is neither 0 nor 1.
    """
    if dtype.kind == "b" and patterns.size and patterns.max() > 1:
        raise CodingError("corrupt data: a bool is neither 0 nor 1")
    return patterns.view(dtype)


def limits(dtype: np.dtype) -> tuple[int, int]:
    """Returns the least and greatest integer that `subtract_minimum` can meet in this dtype.

    Floats count as their bit patterns, read as unsigned integers.
    """
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype if dtype.kind == "i" else pattern_dtype(dtype))
    return int(info.min), int(info.max)


def subtract_minimum(patterns: np.ndarray, dtype: np.dtype) -> tuple[int, np.ndarray]:
    """Splits patterns into their minimum and each one's distance from it.

    Args:
        patterns: at least one bit pattern of `dtype`.
        dtype: integers are ordered by value, bools and floats by bit pattern.

    Returns:
        The minimum, and the distances in the dtype of `patterns` (they always fit): `patterns`
        itself if the minimum is 0.

    >>> subtract_minimum(to_patterns(np.array([-128, 127], np.int8)), np.dtype(np.int8))
    (-128, array([  0, 255], dtype=uint8))
    """
    minimum = int((patterns.view(dtype) if dtype.kind == "i" else patterns).min())
    return minimum, patterns - _modular(minimum, patterns.dtype) if minimum else patterns


def add_minimum(minimum: int, distances: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Inverts `subtract_minimum`, in place, returning patterns.

    Args:
        minimum: any integer.
        distances: an array of the pattern dtype of `dtype`; overwritten.
        dtype: the dtype that the sums must fit.

    Raises:
        CodingError: if a sum does not fit `dtype`.
    """
    low, high = limits(dtype)
    greatest = int(distances.max()) if distances.size else 0
    if minimum < low or minimum + greatest > high:
        raise CodingError(f"corrupt data: a value does not fit {dtype.name}")
    distances += _modular(minimum, distances.dtype)
    return distances


def _modular(value: int, dtype: np.dtype) -> np.ndarray:
    """Returns `value` modulo the range of an unsigned dtype (arithmetic in it then wraps right)."""
    return np.array(value % 2 ** (8 * dtype.itemsize), dtype)
