"""The coders `planes` and `floats`: each byte of the elements on its own.

The k-th bytes of all elements make plane k. In floats the last plane holds sign and exponent and
is compressible where the mantissa planes are not; in wide integers the upper planes are nearly
constant. So each plane gets the coder that suits it.

In float32 and bfloat16 the sign fills the last plane's top bit and pushes the exponent's lowest bit
into the next plane. `floats` rotates the sign behind the mantissa, which makes the exponent a plane
of its own.
"""

import math
from collections.abc import Sequence

import numpy as np

from kwc.coding import bits
from kwc.coding.coder import Coder, cheapest
from kwc.coding.dtypes import pattern_dtype, to_octets
from kwc.coding.errors import CodingError
from kwc.coding.frequencies import occurrences

_BYTE = np.dtype(np.uint8)

_MOST_PREFIX = 1 + bits.MAX_VARINT_BYTES
"""The most bytes of a plane's coder and length."""

_LONG = 1 << 13
_NOISE = 7.95
"""Bits per byte."""


class Planes:
    """One code per byte plane. Applies to arrays that have elements of more than one byte."""

    name = "planes"

    def __init__(self, coders: Sequence[Coder], tried: Sequence[Coder] | None = None):
        """Plane codes are stored by their coder's position in `coders`.

        Args:
            coders: those that a reader knows; the first leaves bytes as they are.
            tried: those of them that a writer tries, the first among them; all of them, if None.
        """
        self._coders = tuple(coders)
        self._tried = self._coders if tried is None else tuple(tried)

    def encode(self, array: np.ndarray) -> memoryview | None:
        """Returns for each plane, least significant first: coder, length in bytes, code."""
        if not array.size or array.itemsize == 1:
            return None
        octets = to_octets(array).reshape(-1, array.itemsize)
        # Written in place: parts that wait to be joined would be held twice in the end. The first
        # coder makes no plane longer.
        stream, end = np.empty(array.nbytes + array.itemsize * _MOST_PREFIX, _BYTE), 0
        for index in range(array.itemsize):
            plane = self._plane(octets, index).reshape(array.shape)
            tried = self._coders[:1] if _is_noise(plane) else self._tried
            coder, data = cheapest(tried, plane)
            for part in (bytes([self._coders.index(coder)]) + bits.varint(len(data)), data):
                stream[end : end + len(part)] = np.frombuffer(part, _BYTE)
                end += len(part)
        return stream[:end].data

    def _plane(self, octets: np.ndarray, index: int) -> np.ndarray:
        """Returns one of the columns of bytes [n, itemsize], the least significant first."""
        return np.ascontiguousarray(octets[:, index])

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Inverts `encode`."""
        if dtype.itemsize == 1:
            raise CodingError(f"corrupt data: {dtype.name} has a single byte plane")
        reader = bits.Reader(data)
        planes = np.empty((math.prod(shape), dtype.itemsize), _BYTE)
        for plane in planes.T:
            index = reader.byte()
            if index >= len(self._coders):
                raise CodingError(f"corrupt data: plane coder {index}")
            code = bytes(reader.take(reader.varint()))
            plane[:] = self._coders[index].decode(code, shape, _BYTE)
        reader.end()
        patterns = pattern_dtype(dtype)
        return planes.reshape(-1).view(patterns.newbyteorder("<")).astype(patterns, copy=False)


def _is_noise(plane: np.ndarray) -> bool:
    """Whether a long plane is so close to random bytes that no coder is worth its time."""
    if plane.size < _LONG:
        return False
    counts = occurrences(plane.reshape(-1))
    entropy = np.log2(plane.size) - counts @ np.log2(np.maximum(counts, 1)) / plane.size
    return entropy > _NOISE


class Floats(Planes):
    """Planes of rotated floats. Applies to arrays of floats that have elements."""

    name = "floats"

    def encode(self, array: np.ndarray) -> memoryview | None:
        """Returns the planes of the patterns, each rotated left by one bit."""
        return None if array.dtype.kind in "biu" else super().encode(array)

    def _plane(self, octets: np.ndarray, index: int) -> np.ndarray:
        # The bit that leaves a byte enters the next one; that of the last, the first.
        return octets[:, index] << 1 | octets[:, index - 1] >> 7

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Inverts `encode`."""
        if dtype.kind in "biu":
            raise CodingError(f"corrupt data: {dtype.name} is not a float")
        patterns = super().decode(data, shape, dtype)
        signs = patterns << (8 * patterns.itemsize - 1)
        patterns >>= 1
        patterns |= signs
        return patterns
