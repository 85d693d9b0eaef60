"""Reads mutated artifacts of every algorithm: each is refused by name, or decodes as it declares.

    python tests/fuzz_artifact.py --count=100000 --output=results/fuzz.csv

Files of small weights, of every row of `tests/algorithms.py`, every preset and every golden file,
are changed at random: bits, bytes, lengths, whole parts of one file in another, codes alone, bytes
of the header, or what the header declares. Almost all get a right checksum again. A file number N
is the same in every run with the same seed: `--first=N --count=1` reads it again.

Decoding may take a second of processor time, and twice the memory that the weights of the file need
before the mutation, plus a constant.
"""

import argparse
import concurrent.futures
import csv
import dataclasses
import multiprocessing
import pathlib
import random
import resource
import signal
import struct
import sys
import time
import tracemalloc
import zlib

import numpy as np
from rich.progress import track

from kwc import artifact, coding
from kwc.artifact import container, header, layouts
from kwc.artifact.declared import DeclaredArray, Header
from kwc.artifact.weights import CodedWeight
from kwc.compressor import CompressionError

GOLDEN = pathlib.Path(__file__).parent / "golden"
SECONDS = 1.0
ROOM = 1 << 20
GROWTH = 64 << 20
BATCH = 500
_HANG = 60
_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 65535, 1 << 20, 1 << 31, (1 << 40) - 1)


@dataclasses.dataclass(frozen=True)
class Seed:
    """A sound file.

    Attributes:
        name: what it holds.
        data: its bytes.
        need: bytes that its weights and the arrays of any one take.
    """

    name: str
    data: bytes
    need: int


@dataclasses.dataclass
class Outcome:
    """What became of the files of one mutation.

    Attributes:
        files: how many were read.
        decoded: how many decoded to what they declare; the others were refused.
        seconds: the most processor time that one took.
        memory: the most bytes that one took beyond twice its need.
    """

    files: int = 0
    decoded: int = 0
    seconds: float = 0.0
    memory: int = 0

    def add(self, other: "Outcome") -> None:
        self.files += other.files
        self.decoded += other.decoded
        self.seconds = max(self.seconds, other.seconds)
        self.memory = max(self.memory, other.memory)


def corpus() -> list[Seed]:
    """Files of every algorithm, with every preset, and the golden files of every version."""
    from algorithms import INFOS, ROWS
    from test_conformance import pretrained

    from kwc.schedules import Step

    files = {f"{p.parent.name}/{p.stem}": p.read_bytes() for p in sorted(GOLDEN.glob("v*/*.kwc"))}
    for number, row in enumerate(ROWS):
        packed = []
        for info in INFOS[number % 2 :: 4]:
            v = row.compressor.init(pretrained(info), info, Step(0, 0), {})
            packed.append(artifact.pack(row.compressor, row.compressor.compress(v, info), info))
        for preset in coding.PRESETS:
            files[f"{number} {row} {preset}"] = artifact.to_bytes(packed, preset=preset)
    return [Seed(name, data, _need(data)) for name, data in files.items()]


def _need(data: bytes) -> int:
    weights = artifact.from_bytes(data).weights.values()
    dense = sum(w.info.size * np.dtype(coding.DTYPES[w.info.dtype]).itemsize for w in weights)
    return dense + max((weight.decoded_bytes for weight in weights), default=0)


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
        stored = container._compress(stored)
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
            return dataclasses.replace(array, coder=rng.choice(list(coding.CODERS)))
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


def mutated(seeds: list[Seed], number: int, seed: int) -> tuple[str, Seed, bytes]:
    """The mutation, the sound file and the bytes of a file number."""
    rng = random.Random(f"{seed}/{number}")
    sound, other = rng.choice(seeds), rng.choice(seeds)
    mutation = rng.choice(MUTATIONS)
    return mutation.__name__, sound, mutation(sound, rng, other)


def read(data: bytes, need: int) -> bool:
    """Whether a file decodes to what it declares; False if it is refused.

    Raises:
        AssertionError: it does neither.
    """
    try:
        content = artifact.from_bytes(data, max_bytes=need)
        for weight in content.weights.values():
            _check(weight)
    except CompressionError as error:
        assert 0 < len(str(error)) < 2000
        return False
    return True


def _check(weight: CodedWeight) -> None:
    value = weight.decompress()
    assert value.shape == weight.info.shape
    assert value.dtype.name == weight.info.dtype


def try_one(seeds: list[Seed], number: int, seed: int) -> tuple[str, Outcome]:
    """Reads a file number and holds it to the bounds.

    Raises:
        Exception: it breaks one.
    """
    name, sound, data = mutated(seeds, number, seed)
    tracemalloc.start()
    signal.alarm(_HANG)
    try:
        start = time.process_time()
        decoded = read(data, sound.need)
        seconds = time.process_time() - start
        memory = tracemalloc.get_traced_memory()[1] - 2 * sound.need
    finally:
        signal.alarm(0)
        tracemalloc.stop()
    assert memory < ROOM, f"{memory} bytes beyond twice the {sound.need} that it needs"
    return name, Outcome(1, int(decoded), seconds, memory)


def run_batch(numbers: range, seed: int) -> tuple[dict[str, Outcome], list[str]]:
    """Reads some files in a worker; returns what became of them, and what was wrong."""
    outcomes, wrong = {}, []
    for number in numbers:
        try:
            name, outcome = try_one(_seeds, number, seed)
        except BaseException as error:  # A panic of native code is no Exception.
            wrong.append(f"file {number}: {type(error).__name__}: {error}")
            continue
        if outcome.seconds > SECONDS:
            wrong.append(f"file {number}: {outcome.seconds:.1f} s of processor time")
        outcomes.setdefault(name, Outcome()).add(outcome)
    grown = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - _resident
    if grown > GROWTH:
        wrong.append(f"files {numbers}: the process grew by {grown >> 20} MiB")
    return outcomes, wrong


_seeds: list[Seed] = []
_resident = 0


def start_worker(seeds: list[Seed]) -> None:
    """Reads every sound file, so that what is compiled and cached once is there."""
    global _resident
    _seeds[:] = seeds
    signal.signal(signal.SIGALRM, _hang)
    for seed in seeds:
        assert read(seed.data, seed.need)
    _resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _hang(*_) -> None:
    raise TimeoutError(f"{_HANG} s and no end")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="number of files")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--output", type=pathlib.Path, help="write the table to this CSV file")
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.count)
    batches = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    seeds = corpus()
    outcomes: dict[str, Outcome] = {}
    wrong = []
    with concurrent.futures.ProcessPoolExecutor(
        arguments.processes, multiprocessing.get_context("spawn"), start_worker, (seeds,)
    ) as pool:
        done = [pool.submit(run_batch, batch, arguments.seed) for batch in batches]
        for future in track(concurrent.futures.as_completed(done), "reading", total=len(done)):
            batch, errors = future.result()
            wrong += errors
            for name, outcome in batch.items():
                outcomes.setdefault(name, Outcome()).add(outcome)
    rows = [
        (name, o.files, o.files - o.decoded, o.decoded, f"{o.seconds:.3f}", max(o.memory, 0))
        for name, o in sorted(outcomes.items())
    ]
    table = [("mutation", "files", "refused", "decoded", "slowest_seconds", "extra_bytes"), *rows]
    for row in table:
        print(*(f"{cell!s:>16}" for cell in row))
    print(*wrong[:50], f"{len(wrong)} findings in {sum(r[1] for r in rows)} files", sep="\n")
    if arguments.output:
        with arguments.output.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
