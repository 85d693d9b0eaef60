"""The `ans` coder: order-0 entropy coding of arrays with few distinct values.

constriction does the coding. Its `Categorical(p, perfect=False)` of n weights p starts symbol i at
trunc(sum(p[:i]) * s) + i with s = (2**24 - n) / sum(p), in floating point. `_model` passes whole
numbers that sum to 2**24 - n: s is exactly 1, every sum is exact in float64, and symbol i gets a
slot of exactly p[i] + 1. So no rounding takes place that could differ between machines, and the
stored bytes mean the same to any decoder with 24-bit frequencies (docs/coding.md).
"""

import math
from collections.abc import Callable

import constriction
import numpy as np

from kwc.coding import bits
from kwc.coding.dtypes import add_minimum, limits, pattern_dtype, subtract_minimum, to_patterns
from kwc.coding.errors import CodingError
from kwc.coding.frequencies import (
    MAX_SYMBOLS,
    Table,
    best_table,
    least_bytes,
    occurrences,
    read_table,
)

_WORD = np.dtype("<u4")
_SAMPLE = 1 << 12


class Ans:
    """A frequency table and an ANS stream. Applies to 2 to 65536 distinct values of any dtype."""

    name = "ans"

    def encode(self, array: np.ndarray) -> bytes | None:
        """Returns the minimum, the frequency table and the stream; None if raw bytes are fewer."""
        if array.size < 2:
            return None
        minimum, distances = subtract_minimum(to_patterns(array), array.dtype)
        counted = _count(distances)
        if counted is None or least_bytes(*counted) >= array.nbytes:
            return None
        table = best_table(*counted)
        return b"".join((bits.zigzag(minimum), table.to_bytes(), _encode_stream(distances, table)))

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Inverts `encode`."""
        count = math.prod(shape)
        reader = bits.Reader(data)
        minimum = reader.zigzag()
        table = read_table(reader, count)
        if minimum + int(table.symbols[-1]) > limits(dtype)[1]:
            raise CodingError(f"corrupt data: a value does not fit {dtype.name}")
        distances = _decode_stream(bytes(reader.rest()), count, table, pattern_dtype(dtype))
        return add_minimum(minimum, distances, dtype)


def _count(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the symbols (uint64), and how often each occurs.

    None if there are too few or too many.
    """
    if distances.max() < MAX_SYMBOLS:
        counts = occurrences(distances)
        symbols = np.flatnonzero(counts)
        counts = counts[symbols]
    elif _hardly_repeats(distances[:: len(distances) // _SAMPLE or 1]) or (
        len(np.unique(distances[: 9 * MAX_SYMBOLS // 8])) > MAX_SYMBOLS
    ):
        return None
    else:
        symbols, counts = np.unique(distances, return_counts=True)
    if not 2 <= len(symbols) <= MAX_SYMBOLS:
        return None
    return symbols.astype(np.uint64), counts


def _hardly_repeats(sample: np.ndarray) -> bool:
    """Whether so few values occur twice that their table alone would be longer than the array.

    In a sample of n from m values that are equally frequent, about n**2 / (2 m) repeat one.
    """
    return 64 * (len(sample) - len(np.unique(sample))) < len(sample)


def _positions(table: Table) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from symbols to their positions in a table, int32."""
    if table.symbols[-1] >= MAX_SYMBOLS:
        return lambda x: np.searchsorted(table.symbols, x.astype(np.uint64)).astype(np.int32)
    positions = np.zeros(int(table.symbols[-1]) + 1, np.int32)
    positions[table.symbols] = np.arange(len(table.symbols))
    return positions.__getitem__


def _encode_stream(distances: np.ndarray, table: Table) -> memoryview:
    """Returns the stream without the zero bytes that it ends with."""
    coder, model = constriction.stream.stack.AnsCoder(), _model(table)
    positions = _positions(table)
    # From the last chunk to the first, as each chunk is, so that positions take little memory.
    for start in reversed(range(0, len(distances), bits.CHUNK)):
        coder.encode_reverse(positions(distances[start : start + bits.CHUNK]), model)
    stream = coder.get_compressed().astype(_WORD, copy=False).view(np.uint8)
    end = len(stream)
    while end and not stream[end - 1]:
        end -= 1
    return stream[:end].data


def _decode_stream(stream: bytes, count: int, table: Table, dtype: np.dtype) -> np.ndarray:
    """Returns the decoded distances, chunk by chunk so that indices take little memory."""
    if stream.endswith(b"\0"):
        raise CodingError("over-long data: an ANS stream ends with a zero byte")
    words = np.frombuffer(stream + bytes(-len(stream) % _WORD.itemsize), _WORD)
    coder = constriction.stream.stack.AnsCoder(words.astype(np.uint32))
    model = _model(table)
    symbols = table.symbols.astype(dtype)
    distances = np.empty(count, dtype)
    for start in range(0, count, bits.CHUNK):
        chunk = distances[start : start + bits.CHUNK]
        chunk[:] = symbols[coder.decode(model, len(chunk))]
    if not coder.is_empty():
        raise CodingError("corrupt or over-long data: an ANS stream does not end with its array")
    return distances


def _model(table: Table) -> constriction.stream.model.Categorical:
    """Returns the model whose frequencies are exactly those of the table."""
    weights = (table.frequencies() - 1).astype(np.float64)
    return constriction.stream.model.Categorical(weights, lazy=False, perfect=False)
