"""Integers <-> bytes: variable-length, fixed-width and Rice codes, vectorized over arrays.

Bit strings fill bytes from the most significant bit down; the last byte is padded with zeros.
"""

import numpy as np

from kwc.coding.errors import CodingError

CHUNK = 2**16
"""Elements expanded to one byte per bit at a time; a multiple of 8, so chunks end on bytes."""

ALL_ZERO = -1
"""The Rice parameter that stands for "every value is 0", which takes no bits."""

MAX_VARINT_BYTES = 10
"""The most bytes that `varint` makes of 64 bits."""


class Reader:
    """Reads bytes from left to right and refuses to read past the end."""

    def __init__(self, data: bytes):
        self._data = memoryview(data)
        self._position = 0

    def take(self, count: int) -> memoryview:
        """Returns the next `count` bytes, which must exist."""
        taken = self.peek(count)
        if len(taken) < count:
            raise CodingError(f"truncated data: {count} bytes wanted, {len(taken)} left")
        self._position += count
        return taken

    def peek(self, count: int) -> memoryview:
        """Returns the next `count` bytes, or what is left of them, without moving on."""
        return self._data[self._position : self._position + count]

    def rest(self) -> memoryview:
        """Returns all bytes that are left."""
        return self.take(len(self._data) - self._position)

    def end(self) -> None:
        """Raises a CodingError if any byte is left."""
        left = len(self._data) - self._position
        if left:
            raise CodingError(f"over-long data: {left} bytes left over")

    def byte(self) -> int:
        """Returns the next byte as an integer."""
        return self.take(1)[0]

    def varint(self) -> int:
        """Returns the next unsigned integer written by `varint`."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value
        raise CodingError(f"corrupt data: a varint is longer than {MAX_VARINT_BYTES} bytes")

    def zigzag(self) -> int:
        """Returns the next signed integer written by `zigzag`."""
        value = self.varint()
        return value >> 1 ^ -(value & 1)


def varint(value: int) -> bytes:
    """Returns a non-negative integer as base-128 digits, least significant first (LEB128).

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> bytes:
    """Returns the varint of 0, 1, 2, 3, 4, ... for the signed integer 0, -1, 1, -2, 2, ...

    >>> zigzag(-150).hex()
    'ab02'
    """
    return varint(2 * value if value >= 0 else -2 * value - 1)


def packed_bytes(count: int, width: int) -> int:
    """Returns the length in bytes of `count` values of `width` bits each."""
    return (count * width + 7) // 8


def pack(values: np.ndarray, width: int) -> memoryview:
    """Returns unsigned integers below 2**width as a bit string, `width` bits each.

    >>> pack(np.array([1, 2, 3], np.uint8), 2).hex()
    '6c'
    """
    packed = np.empty(packed_bytes(len(values), width), np.uint8)
    for start in range(0, len(values), CHUNK):
        chunk = np.packbits(_to_bits(values[start : start + CHUNK], width))
        first = packed_bytes(start, width)
        packed[first : first + len(chunk)] = chunk
    return packed.data


def unpack(data: memoryview, count: int, width: int, dtype: np.dtype) -> np.ndarray:
    """Inverts `pack`.

    Args:
        data: exactly `packed_bytes(count, width)` bytes.
        count: the number of values.
        width: bits of each value, at most those of `dtype`.
        dtype: the unsigned dtype of the result.
    """
    values = np.zeros(count, dtype)
    if width:
        source = np.frombuffer(data, np.uint8)
        for start in range(0, count, CHUNK):
            chunk = values[start : start + CHUNK]
            bits = np.unpackbits(source[start * width // 8 :][: packed_bytes(len(chunk), width)])
            chunk[:] = _from_bits(bits[: len(chunk) * width].reshape(-1, width), dtype)
    return values


def rice_parameter(values: np.ndarray) -> int:
    """Returns the parameter, -1 to 63, that makes `rice(values, parameter)` shortest.

    Args:
        values: uint64.
    """
    return _shortest_rice(values)[0]


def rice_bytes(values: np.ndarray) -> int:
    """Returns the length of the shortest Rice code of unsigned integers (uint64)."""
    return packed_bytes(_shortest_rice(values)[1], 1)


def _shortest_rice(values: np.ndarray) -> tuple[int, int]:
    """Returns the best parameter and the bits that the code takes with it."""
    if not values.any():
        return ALL_ZERO, 0
    # A bit more in each remainder takes ever less from the quotients: there is one minimum.
    parameter, length = 0, _rice_bits(values, 0)
    while (next_length := _rice_bits(values, parameter + 1)) < length:
        parameter, length = parameter + 1, next_length
    return parameter, int(length)


def _rice_bits(values: np.ndarray, parameter: int) -> float:
    quotients = (values >> np.uint64(parameter)).sum(dtype=np.float64)
    return quotients + values.size * (1 + parameter)


def rice(values: np.ndarray, parameter: int) -> bytes:
    """Returns unsigned integers as a Rice code: all quotients in unary, then all remainders.

    A value's remainder is its lowest `parameter` bits, and its quotient q is the rest, written as
    q zeros and a one. `parameter` must be the one that `rice_parameter` chose.

    >>> rice(np.array([5, 2], np.uint64), 1).hex()  # 001 01 | 1 0
    '2c'
    """
    if parameter == ALL_ZERO:
        return b""
    ends = np.cumsum((values >> np.uint64(parameter)) + np.uint64(1)) - np.uint64(1)
    unary = np.zeros(int(ends[-1]) + 1, np.uint8)
    unary[ends] = 1
    remainders = _to_bits(values, parameter).reshape(-1)
    return np.packbits(np.concatenate([unary, remainders])).tobytes()


def read_rice(reader: Reader, count: int, parameter: int) -> np.ndarray:
    """Reads what `rice` wrote for `count` values, as uint64.

    The best parameter leaves quotients that sum to at most 2 * count: with one bit more per
    remainder they would halve. So a sum beyond that is refused, which bounds the work.
    """
    if not ALL_ZERO <= parameter < 64:
        raise CodingError(f"corrupt data: Rice parameter {parameter}")
    if parameter == ALL_ZERO:
        return np.zeros(count, np.uint64)
    bits = np.unpackbits(np.frombuffer(reader.peek(packed_bytes(count, 3 + parameter)), np.uint8))
    ends = np.flatnonzero(bits[: 3 * count])[:count]
    if len(ends) < count:
        raise CodingError("truncated or corrupt data: a Rice code has too few quotients")
    length = int(ends[-1]) + 1 + count * parameter
    reader.take(packed_bytes(length, 1))
    quotients = np.diff(ends, prepend=-1).astype(np.uint64) - np.uint64(1)
    if int(quotients.max()) << parameter >= 2**64:
        raise CodingError("corrupt data: a Rice code holds a value beyond 64 bits")
    remainders = bits[length - count * parameter : length].reshape(count, parameter)
    return (quotients << np.uint64(parameter)) + _from_bits(remainders, np.dtype(np.uint64))


def _to_bits(values: np.ndarray, width: int) -> np.ndarray:
    """Returns the lowest `width` bits of n unsigned integers as uint8 [n, width]."""
    itemsize = values.dtype.itemsize
    big_endian = values.astype(f">u{itemsize}").view(np.uint8).reshape(-1, itemsize)
    return np.unpackbits(big_endian, axis=1)[:, 8 * itemsize - width :]


def _from_bits(bits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Inverts `_to_bits` into an unsigned dtype."""
    count, width = bits.shape
    padded = np.zeros((count, 8 * dtype.itemsize), np.uint8)
    padded[:, padded.shape[1] - width :] = bits
    return np.packbits(padded, axis=1).view(f">u{dtype.itemsize}").reshape(-1).astype(dtype)
