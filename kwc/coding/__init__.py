"""Exact codes for arrays: the smallest bytes that any coder finds, and back, without TensorFlow.

docs/coding.md gives every byte layout.
"""

from typing import NamedTuple

import numpy as np

from kwc.coding.ans import Ans
from kwc.coding.coder import Coder, cheapest
from kwc.coding.context import Context
from kwc.coding.dtypes import DTYPES, dtype_from_name, dtype_name, from_patterns
from kwc.coding.errors import CodingError
from kwc.coding.packed import Packed
from kwc.coding.planes import Floats, Planes
from kwc.coding.raw import Raw
from kwc.coding.zstd import Zstd

__all__ = [
    "CODERS",
    "DTYPES",
    "PRESETS",
    "CodingError",
    "Encoded",
    "decode",
    "dtype_from_name",
    "dtype_name",
    "encode",
]

_RAW, _ZSTD, _PACKED, _ANS, _CONTEXT = Raw(), Zstd(), Packed(), Ans(), Context()
_BYTE_CODERS = (_RAW, _ZSTD, _PACKED, _ANS)
_FLOAT_CODERS = (*_BYTE_CODERS, _CONTEXT)
_FAST = (_RAW, _PACKED, _ANS)

CODERS: dict[str, Coder] = {
    coder.name: coder
    for coder in (*_BYTE_CODERS, Planes(_BYTE_CODERS), Floats(_FLOAT_CODERS), _CONTEXT)
}
"""Every coder by name, in the order of preference between codes of equal length."""

PRESETS: dict[str, tuple[Coder, ...]] = {
    "small": tuple(CODERS.values()),
    "fast": (*_FAST, Floats(_FLOAT_CODERS, _FAST)),
}
"""What a writer tries, by the preset's name."""


class Encoded(NamedTuple):
    """An encoded array.

    Attributes:
        coder: the name of its coder.
        data: its code; shape and dtype are not in it.
    """

    coder: str
    data: bytes


def encode(array: np.ndarray, preset: str = "small") -> Encoded:
    r"""Returns the smallest encoding that really came out, over the applicable coders of a preset.

    Args:
        array: any shape, a dtype of `DTYPES` in any byte order.
        preset: `small` tries every coder. `fast` tries those that read and write at the speed of
            a disk, some 100 MB of float32 a second; a reader needs not know.

    Raises:
        CodingError: if an artifact cannot hold the dtype, the preset is unknown, or a package is
            missing.

    >>> encode(np.zeros((3, 1000), np.int32))
    Encoded(coder='packed', data=b'\x00\x00')
    """
    if preset not in PRESETS:
        raise CodingError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    native = np.asarray(array, dtype_from_name(dtype_name(array.dtype)))
    coder, data = cheapest(PRESETS[preset], native)
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
    patterns = CODERS[coder].decode(data, tuple(shape), native)
    return from_patterns(patterns, native).reshape(shape)
