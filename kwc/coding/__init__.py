"""Exact codes for arrays: the smallest bytes that any coder finds, and back, without TensorFlow.

docs/coding.md gives every byte layout.
"""

from typing import NamedTuple

import numpy as np

from kwc.coding.ans import Ans
from kwc.coding.coder import Coder, cheapest
from kwc.coding.context import Context, Guided
from kwc.coding.dtypes import DTYPES, dtype_from_name, dtype_name, from_patterns
from kwc.coding.errors import CodingError
from kwc.coding.packed import Packed
from kwc.coding.planes import Floats, Planes
from kwc.coding.raw import Raw
from kwc.coding.zstd import Zstd

__all__ = [
    "CODERS",
    "DTYPES",
    "GUIDED",
    "PRESETS",
    "CodingError",
    "Encoded",
    "decode",
    "dtype_from_name",
    "dtype_name",
    "encode",
    "used_columns",
]

_RAW, _ZSTD, _PACKED, _ANS, _CONTEXT = Raw(), Zstd(), Packed(), Ans(), Context()
_GUIDED = Guided()
_BYTE_CODERS = (_RAW, _ZSTD, _PACKED, _ANS)
_FLOAT_CODERS = (*_BYTE_CODERS, _CONTEXT)
_FAST = (_RAW, _PACKED, _ANS)

CODERS: dict[str, Coder] = {
    coder.name: coder
    for coder in (*_BYTE_CODERS, Planes(_BYTE_CODERS), Floats(_FLOAT_CODERS), _CONTEXT)
}
"""Every coder without a guide by name, in the order of preference between codes of equal length."""

GUIDED = _GUIDED.name
"""The coder of arrays with a guide."""

_LEAST_BYTES, _LEAST_FRACTION = 4, 0.01
"""What a guide must save: naming its coder takes bytes, and a reader decodes another array."""

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


def encode(array: np.ndarray, preset: str = "small", used: np.ndarray | None = None) -> Encoded:
    r"""Returns the smallest encoding that really came out, over the applicable coders of a preset.

    Args:
        array: any shape, a dtype of `DTYPES` in any byte order.
        preset: `small` tries every coder. `fast` tries those that read and write at the speed of
            a disk, some 100 MB of float32 a second; a reader needs not know.
        used: a guide, from `used_columns` of another array.

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
    if coder is _CONTEXT and used is not None:
        guided = _GUIDED.encode(native, data, used)
        least = max(_LEAST_BYTES, _LEAST_FRACTION * len(data))
        if guided is not None and len(data) - len(guided) >= least:
            return Encoded(GUIDED, guided)
    return Encoded(coder.name, bytes(data))


def used_columns(array: np.ndarray) -> np.ndarray:
    """Returns the guide for the array that a layer's outputs go to.

    Args:
        array: of two axes or more; the last one counts the outputs.

    Returns:
        bool [outputs], whether any element of that column is not 0.

    >>> used_columns(np.array([[0, 1, 0], [0, -2, 3]]))
    array([False,  True,  True])
    """
    return array.reshape(-1, array.shape[-1]).any(axis=0)


def decode(
    coder: str,
    data: bytes,
    shape: tuple[int, ...],
    dtype: np.dtype,
    used: np.ndarray | None = None,
) -> np.ndarray:
    r"""Returns the very array that was encoded, bit for bit.

    Memory is bounded by the declared array, the data and a constant, whatever the data says.

    Args:
        coder: a name in `CODERS`, or `GUIDED`.
        data: the code.
        shape: of the array; the caller vouches for it.
        dtype: one of `DTYPES`.
        used: the guide that `encode` was given.

    Returns:
        A new, writable array of that shape and dtype, in native byte order.

    Raises:
        CodingError: on an unknown coder or dtype, or truncated, over-long or corrupt data.

    >>> decode("packed", b"\x00\x00", (2, 2), np.int32)
    array([[0, 0],
           [0, 0]], dtype=int32)
    """
    native = dtype_from_name(dtype_name(dtype))
    if coder == GUIDED:
        if used is None:
            raise CodingError(f"corrupt data: there is no guide for the coder {coder!r}")
        patterns = _GUIDED.decode(data, tuple(shape), native, used)
    elif coder in CODERS:
        patterns = CODERS[coder].decode(data, tuple(shape), native)
    else:
        raise CodingError(f"unknown coder {coder!r}; known: {', '.join((*CODERS, GUIDED))}")
    return from_patterns(patterns, native).reshape(shape)
