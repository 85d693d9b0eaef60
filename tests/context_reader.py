"""The context code of docs/coding.md, read by plain Python that is written from the page alone."""

import itertools
import math

ORDERS = list(itertools.permutations(range(3)))
SETTINGS = [(255, 8), (1023, 2), (255, 16), (127, 4)]
WAYS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]


def logistic():
    power, below = 2**64, []
    for _ in range(2816):
        below.append(power * 2**16 // (power + 2**64))
        power = power * 18374827034086858296 // 2**64
    return {x: 65536 - below[x] if x > 0 else below[-x] for x in range(-2815, 2816)}


SQUASH = logistic()
STRETCH = []
for x, p in SQUASH.items():
    STRETCH += [x] * (p + 1 - len(STRETCH))
STRETCH += [2815] * (65536 - len(STRETCH))


class Bits:
    """Binary arithmetic decoding, with the interval [low, low + width) in units of 2^-32 bytes."""

    def __init__(self, data):
        self.data, self.taken = data, 4
        self.low, self.width = 0, 2**32
        self.value = int.from_bytes((data + bytes(4))[:4], "big")

    def bit(self, p):
        bound = self.width * p // 65536
        if self.value - self.low < bound:
            self.width, bit = bound, 1
        else:
            self.low, self.width, bit = self.low + bound, self.width - bound, 0
        while self.width < 2**24:
            byte = self.data[self.taken] if self.taken < len(self.data) else 0
            assert self.taken < len(self.data) + 4
            self.taken += 1
            self.low, self.width, self.value = (
                self.low << 8,
                self.width << 8,
                self.value << 8 | byte,
            )
        return bit

    def end(self):
        """The bytes are the shortest, and of these the least, in the interval."""
        count = len(self.data) - (self.taken - 4)
        assert 0 <= count <= 4
        for length in range(count + 1):
            unit = 256 ** (4 - length)
            first = -(-self.low // unit) * unit
            if first < self.low + self.width:
                break
        assert (length, first) == (count, self.value)


class State:
    """An adaptive probability."""

    def __init__(self, p=2**21):
        self.p, self.n = p, 0

    def adapt(self, bit, limit):
        self.p += ((bit * 2**22 - self.p) * (131072 // (2 * self.n + 3))) // 65536
        self.n += self.n < limit


def decode_context(data, shape, itemsize, used=None):
    position, numbers = 2, []
    flags, rest = divmod(data[0], 24)
    fold, order = divmod(rest, 6)
    rest, prior = divmod(data[1], 16)
    smooth, settings = divmod(rest, 4)

    def varint():
        nonlocal position
        value, shift = 0, 0
        while True:
            byte = data[position]
            position += 1
            value, shift = value + ((byte & 127) << shift), shift + 7
            if byte < 128:
                return value

    divisor = varint() if fold >= 2 else 1
    offset = varint() if flags & 4 else 0
    offset = offset // 2 if offset % 2 == 0 else -(offset + 1) // 2
    *outer, middle, last = (1, 1, *shape)
    lengths = [
        (1, math.prod(outer) * middle, last),
        (math.prod(outer), middle, last),
        (math.prod(outer) * middle // divisor, divisor, last),
        (math.prod(outer) * middle, last // divisor, divisor),
    ][fold]
    assert math.prod(lengths) == math.prod(shape)
    size = [lengths[axis] for axis in ORDERS[order]]
    limit, step = SETTINGS[settings]
    bits = Bits(data[position:])
    ways = [
        way
        for way in WAYS
        if all(size[axis] > 1 for axis in way)
        and math.prod(size) // math.prod(size[axis] for axis in way) >= 8
    ]
    states = {("plain", row): State(SQUASH[160 * prior - 1920] * 64) for row in (0, "unused")}
    weights = {}

    def first_weights(sources):
        plain, neighbour, together = (3277, 8520, 32768) if smooth else (6554, 0, 65536)
        yield plain if ways else plain + together
        yield from [neighbour] * (sources - 1 - len(ways))
        yield from [together // len(ways) for _ in ways]

    def mixed(names, group):
        chosen = [states.setdefault(name, State()) for name in names]
        weight = weights.setdefault(group, list(first_weights(len(chosen))))
        for state in chosen[1:]:
            if state.n == 0:
                state.p = chosen[0].p
        x = [STRETCH[state.p // 64] for state in chosen]
        total = sum(w * v for w, v in zip(weight, x, strict=False)) // 65536
        p = SQUASH[min(max(total, -2815), 2815)]
        bit = bits.bit(p)
        for i, state in enumerate(chosen):
            weight[i] += (x[i] * (bit * 65536 - p) * step + 2**19) // 2**20
            state.adapt(bit, limit)
        return bit

    def plain(name):
        state = states.setdefault(name, State())
        bit = bits.bit(min(max(state.p // 64, 32), 65504))
        state.adapt(bit, limit)
        return bit

    def is_unused(place):
        """Whether the guide says so of the row that a place of the scan lies in."""
        if used is None:
            return False
        axes = dict(zip(ORDERS[order], place, strict=True))
        index = (axes[0] * lengths[1] + axes[1]) * lengths[2] + axes[2]
        return not used[index // last % len(used)]

    values = {}
    for place in itertools.product(*map(range, size)):

        def at(*step, place=place):
            if any(step[smooth:]):
                return 0
            return values.get(tuple(a + b for a, b in zip(place, step, strict=True)), 0)

        left, left2, up, up2 = at(0, 0, -1), at(0, 0, -2), at(0, -1, 0), at(0, -2, 0)
        back, back2 = at(-1, 0, 0), at(-2, 0, 0)
        up_left, up_right = at(0, -1, -1), at(0, -1, 1)
        back_up, back_down = at(-1, -1, 0), at(-1, 1, 0)
        slices = [(way, *(place[axis] for axis in way)) for way in ways]

        def low(*values):
            return sum(min(abs(value), 2) for value in values)

        def sign(*values):
            return sum((value > 0) - (value < 0) for value in values)

        around = low(left2, up2, back2, up_left, up_right, back_up, back_down)
        around += 2 * low(left, up, back)
        marks = [value != 0 for value in (up, back, up2, back2, back_up, back_down)]
        around = [("near", low(left), low(up), low(back)), ("wide", min(around, 15))]
        around = [*around, ("pattern", *marks)] if smooth else []
        row = "unused" if is_unused(place) else 0
        names = [("plain", row), *around, *(("zero", *s) for s in slices)]
        value = mixed(names, ("zero", any((left, up, back))))
        if value:
            close = sign(left, up, back)
            far = sign(up, back, up2, back2, back_up, back_down)
            around = [("signs", sign(left), sign(up), sign(back)), ("close", close), ("far", far)]
            names = [("plain", 1), *(around if smooth else []), *(("sign", *s) for s in slices)]
            negative = flags & 1 and mixed(names, "sign")
            distant = abs(left2) + abs(up2) + abs(back2)
            scale = min(abs(left) + abs(up) + abs(back) + distant // 2, 255).bit_length()
            while flags & 2 and value <= 14:
                names = [("plain", 1 + value), *([("scale", scale, value)] if smooth else [])]
                names += [("above", min(value, 2), *s) for s in slices]
                if not mixed(names, min(value, 3)):
                    break
                value += 1
            if value == 15:
                exponent = 0
                while exponent < 15 and plain(("exponent", exponent)):
                    exponent += 1
                mantissa = 1
                for _ in range(exponent):
                    node = mantissa if mantissa < 8 else 0
                    mantissa = 2 * mantissa + plain(("mantissa", exponent, node))
                value = 14 + mantissa
            values[place] = -value if negative else value
    bits.end()
    inverse = [ORDERS[order].index(axis) for axis in range(3)]
    for place in itertools.product(*map(range, lengths)):
        visited = [0, 0, 0]
        for axis in range(3):
            visited[inverse[axis]] = place[axis]
        numbers.append((offset + values.get(tuple(visited), 0)) % 256**itemsize)
    return numbers
