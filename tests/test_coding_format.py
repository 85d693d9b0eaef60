"""docs/coding.md is enough to read a code: a decoder in plain Python, with none of our coders.

It reads `raw`, `packed`, `ans` and `planes` (not its zstd planes) into bit patterns, one number at
a time, as the page says.
"""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from test_coding import GOLDEN, arrays, fast, golden_arrays, laplace

from kwc import coding
from kwc.coding import bits, frequencies
from kwc.coding.dtypes import to_patterns


class Bytes:
    """Bytes read from the left."""

    def __init__(self, data):
        self.data = data

    def take(self, count):
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def varint(self):
        byte = self.take(1)[0]
        return byte if byte < 128 else byte - 128 + 128 * self.varint()

    def zigzag(self):
        return signed(self.varint())

    def rice(self, count, k):
        if k == -1:
            return [0] * count
        text = "".join(f"{byte:08b}" for byte in self.data)
        position, quotients = 0, []
        for _ in range(count):
            end = text.index("1", position)
            quotients.append(end - position)
            position = end + 1
        remainders = [int("0" + text[position + i * k :][:k], 2) for i in range(count)]
        self.take(math.ceil((position + count * k) / 8))
        return [q << k | r for q, r in zip(quotients, remainders, strict=True)]


def signed(number):
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


def decode_raw(data, count, itemsize):
    assert len(data) == count * itemsize
    return [int.from_bytes(data[i * itemsize :][:itemsize], "little") for i in range(count)]


def decode_packed(data, count, itemsize):
    source = Bytes(data)
    minimum, width = source.zigzag(), source.take(1)[0]
    text = "".join(f"{byte:08b}" for byte in source.data)
    distances = [int("0" + text[i * width :][:width], 2) for i in range(count)]
    return [(minimum + distance) % 256**itemsize for distance in distances]


def decode_ans(data, count, itemsize):
    source = Bytes(data)
    minimum, size = source.zigzag(), source.varint() + 2
    m, k_levels = divmod(source.take(1)[0], 16)
    k_gaps = source.take(1)[0]
    symbols = [minimum]
    for gap in source.rice(size - 1, k_gaps - 1):
        symbols.append(symbols[-1] + gap + 1)
    level, cumulative = 0, [0]
    for step in source.rice(size, k_levels - 1):
        level += signed(step)
        cumulative.append(cumulative[-1] + ((2**m + level % 2**m) << level // 2**m))
    starts = [c * (2**24 - size) // cumulative[-1] + i for i, c in enumerate(cumulative)]

    stream = source.data + bytes(-len(source.data) % 4)
    words = decode_raw(stream, len(stream) // 4, 4)
    state, decoded = 0, []
    while state < 2**32 and words:
        state = state << 32 | words.pop()
    for _ in range(count):
        r = state % 2**24
        i = next(i for i in range(size) if r < starts[i + 1])
        decoded.append(symbols[i] % 256**itemsize)
        state = (state >> 24) * (starts[i + 1] - starts[i]) + r - starts[i]
        if state < 2**32 and words:
            state = state << 32 | words.pop()
    assert state == 0
    assert not words
    return decoded


def decode_planes(data, count, itemsize):
    source, patterns = Bytes(data), [0] * count
    for place in range(itemsize):
        coder = source.take(1)[0]
        code = source.take(source.varint())
        plane = {0: decode_raw, 2: decode_packed, 3: decode_ans}[coder](code, count, 1)
        patterns = [p + (byte << 8 * place) for p, byte in zip(patterns, plane, strict=True)]
    assert not source.data
    return patterns


REFERENCE = {
    "raw": decode_raw,
    "packed": decode_packed,
    "ans": decode_ans,
    "planes": decode_planes,
}


@pytest.mark.parametrize("name", REFERENCE)
def test_the_page_reads_the_golden_bytes(name):
    array = golden_arrays()[name]
    code = bytes.fromhex(json.loads(GOLDEN.read_text())[name])
    assert REFERENCE[name](code, array.size, array.itemsize) == to_patterns(array).tolist()


@pytest.mark.parametrize("name", ["raw", "packed", "ans"])
@fast
@given(array=arrays())
def test_the_page_reads_what_we_write(name, array):
    code = coding.CODERS[name].encode(array)
    if code is not None:
        assert REFERENCE[name](code, array.size, array.itemsize) == to_patterns(array).tolist()


@pytest.mark.parametrize("scale", [0.2, 1.0, 8.0, 300.0])
def test_the_page_reads_long_streams_of_skewed_and_of_large_alphabets(scale):
    array = laplace(5000, scale)
    code = coding.CODERS["ans"].encode(array)
    assert decode_ans(code, array.size, 2) == to_patterns(array).tolist()


def test_the_page_writes_what_constriction_writes():
    """The writer of the page, run on the frequencies of a code, gives that code's very stream."""
    array = laplace(2000, 1.5)
    reader = bits.Reader(coding.CODERS["ans"].encode(array))
    minimum = reader.zigzag()
    table = frequencies.read_table(reader, array.size)
    frequency = table.frequencies().tolist()
    starts = np.cumsum([0, *frequency]).tolist()
    index = {minimum + symbol: i for i, symbol in enumerate(table.symbols.tolist())}
    state, words = 0, []
    for value in reversed(array.tolist()):
        i = index[value]
        if state >> 40 >= frequency[i]:
            words.append(state % 2**32)
            state >>= 32
        state = state // frequency[i] << 24 | starts[i] + state % frequency[i]
    words += [state % 2**32, state >> 32]
    stream = b"".join(word.to_bytes(4, "little") for word in words).rstrip(b"\0")
    assert stream == bytes(reader.rest())
