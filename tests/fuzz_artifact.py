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
import sys
import time
import tracemalloc

import numpy as np
from mutations import MUTATIONS, Seed
from rich.progress import track

from kwc import artifact, coding
from kwc.artifact.weights import CodedWeight
from kwc.compressor import CompressionError

GOLDEN = pathlib.Path(__file__).parent / "golden"
SECONDS = 1.0
ROOM = 1 << 20
GROWTH = 64 << 20
BATCH = 500
_HANG = 60


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
    return [_seed(name, data) for name, data in files.items()]


def _seed(name: str, data: bytes) -> Seed:
    weights = artifact.from_bytes(data).weights
    shapes = {path: weight.info.shape for path, weight in weights.items()}
    dense = sum(w.info.size * coding.DTYPES[w.info.dtype].itemsize for w in weights.values())
    return Seed(name, data, shapes, dense + max(w.decoded_bytes for w in weights.values()))


def mutated(seeds: list[Seed], number: int, seed: int) -> tuple[str, Seed, bytes]:
    """The mutation, the sound file and the bytes of a file number."""
    rng = random.Random(f"{seed}/{number}")
    sound, other = rng.choice(seeds), rng.choice(seeds)
    mutation = rng.choice(MUTATIONS)
    return mutation.__name__, sound, mutation(sound, rng, other)


def read(data: bytes, sound: Seed, into_model: bool) -> bool:
    """Whether a file decodes to what it declares; False if it is refused.

    Args:
        data: the file.
        sound: what it was made from.
        into_model: whether it shall fill the model of the sound file; else it is read on its own,
            in the memory that the sound one needs.

    Raises:
        AssertionError: it does neither.
    """
    try:
        expected = sound.shapes if into_model else None
        content = artifact.from_bytes(data, expected, sound.need)
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
    signal.setitimer(signal.ITIMER_PROF, _HANG)
    try:
        start = time.process_time()
        decoded = read(data, sound, into_model=number % 2 == 0)
        seconds = time.process_time() - start
        memory = tracemalloc.get_traced_memory()[1] - 2 * sound.need
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
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
    signal.signal(signal.SIGPROF, _hang)
    for seed in seeds:
        assert read(seed.data, seed, into_model=True)
    for dtype in ("int8", "uint8", "int32"):  # Of all three that the context coder is compiled for.
        coding.CODERS["context"].encode(np.arange(100).astype(dtype))
    _resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _hang(*_) -> None:
    raise TimeoutError(f"{_HANG} s of processor time and no end")


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
