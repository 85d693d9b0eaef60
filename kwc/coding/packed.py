"""The `packed` coder: distances from the minimum, in as many bits as the greatest one needs."""

import math

import numpy as np

from kwc.coding import bits
from kwc.coding.dtypes import add_minimum, pattern_dtype, subtract_minimum, to_patterns
from kwc.coding.errors import CodingError


class Packed:
    """Fixed-width integers, floats by bit pattern. Applies if these are narrower than the dtype."""

    name = "packed"

    def encode(self, array: np.ndarray) -> bytes | None:
        """Returns the minimum, the width in bits, and the packed distances."""
        if not array.size:
            return None
        minimum, distances = subtract_minimum(to_patterns(array), array.dtype)
        width = int(distances.max()).bit_length()
        if width == 8 * array.dtype.itemsize:
            return None
        return b"".join((bits.zigzag(minimum), bytes([width]), bits.pack(distances, width)))

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Inverts `encode`."""
        count = math.prod(shape)
        reader = bits.Reader(data)
        minimum = reader.zigzag()
        width = reader.byte()
        if width > 8 * dtype.itemsize:
            raise CodingError(f"corrupt data: {width} bits for each {dtype.name}")
        packed = reader.take(bits.packed_bytes(count, width))
        reader.end()
        distances = bits.unpack(packed, count, width, pattern_dtype(dtype))
        return add_minimum(minimum, distances, dtype)
