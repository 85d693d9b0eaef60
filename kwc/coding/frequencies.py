"""Frequency tables for entropy coding: counts -> few bytes -> exact integer frequencies.

A table holds one *level* per symbol, a small float with `mantissa` bits of mantissa: level
L = exponent * 2**mantissa + fraction stands for the weight (2**mantissa + fraction) << exponent.
Relative precision is all that a code length needs, so 16 symbols take about ten bytes, and the
mantissa grows with the number of coded elements. The weights become 24-bit frequencies by integer
arithmetic alone: writer and reader, on any machine, get the same table.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kwc.coding import bits
from kwc.coding.errors import CodingError

PRECISION = 24
"""Frequencies sum to 2**PRECISION: the fixed precision of constriction's Python models."""

MAX_SYMBOLS = 2**16
"""The largest alphabet of a table."""

_MAX_MANTISSA = 5
_MAX_EXPONENT = 20
_MAX_TOTAL_WEIGHT = 2 ** (63 - PRECISION)


class Table(NamedTuple):
    """The alphabet of an array and how often each symbol occurs.

    Attributes:
        symbols: uint64 [n], increasing from 0; n is 2 to MAX_SYMBOLS.
        mantissa: bits of mantissa of the levels, 0 to 5.
        levels: int64 [n], the quantized logarithms of the symbols' weights.
    """

    symbols: np.ndarray
    mantissa: int
    levels: np.ndarray

    def frequencies(self) -> np.ndarray:
        """Returns int64 [n]: at least 1 each, 2**24 together.

        With C the cumulative weights, the cumulative frequency of symbol i is
        floor(C_i * (2**24 - n) / C_n) + i.

        Raises:
            CodingError: if the weights sum to 2**39 or more (the product could pass 63 bits).
        """
        count = len(self.levels)
        exponents, fractions = np.divmod(self.levels, 2**self.mantissa)
        cumulative = np.cumsum((2**self.mantissa + fractions) << exponents)
        if cumulative[-1] >= _MAX_TOTAL_WEIGHT:
            raise CodingError("corrupt data: the weights of a frequency table are too large")
        right = cumulative * (2**PRECISION - count) // cumulative[-1] + np.arange(1, count + 1)
        return np.diff(right, prepend=0)

    def to_bytes(self) -> bytes:
        """Returns the alphabet size, the code parameters, the symbols' gaps and the levels."""
        gaps, steps = _gaps(self.symbols), _steps(self.levels)
        gap_parameter, step_parameter = bits.rice_parameter(gaps), bits.rice_parameter(steps)
        return b"".join(
            [
                bits.varint(len(self.symbols) - 2),
                bytes([self.mantissa << 4 | step_parameter + 1, gap_parameter + 1]),
                bits.rice(gaps, gap_parameter),
                bits.rice(steps, step_parameter),
            ]
        )


def _gaps(symbols: np.ndarray) -> np.ndarray:
    return np.diff(symbols.astype(np.uint64)) - np.uint64(1)


def _steps(levels: np.ndarray) -> np.ndarray:
    """Returns uint64 [n], zigzag numbers."""
    steps = np.diff(levels, prepend=0)
    return np.where(steps >= 0, 2 * steps, -2 * steps - 1).astype(np.uint64)


def read_table(reader: bits.Reader, count: int) -> Table:
    """Reads what `Table.to_bytes` wrote.

    Args:
        reader: stands at the table, and is moved behind it.
        count: the number of elements coded with it, which bounds the alphabet.
    """
    size = reader.varint() + 2
    if size > min(count, MAX_SYMBOLS):
        raise CodingError(f"corrupt data: an alphabet of {size} symbols for {count} elements")
    mantissa, step_parameter = divmod(reader.byte(), 16)
    gap_parameter = reader.byte()
    gaps = bits.read_rice(reader, size - 1, gap_parameter - 1)
    steps = bits.read_rice(reader, size, step_parameter - 1).astype(np.int64)
    levels = np.cumsum(np.where(steps & 1, -(steps >> 1) - 1, steps >> 1))
    if mantissa > _MAX_MANTISSA or levels.min() < 0 or levels.max() >= _levels(mantissa):
        raise CodingError("corrupt data: a level of a frequency table is out of range")
    if sum(gaps.tolist()) + size > 2**64:
        raise CodingError("corrupt data: a symbol of a frequency table is beyond 64 bits")
    symbols = np.concatenate([[np.uint64(0)], np.cumsum(gaps + np.uint64(1))])
    return Table(symbols, mantissa, levels)


def occurrences(values: np.ndarray) -> np.ndarray:
    """Returns how often each integer from 0 to the greatest occurs, in little memory.

    Args:
        values: unsigned, flat, at least one.
    """
    counts = np.zeros(int(values.max()) + 1, np.int64)
    for start in range(0, len(values), bits.CHUNK):
        chunk = values[start : start + bits.CHUNK].astype(np.int64)
        counts += np.bincount(chunk, minlength=len(counts))
    return counts


def least_bytes(symbols: np.ndarray, counts: np.ndarray) -> float:
    """Returns fewer bytes than any table, and ideal code by it, take; see `best_table`.

    Args:
        symbols: integers [n], increasing from 0.
        counts: int64 [n], positive.
    """
    entropy = counts @ np.log2(counts.sum() / counts)
    return _alphabet_bytes(symbols) + float(entropy) / 8


def best_table(symbols: np.ndarray, counts: np.ndarray) -> Table:
    """Returns the table with the least sum of its own bytes and the code lengths it gives.

    Precisions are tried over the symbols that occur, and over their whole range.

    Args:
        symbols: uint64 [n], increasing from 0.
        counts: int64 [n], positive.
    """
    tables = list(_tables(symbols, counts, slice(None), counts))
    whole_range = int(symbols[-1]) + 1
    if len(symbols) < whole_range <= min(counts.sum(), 4 * len(symbols), MAX_SYMBOLS):
        filled = np.full(whole_range, 0.5)
        filled[symbols] = counts
        everything = np.arange(whole_range, dtype=np.uint64)
        tables += _tables(everything, filled, symbols.astype(np.intp), counts)
    return min(tables, key=lambda pair: pair[0])[1]


def _tables(
    alphabet: np.ndarray, weights: np.ndarray, occurring: np.ndarray | slice, counts: np.ndarray
) -> Iterator[tuple[float, Table]]:
    """Yields tables of all precisions, each after the bits of itself and of what it codes.

    Args:
        alphabet: uint64 [n], the symbols.
        weights: [n], positive, in proportion to frequencies.
        occurring: the positions in the alphabet of symbols that occur.
        counts: int64, how often each of these occurs.
    """
    relative = weights / weights.min()
    bytes_without_levels = _alphabet_bytes(alphabet)
    for mantissa in range(_MAX_MANTISSA + 1 if relative.max() > 1 else 1):
        table = Table(alphabet, mantissa, _quantize(relative, mantissa))
        code = float(counts @ (PRECISION - np.log2(table.frequencies()[occurring])))
        yield 8 * (bytes_without_levels + bits.rice_bytes(_steps(table.levels))) + code, table


def _alphabet_bytes(symbols: np.ndarray) -> int:
    """Returns the bytes of a table without its levels."""
    return len(bits.varint(len(symbols) - 2)) + 2 + bits.rice_bytes(_gaps(symbols))


def _quantize(weights: np.ndarray, mantissa: int) -> np.ndarray:
    """Returns the levels nearest to weights of at least 1 (relative to 2**mantissa)."""
    fractions, exponents = np.frexp(weights)  # weight = fraction * 2**exponent, 0.5 <= fraction < 1
    levels = (exponents - 1 + 2 * fractions - 1) * 2**mantissa
    return np.minimum(np.rint(levels).astype(np.int64), _levels(mantissa) - 1)


def _levels(mantissa: int) -> int:
    return _MAX_EXPONENT + 1 << mantissa
