"""Exact codes for arrays: the smallest bytes that any coder finds, and back, without TensorFlow.

docs/coding.md gives every byte layout.
"""

import math
from typing import NamedTuple

import numpy as np

from kwc.coding.ans import Ans
from kwc.coding.coder import Coder, cheapest
from kwc.coding.dtypes import DTYPES, dtype_from_name, dtype_name, from_patterns
from kwc.coding.errors import CodingError
from kwc.coding.packed import Packed
from kwc.coding.planes import Planes
from kwc.coding.raw import Raw
from kwc.coding.zstd import Zstd

__all__ = [
    "CODERS",
    "DTYPES",
    "CodingError",
    "Encoded",
    "decode",
    "dtype_from_name",
    "dtype_name",
    "encode",
]

_PLANE_CODERS = (Raw(), Zstd(), Packed(), Ans())

CODERS: dict[str, Coder] = {coder.name: coder for coder in (*_PLANE_CODERS, Planes(_PLANE_CODERS))}
"""Every coder by name, in the order of preference between codes of equal length."""


class Encoded(NamedTuple):
    """An encoded array.

    Attributes:
        coder: the name of its coder.
        data: its code; shape and dtype are not in it.
    """

    coder: str
    data: bytes


def encode(array: np.ndarray) -> Encoded:
    r"""Returns the smallest encoding that really came out, over every applicable coder.

    Args:
        array: any shape, a dtype of `DTYPES` in any byte order.

    Raises:
        CodingError: if an artifact cannot hold the dtype.

    >>> encode(np.zeros((3, 1000), np.int32))
    Encoded(coder='packed', data=b'\x00\x00')
    """
    native = np.asarray(array, dtype_from_name(dtype_name(array.dtype)))
    coder, data = cheapest(CODERS.values(), native)
    return Encoded(coder.name, data)


def decode(coder: str, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    r"""Returns the very array that was encoded, bit for bit.

    Memory is bounded by the declared array, the data and a constant, whatever the data says.

    Args:
        coder: a name in `CODERS`.
        data: the code.
        shape: of the array; the caller vouches for it.
        dtype: one of `DTYPES`.

    Returns:
        A new, writable array of that shape and dtype, in native byte order.

    Raises:
        CodingError: on an unknown coder or dtype, or truncated, over-long or corrupt data.

    >>> decode("packed", b"\x00\x00", (2, 2), np.int32)
    array([[0, 0],
           [0, 0]], dtype=int32)
    """
    if coder not in CODERS:
        raise CodingError(f"unknown coder {coder!r}; known: {', '.join(CODERS)}")
    native = dtype_from_name(dtype_name(dtype))
    patterns = CODERS[coder].decode(data, math.prod(shape), native)
    return from_patterns(patterns, native).reshape(shape)
