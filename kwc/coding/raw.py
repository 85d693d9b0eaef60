"""The `raw` coder: the bytes as they are, little-endian."""

import math

import numpy as np

from kwc.coding.dtypes import pattern_dtype, to_octets
from kwc.coding.errors import CodingError


class Raw:
    """Little-endian elements in C order. Applies to every array."""

    name = "raw"

    def encode(self, array: np.ndarray) -> memoryview:
        """Returns the elements as little-endian bytes: where it can, a view of the array."""
        return to_octets(array).data

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Inverts `encode`."""
        size = math.prod(shape) * dtype.itemsize
        if len(data) != size:
            raise CodingError(f"{len(data)} bytes where {size} are declared")
        patterns = pattern_dtype(dtype)
        return np.frombuffer(data, patterns.newbyteorder("<")).astype(patterns)
