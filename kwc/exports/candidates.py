"""Routes that were tried: what each wrote, why others could not, and which is the best here."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from kwc.exports import routes
from kwc.exports.errors import ExportError
from kwc.exports.measure import Bench, Measured
from kwc.exports.proof import Proof, prove
from kwc.exports.routes import Placed, Route
from kwc.exports.source import Source

NOISE = 0.05
"""Latencies and memory that are no further apart count as equal; the smaller file is taken."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A file that has been written and proved."""

    path: pathlib.Path
    placed: Mapping[str, Placed]
    proof: Proof


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A route that was tried.

    Attributes:
        route: the route.
        written: what it wrote; None if it was refused.
        refused: why it was; empty if it was not.
        measured: what the file takes on this machine; None if that was not asked.
    """

    route: Route
    written: Written | None = None
    refused: str = ""
    measured: Measured | None = None


def write(source: Source, route: Route, path: pathlib.Path) -> Written:
    """Writes a file and proves it.

    Raises:
        ExportError: the route cannot hold the source or write it under this name.
        ProofError: what was written is not right.
    """
    route.check_name(path)
    route.check_holds_any(source)
    placed = route.write(source, path)
    return Written(path, placed, prove(source, route, path, placed))


def tried(
    source: Source,
    tries: Iterable[Route],
    folder: pathlib.Path,
    name: Callable[[Route], str],
) -> Iterator[Candidate]:
    """Writes a file by each route, in folders of their own; yields each as it is written."""
    for route in tries:
        path = folder / f"{route.to}_{route.name}" / name(route)
        path.parent.mkdir()
        try:
            yield Candidate(route, write(source, route, path))
        except ExportError as error:
            yield Candidate(route, refused=str(error))


@contextlib.contextmanager
def beside_dense(source: Source, to: str, folder: pathlib.Path) -> Iterator[Bench]:
    """Writes the dense export to a target, and yields what measures others beside it."""
    dense = routes.dense(to)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        reference = pathlib.Path(beside) / dense.default_name
        dense.write(source, reference)
        yield Bench(source, reference, to)


def measured(candidate: Candidate, bench: Bench) -> Candidate:
    """Measures what a candidate wrote; it is refused if it does not run in a new process."""
    if candidate.written is None:
        return candidate
    try:
        figures = bench.measure(candidate.written.path)
    except ExportError as error:
        return Candidate(candidate.route, refused=str(error))
    return dataclasses.replace(candidate, measured=figures)


def choose(
    source: Source, tries: Sequence[Route], folder: pathlib.Path, name: str, objective: str
) -> list[Candidate]:
    """Tries every route to one target; returns the best by the objective, and then the others.

    Args:
        source: what to write.
        tries: the routes.
        folder: an empty folder for what they write.
        name: what each calls its file.
        objective: one of `OBJECTIVES`.

    Raises:
        ExportError: every route was refused; the message says why.
    """
    candidates = list(tried(source, tries, folder, lambda route: name))
    if objective != "size":
        with beside_dense(source, tries[0].to, folder) as bench:
            candidates = [measured(candidate, bench) for candidate in candidates]
    first = best(candidates, objective)
    return [first, *(candidate for candidate in candidates if candidate is not first)]


def best(candidates: Sequence[Candidate], objective: str) -> Candidate:
    """Returns the best by an objective; of those that are as good but for noise, the smallest.

    Raises:
        ExportError: every candidate was refused; the message says why.
    """
    value_of = OBJECTIVES[objective]
    there = [candidate for candidate in candidates if candidate.written is not None]
    if not there:
        reasons = "; ".join(f"{c.route.name}: {c.refused}" for c in candidates)
        raise ExportError(f"There is no route that can hold it. {reasons}")
    enough = min(map(value_of, there)) * (1 + NOISE)
    return min((c for c in there if value_of(c) <= enough), key=_size)


def _size(candidate: Candidate) -> float:
    return candidate.written.proof.nbytes


def _latency(candidate: Candidate) -> float:
    return candidate.measured.ratios.p50_seconds


def _memory(candidate: Candidate) -> float:
    return candidate.measured.figures.peak_bytes


OBJECTIVES = {"size": _size, "latency": _latency, "memory": _memory}
"""What `auto` can minimize."""


def table(candidates: Sequence[Candidate]) -> Table:
    """Returns a table for a terminal, one row for each route."""
    shown = Table("route", "bytes", "outputs within")
    is_measured = any(candidate.measured for candidate in candidates)
    if is_measured:
        for name in ("load s", "latency ms", "/ dense", "peak MB", "/ dense"):
            shown.add_column(name)
    for column in shown.columns[1:]:
        column.justify = "right"
    figures_shown = len(shown.columns) - 1
    if any(candidate.refused for candidate in candidates):
        shown.add_column("refused because", overflow="fold")
    for candidate in candidates:
        cells = [""] * figures_shown
        if candidate.written is not None:
            proof = candidate.written.proof
            cells[:2] = f"{proof.nbytes:,}", f"{proof.error:.1e}"
        if candidate.measured is not None:
            figures, ratios = candidate.measured.figures, candidate.measured.ratios
            cells[2:] = (
                f"{figures.load_seconds:.3f}",
                f"{1e3 * figures.p50_seconds:.3f}",
                f"{ratios.p50_seconds:.2f}",
                f"{figures.peak_bytes / 1e6:.1f}",
                f"{ratios.peak_bytes:.2f}",
            )
        row = [candidate.route.name, *cells, candidate.refused]
        shown.add_row(*map(Text, row[: len(shown.columns)]))
    return shown
