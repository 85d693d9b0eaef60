"""The codes of docs/coding.md, read by plain Python that is written from the page alone.

Nothing of kwc is imported. Codes become bit patterns, one number at a time, as the page says.
"""

import math

import zstandard
from context_reader import decode_context


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


def decode_raw(data, shape, itemsize):
    assert len(data) == math.prod(shape) * itemsize
    return [int.from_bytes(data[i:][:itemsize], "little") for i in range(0, len(data), itemsize)]


def decode_zstd(data, shape, itemsize):
    frame = b"\x28\xb5\x2f\xfd" + data
    return decode_raw(zstandard.ZstdDecompressor().decompress(frame), shape, itemsize)


def decode_packed(data, shape, itemsize):
    source = Bytes(data)
    minimum, width = source.zigzag(), source.take(1)[0]
    text = "".join(f"{byte:08b}" for byte in source.data)
    distances = [int("0" + text[i * width :][:width], 2) for i in range(math.prod(shape))]
    return [(minimum + distance) % 256**itemsize for distance in distances]


def decode_ans(data, shape, itemsize):
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
    words = decode_raw(stream, (len(stream) // 4,), 4)
    state, decoded = 0, []
    while state < 2**32 and words:
        state = state << 32 | words.pop()
    for _ in range(math.prod(shape)):
        r = state % 2**24
        i = next(i for i in range(size) if r < starts[i + 1])
        decoded.append(symbols[i] % 256**itemsize)
        state = (state >> 24) * (starts[i + 1] - starts[i]) + r - starts[i]
        if state < 2**32 and words:
            state = state << 32 | words.pop()
    assert state == 0
    assert not words
    return decoded


def decode_planes(data, shape, itemsize, decoders=4):
    source, patterns = Bytes(data), [0] * math.prod(shape)
    for place in range(itemsize):
        decode = PLANE_DECODERS[:decoders][source.take(1)[0]]
        code = source.take(source.varint())
        plane = decode(code, shape, 1)
        patterns = [p + (byte << 8 * place) for p, byte in zip(patterns, plane, strict=True)]
    assert not source.data
    return patterns


def decode_floats(data, shape, itemsize):
    rotated = decode_planes(data, shape, itemsize, decoders=5)
    return [pattern // 2 + pattern % 2 * 2 ** (8 * itemsize - 1) for pattern in rotated]


PLANE_DECODERS = (decode_raw, decode_zstd, decode_packed, decode_ans, decode_context)

DECODERS = {
    "raw": decode_raw,
    "zstd": decode_zstd,
    "packed": decode_packed,
    "ans": decode_ans,
    "planes": decode_planes,
    "floats": decode_floats,
    "context": decode_context,
}
