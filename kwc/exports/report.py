"""What an export did with each weight."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from kwc.exports.candidates import Candidate
from kwc.exports.proof import Proof
from kwc.report import text


@dataclasses.dataclass(frozen=True)
class WeightExport:
    """One weight that an algorithm had compressed.

    Attributes:
        path: structural path.
        algorithm: what had compressed it.
        form: how the file holds it, such as `int8`; `float32` if plainly.
        reason: why the route does not hold it compressed; empty if it does, or holds none.
        dense_bytes: bytes of the plain weight.
        nbytes: bytes of its arrays in the file.
    """

    path: str
    algorithm: str
    form: str
    reason: str
    dense_bytes: int
    nbytes: int


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, and its proof. Printed, it is a table.

    Attributes:
        path: the file or folder.
        route: name of the route.
        artifact_bytes: length of the `.kwc` file.
        dense_bytes: bytes of all weights of the model as floats.
        proof: what the proof found; `proof.nbytes` is the length of what was written.
        weights: the compressed weights.
        candidates: every route that was tried, the chosen one first, where an objective chose it;
            the route alone where it was measured.
    """

    path: pathlib.Path
    route: str
    artifact_bytes: int
    dense_bytes: int
    proof: Proof
    weights: tuple[WeightExport, ...]
    candidates: tuple[Candidate, ...] = ()

    def __iter__(self) -> Iterator[WeightExport]:
        return iter(self.weights)

    def __str__(self) -> str:
        return text(self.table())

    def table(self) -> Table:
        """Returns a table for a terminal, one row for each compressed weight."""
        table = Table("weight", "algorithm", "in the file", "dense bytes", "bytes")
        if any(weight.reason for weight in self):
            table.add_column("plain because", overflow="fold")
        for column in table.columns[3:5]:
            column.justify = "right"
        for w in self:
            cells = [w.path, w.algorithm, w.form, f"{w.dense_bytes:,}", f"{w.nbytes:,}", w.reason]
            table.add_row(*map(Text, cells[: len(table.columns)]))
        return table
