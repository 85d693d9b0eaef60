"""What exported files take on this machine, each in fresh processes, beside the dense export.

Machines get faster and slower while one measures. So a file and the dense one that it is compared
with are loaded in a pair of processes that run in turns, and a ratio is that of a turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kwc import paths
from kwc.exports.errors import ExportError
from kwc.exports.proof import size_of
from kwc.exports.source import Source

PAIRS = 3
"""Pairs of processes for each file."""
TURNS = 6
"""Turns of each process; the first one warms up and does not count."""
TURN_SECONDS = 0.2

_WORKER = "kwc.runtime.timed"


@dataclasses.dataclass(frozen=True)
class Figures:
    """What one file takes, or the ratios of that to the dense export of the same target.

    Attributes:
        nbytes: length of the file, or of all files of the folder.
        zipped_bytes: length of a zip archive of it.
        load_seconds: from its path to its first outputs, which includes the expansion of a packed
            file and what a runtime does in the first call. Of imports it has only those that
            the decoder of a packed file makes when it needs them, such as numba.
        p50_seconds: median latency of the calls that follow, with one example and one thread.
        p90_seconds: what 9 of 10 of these calls take at most.
        peak_bytes: the most resident memory, over what was resident before it was loaded.
        resident_bytes: likewise what is resident after the calls.
    """

    nbytes: float
    zipped_bytes: float
    load_seconds: float
    p50_seconds: float
    p90_seconds: float
    peak_bytes: float
    resident_bytes: float

    def over(self, other: Figures) -> Figures:
        """Ratios to the figures of another file."""
        return _combine(lambda a, b: a / b if b else float("nan"), self, other)


@dataclasses.dataclass(frozen=True)
class Measured:
    """One file on this machine.

    Attributes:
        figures: medians over its processes.
        ratios: to the dense export, medians over pairs and turns.
        process_bytes: the most resident memory of a whole process that runs it, imports included.
    """

    figures: Figures
    ratios: Figures
    process_bytes: int


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measures exports of one source to one target.

    Attributes:
        source: what they were exported from; its first example is the input.
        dense: the plain export, which they are compared with.
        to: the target.
        pairs: how many fresh processes of each file.
    """

    source: Source
    dense: pathlib.Path
    to: str
    pairs: int = PAIRS

    def measure(self, file: pathlib.Path) -> Measured:
        """Measures one file; the dense one compared with itself shows the noise.

        Raises:
            ExportError: it does not run in a process of its own, or this machine is no Linux.
        """
        if not os.access("/proc/self/clear_refs", os.W_OK):
            raise ExportError("Memory is measured by Linux's /proc, which is not there.")
        with tempfile.TemporaryDirectory() as folder:
            example = pathlib.Path(folder) / "inputs.npz"
            np.savez(example, **self.source.batch(1))
            start = _Starter(self.to, example, json.dumps(self._options))
            pairs = [_pair(start, self.dense, file) for _ in range(self.pairs)]
        return _summary(pairs, self._dense_sizes, _sizes(file))

    @property
    def _options(self) -> dict[str, Any]:
        """What a process needs to know of a Keras model."""
        model = self.source.model
        modules = {type(layer).__module__ for layer in [model, *paths.layers(model).values()]}
        return {"structure": self.source.structure, "modules": sorted(modules - {"__main__"})}

    @functools.cached_property
    def _dense_sizes(self) -> tuple[int, int]:
        return _sizes(self.dense)


def zipped_size(path: pathlib.Path) -> int:
    """Length in bytes of a zip archive of a file, or of all files below a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    with tempfile.TemporaryFile() as archive:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
            for file in files:
                zipped.write(file, file.relative_to(path.parent))
        return archive.tell()


@dataclasses.dataclass(frozen=True)
class _Run:
    """What one process took; `turns` are the seconds of its calls, turn by turn."""

    load_seconds: float
    turns: list[list[float]]
    peak_bytes: int
    resident_bytes: int
    process_bytes: int

    def figures(self, sizes: tuple[int, int]) -> Figures:
        calls = [seconds for turn in self.turns for seconds in turn]
        p50, p90 = np.quantile(calls, [0.5, 0.9]).tolist()
        return Figures(*sizes, self.load_seconds, p50, p90, self.peak_bytes, self.resident_bytes)


class _Process:
    """A file that is loaded and run in a process of its own."""

    def __init__(self, process: subprocess.Popen, errors: Any, path: pathlib.Path):
        self._process, self._errors, self._path = process, errors, path
        self._turns: list[list[float]] = []
        self._loaded = self._answer()

    def turn(self, seconds: float) -> None:
        """Runs it for some time."""
        # A process that has died says so by giving no answer.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), f"{seconds}\n".encode())
        self._last = self._answer()
        self._turns.append(self._last["seconds"])

    def result(self) -> _Run:
        before, peak = self._loaded["before_bytes"], self._last["peak_bytes"]
        resident = self._last["resident_bytes"]
        load = self._loaded["load_seconds"]
        return _Run(load, self._turns[1:], peak - before, resident - before, peak)

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:]
            raise ExportError(
                f"{self._path.name} does not run in a process of its own: "
                f"{' '.join(last) or f'it ended with {self._process.wait()}'}"
            )
        return json.loads(line)


@dataclasses.dataclass(frozen=True)
class _Starter:
    """Starts processes for files of one target."""

    to: str
    example: pathlib.Path
    options: str

    @contextlib.contextmanager
    def __call__(self, path: pathlib.Path) -> Iterator[_Process]:
        arguments = [self.to, path, self.example, self.options]
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "-1",
            # The same kwc as here, wherever this process was started.
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                [sys.executable, "-m", _WORKER, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | environment,
            ) as process,
        ):
            try:
                yield _Process(process, errors, path)
            finally:
                process.kill()


def _sizes(path: pathlib.Path) -> tuple[int, int]:
    return size_of(path), zipped_size(path)


def _pair(start: _Starter, dense: pathlib.Path, file: pathlib.Path) -> tuple[_Run, _Run]:
    with start(dense) as reference, start(file) as candidate:
        for _ in range(TURNS):
            reference.turn(TURN_SECONDS)
            candidate.turn(TURN_SECONDS)
        return reference.result(), candidate.result()


def _summary(
    pairs: Sequence[tuple[_Run, _Run]], dense: tuple[int, int], sizes: tuple[int, int]
) -> Measured:
    figures = _median(run.figures(sizes) for _, run in pairs)
    ratios = _median(run.figures(sizes).over(other.figures(dense)) for other, run in pairs)
    turns = [
        statistics.median(turn) / statistics.median(other_turn)
        for other, run in pairs
        for other_turn, turn in zip(other.turns, run.turns, strict=True)
    ]
    ratios = dataclasses.replace(ratios, p50_seconds=statistics.median(turns))
    return Measured(figures, ratios, max(run.process_bytes for _, run in pairs))


def _median(figures: Iterable[Figures]) -> Figures:
    return _combine(lambda *values: statistics.median(values), *figures)


def _combine(function: Callable[..., float], *figures: Figures) -> Figures:
    """Applies a function to each of the figures."""
    columns = zip(*map(dataclasses.astuple, figures), strict=True)
    return Figures(*(function(*column) for column in columns))
