"""Sound artifacts changed at random, most of them with a right checksum again."""

import dataclasses
import random
import struct
import zlib

from kwc import artifact, coding
from kwc.artifact import container, header, layouts
from kwc.artifact.declared import DeclaredArray, Header

_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 65535, 1 << 20, 1 << 31, (1 << 40) - 1)


@dataclasses.dataclass(frozen=True)
class Seed:
    """A sound file.

    Attributes:
        name: what it holds.
        data: its bytes.
        shapes: those of its weights, by path.
        need: bytes that its weights and the arrays of any one take.
    """

    name: str
    data: bytes
    shapes: dict[str, tuple[int, ...]]
    need: int


def edit(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Changes, removes, adds, doubles or exchanges bytes in a few places."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        match rng.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = rng.randbytes(len(changed[at : at + length]))
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = rng.randbytes(length)
            case 4:
                changed[at:at] = changed[at : at + length]
            case 5:
                start = rng.randrange(len(other) + 1)
                changed[at : at + length] = other[start : start + length]
            case 6:
                value = rng.choice((0, 0x7F, 0x80, 0xFF))
                changed[at : at + length] = bytes([value]) * len(changed[at : at + length])
    return bytes(changed)


def seal(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def rebuild(declared: Header, codes: list[bytes]) -> bytes:
    """The file with this header, right or wrong, and these codes."""
    stored = header.dump(declared)
    length = container.varint(2 * len(stored))[::-1]
    return seal(artifact.MAGIC + b"\2" + b"".join(codes) + stored + length)


def parts(seed: Seed) -> tuple[Header, list[bytes]]:
    _, declared, payload = container.unseal(memoryview(seed.data), seed.name)
    codes, end = [], 0
    for length in declared.lengths:
        codes.append(bytes(payload[end : end + length]))
        end += length
    return declared, codes


def file_bytes(seed: Seed, rng: random.Random, other: Seed) -> bytes:
    """Bytes anywhere in the file; the checksum is right but for one in twenty."""
    if rng.randrange(20) == 0:
        return edit(seed.data, rng, other.data)
    return seal(edit(seed.data[:-4], rng, other.data[:-4]))


def cut(seed: Seed, rng: random.Random, other: Seed) -> bytes:
    """The beginning of one file and the end of another."""
    body, more = seed.data[:-4], other.data[:-4]
    return seal(body[: rng.randrange(4, len(body))] + more[rng.randrange(4, len(more) + 1) :])


def header_bytes(seed: Seed, rng: random.Random, other: Seed) -> bytes:
    """Bytes of the header, which is as long as the file says, stored or compressed."""
    declared, codes = parts(seed)
    stored = edit(header.dump(declared), rng, header.dump(parts(other)[0]))
    compressed = rng.randrange(2)
    if compressed:
        stored = container.compress(stored)
    length = container.varint(2 * len(stored) + compressed)[::-1]
    return seal(artifact.MAGIC + b"\2" + b"".join(codes) + stored + length)


def code_bytes(seed: Seed, rng: random.Random, other: Seed) -> bytes:
    """Bytes of one code; the header knows its new length."""
    declared, codes = parts(seed)
    places = [i for i, code in enumerate(codes) if code]
    if not places:
        return file_bytes(seed, rng, other)
    at = rng.choice(places)
    more = b"".join(parts(other)[1]) or b"\0"
    codes[at] = edit(codes[at], rng, more)
    lengths = iter(map(len, codes))
    weights = [
        dataclasses.replace(
            weight,
            arrays=tuple(dataclasses.replace(a, nbytes=next(lengths)) for a in weight.arrays),
        )
        for weight in declared.weights
    ]
    return rebuild(dataclasses.replace(declared, weights=weights), codes)


def declarations(seed: Seed, rng: random.Random, other: Seed) -> bytes:
    """What the header declares: algorithms, names, shapes, axes, dtypes, coders, lengths."""
    declared, codes = parts(seed)
    for _ in range(rng.choice((1, 1, 2, 3))):
        declared = _redeclare(declared, rng, parts(other)[0])
    if rng.randrange(4) == 0:
        rng.shuffle(codes)
    return rebuild(declared, codes)


def _redeclare(declared: Header, rng: random.Random, other: Header) -> Header:
    kinds, weights = list(declared.algorithms), list(declared.weights)
    if rng.randrange(3) == 0 or not weights:
        kinds[rng.randrange(len(kinds))] = rng.choice(other.algorithms)
        name, config = rng.choice(kinds)
        if config and rng.randrange(2):
            key = rng.choice(list(config))
            config = config | {key: rng.choice((*_NUMBERS, -1, 0.5, None, "x", [], {}))}
            if name != "chain" or isinstance(config["links"], list):
                kinds[0] = (name, config) if name != "chain" else kinds[0]
        return dataclasses.replace(declared, algorithms=kinds)
    at = rng.randrange(len(weights))
    weight = weights[at]
    match rng.randrange(4):
        case 0:
            info = rng.choice((*other.weights, weight)).info
            shape = _reshape(info.shape, rng)
            if len(shape) == len(weight.info.shape):
                info = dataclasses.replace(weight.info, shape=shape)
            weights[at] = dataclasses.replace(weight, info=info)
        case 1:
            donor = rng.choice(other.weights)
            weights[at] = dataclasses.replace(weight, arrays=donor.arrays)
        case 2 if weight.arrays:
            arrays = list(weight.arrays)
            place = rng.randrange(len(arrays))
            arrays[place] = _redeclared_array(arrays[place], rng)
            weights[at] = dataclasses.replace(weight, arrays=tuple(arrays))
        case _:
            weights[at] = rng.choice(other.weights)
            weights[at] = dataclasses.replace(weights[at], algorithm=weight.algorithm)
    return dataclasses.replace(declared, weights=weights)


def _redeclared_array(array: DeclaredArray, rng: random.Random) -> DeclaredArray:
    match rng.randrange(5):
        case 0:
            return dataclasses.replace(array, shape=_reshape(array.shape, rng))
        case 1:
            return dataclasses.replace(array, dtype=rng.choice(layouts.DTYPES))
        case 2:
            return dataclasses.replace(array, coder=rng.choice([*coding.CODERS, coding.GUIDED]))
        case 3:
            lengths = (*_NUMBERS, array.nbytes + 1, max(array.nbytes - 1, 0))
            return dataclasses.replace(array, nbytes=rng.choice(lengths))
        case _:
            names = ("mask", "weight", "levels", "scale", "u", "v", "codebook", "indices", "a/b")
            return dataclasses.replace(array, name=rng.choice(names))


def _reshape(shape: tuple[int, ...], rng: random.Random) -> tuple[int, ...]:
    lengths = list(shape)
    match rng.randrange(4):
        case 0 if lengths:
            lengths[rng.randrange(len(lengths))] = rng.choice(_NUMBERS)
        case 1:
            lengths.insert(rng.randrange(len(lengths) + 1), rng.choice(_NUMBERS))
        case 2 if lengths:
            del lengths[rng.randrange(len(lengths))]
        case _:
            rng.shuffle(lengths)
    return tuple(lengths)


MUTATIONS = (file_bytes, cut, header_bytes, code_bytes, code_bytes, declarations)
