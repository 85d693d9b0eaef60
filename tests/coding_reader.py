"""The codes of docs/coding.md, read by plain Python that is written from the page alone.

Nothing of kwc is imported. Codes become bit patterns, one number at a time, as the page says.
"""

import math

import zstandard


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


def decode_zstd(data, count, itemsize):
    frame = b"\x28\xb5\x2f\xfd" + data
    return decode_raw(zstandard.ZstdDecompressor().decompress(frame), count, itemsize)


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
        plane = PLANE_DECODERS[coder](code, count, 1)
        patterns = [p + (byte << 8 * place) for p, byte in zip(patterns, plane, strict=True)]
    assert not source.data
    return patterns


PLANE_DECODERS = (decode_raw, decode_zstd, decode_packed, decode_ans)

DECODERS = {
    "raw": decode_raw,
    "zstd": decode_zstd,
    "packed": decode_packed,
    "ans": decode_ans,
    "planes": decode_planes,
}
