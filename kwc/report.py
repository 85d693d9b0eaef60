"""What happened to each weight: its rule, algorithm, bytes, bits and error."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kwc import coding
from kwc.artifact import Artifact, Sizes
from kwc.compressor import WeightCompressor, WeightInfo, links

_WIDEST = 1000
"""Characters of a line."""


@dataclasses.dataclass(frozen=True)
class WeightReport:
    """One weight.

    Attributes:
        path: structural path.
        shape: shape of the weight.
        rule: pattern of the rule that took it; empty when read from a file.
        algorithm: name and hyperparameters of the algorithm that stores it.
        reason: why its rule's algorithm was not applied; empty if it was.
        dense_bytes: bytes of the uncompressed weight.
        written_bytes: bytes of its arrays in the file; None before a file is written.
        bits_estimated: the algorithm's expected bits (its penalty); None if it has none.
        error: relative distance to the weight before compression, `|w - w0| / |w0|`; None when
            read from a file.
        uncalibrated: why its algorithm had none of the statistics that it declares; empty if it had
            them, or declares none.
    """

    path: str
    shape: tuple[int, ...]
    rule: str
    algorithm: str
    reason: str
    dense_bytes: int
    written_bytes: int | None = None
    bits_estimated: float | None = None
    error: float | None = None
    uncalibrated: str = ""

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def shape_text(self) -> str:
        """The shape for people, such as `3x3x64x128`."""
        return "x".join(map(str, self.shape)) or "scalar"

    @property
    def bits_per_weight(self) -> float | None:
        """Written bits for each element; None before a file is written."""
        if self.written_bytes is None or not self.size:
            return None
        return 8 * self.written_bytes / self.size


@dataclasses.dataclass(frozen=True)
class Report:
    """Every weight of a model, and the lengths of the written file if there is one.

    Printed, it is a table.
    """

    weights: tuple[WeightReport, ...]
    sizes: Sizes | None = None

    def __iter__(self) -> Iterator[WeightReport]:
        return iter(self.weights)

    @property
    def dense_bytes(self) -> int:
        """Bytes of all weights, uncompressed."""
        return sum(weight.dense_bytes for weight in self.weights)

    @property
    def bits_estimated(self) -> float | None:
        """Sum of the expected bits, or None where no algorithm estimates any."""
        known = [w.bits_estimated for w in self.weights if w.bits_estimated is not None]
        return sum(known) if known else None

    def __str__(self) -> str:
        return text(self.table())

    def table(self) -> Table:
        """Returns a table for a terminal, one row a weight and one for the total.

        Columns that say nothing about any weight are left out, and no path is ever cut short.
        """
        total = self.sizes.payload_bytes if self.sizes else None
        columns = [
            ("weight", "total", "left", [w.path for w in self]),
            ("shape", "", "left", [w.shape_text for w in self]),
            ("algorithm", "", "left", [w.algorithm for w in self]),
            ("dense bytes", f"{self.dense_bytes:,}", "right", [f"{w.dense_bytes:,}" for w in self]),
            ("bytes", _text(total, ",d"), "right", [_text(w.written_bytes, ",d") for w in self]),
            ("bits/weight", "", "right", [_text(w.bits_per_weight, ".2f") for w in self]),
            ("error", "", "right", [_text(w.error, ".2e") for w in self]),
            ("not compressed because", "", "left", [w.reason for w in self]),
            ("no statistics because", "", "left", [w.uncalibrated for w in self]),
        ]
        columns = [column for column in columns if any(column[-1])]
        table = Table(show_footer=True)
        for title, footer, justify, _ in columns:
            table.add_column(title, footer=footer, justify=justify, overflow="fold")
        for cells in zip(*(cells for *_, cells in columns), strict=True):
            table.add_row(*map(Text, cells))
        return table


def text(table: Table) -> str:
    """Returns a table as lines of text, as wide as it takes."""
    console = Console(file=io.StringIO(), width=_WIDEST)
    console.print(table)
    return console.file.getvalue().rstrip()


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def of_artifact(artifact: Artifact) -> Report:
    """Reports on a file alone: without rules and errors, which the file does not hold."""
    rows = [
        WeightReport(
            path=path,
            shape=packed.info.shape,
            rule="",
            algorithm=describe(packed.compressor),
            reason="",
            dense_bytes=dense_bytes(packed.info),
            written_bytes=sum(packed.nbytes.values()),
        )
        for path, packed in artifact.weights.items()
    ]
    return Report(tuple(rows), artifact.sizes)


def describe(compressor: WeightCompressor) -> str:
    """Returns an algorithm and its hyperparameters, those that are known, in one line.

    >>> from kwc.algorithms import Quantization
    >>> describe(Quantization(bits=4))
    'quantization(bits=4)'
    """
    parts = []
    for link in links(compressor):
        known = {name: value for name, value in link.config().items() if value is not None}
        arguments = ", ".join(f"{name}={value}" for name, value in known.items())
        parts.append(f"{link.name}({arguments})" if arguments else link.name)
    return " >> ".join(parts)


def dense_bytes(info: WeightInfo) -> int:
    """Bytes of the weight in its own dtype, uncompressed."""
    return info.size * coding.dtype_from_name(info.dtype).itemsize
