"""The table of a benchmark, for a terminal and as CSV."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Self

from rich.table import Table
from rich.text import Text

from kwc.exports.candidates import Candidate
from kwc.exports.measure import Figures

_FIGURES = [field.name for field in dataclasses.fields(Figures)]
COLUMNS = [
    *("to", "decompress", "route"),
    *_FIGURES,
    *(f"{name}_ratio" for name in _FIGURES),
    *("process_bytes", "output_error", "metric", "value", "refused"),
]


@dataclasses.dataclass(frozen=True)
class Row:
    """What one route came to.

    Attributes:
        to: the target.
        decompress: `before` or `during`.
        route: name of the route.
        figures: what its file takes on this machine; None if the route was refused.
        ratios: to the dense export to the same target.
        process_bytes: the most resident memory of the process that ran it, imports included.
        output_error: largest difference from the model's outputs, relative to the largest output.
        metric: name of the task's primary metric.
        value: its value.
        refused: why the route was refused; empty if it was not.
    """

    to: str
    decompress: str
    route: str
    figures: Figures | None = None
    ratios: Figures | None = None
    process_bytes: int | None = None
    output_error: float | None = None
    metric: str = ""
    value: float | None = None
    refused: str = ""

    @classmethod
    def of(cls, candidate: Candidate, metrics: Mapping[str, float]) -> Self:
        """Returns the row of a route that was tried; its metrics begin with the primary one."""
        route, measured = candidate.route, candidate.measured
        if measured is None:
            return cls(route.to, route.decompress, route.name, refused=candidate.refused)
        metric, value = next(iter(metrics.items()))
        return cls(
            route.to,
            route.decompress,
            route.name,
            measured.figures,
            measured.ratios,
            measured.process_bytes,
            candidate.written.proof.error,
            metric,
            value,
        )

    @property
    def name(self) -> str:
        """What tables and plots call it."""
        return f"{self.to} {self.route}"

    def cells(self) -> dict[str, object]:
        """The row of a CSV file."""
        plain = {key: value for key, value in vars(self).items() if key in COLUMNS}
        if self.figures is None:
            return plain
        ratios = {f"{key}_ratio": value for key, value in vars(self.ratios).items()}
        return plain | vars(self.figures) | ratios


def write(rows: Sequence[Row], path: pathlib.Path) -> None:
    """Writes a CSV file: bytes and seconds; a ratio is to the dense export to the same target."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.cells() for row in rows)


def table(rows: Sequence[Row]) -> Table:
    """Returns a table for a terminal of the routes that were not refused, ratios in brackets."""
    there = [row for row in rows if row.figures]
    shown = Table("route")
    metric = there[0].metric if there else "metric"
    for name in ("bytes", "zipped", "load s", "p50 ms", "p90 ms", "peak MB", metric):
        shown.add_column(name, justify="right")
    for row in there:
        figures, ratios = row.figures, row.ratios
        cells = [
            row.name,
            f"{figures.nbytes:,.0f} ({ratios.nbytes:.2f})",
            f"{figures.zipped_bytes:,.0f} ({ratios.zipped_bytes:.2f})",
            f"{figures.load_seconds:.3f} ({ratios.load_seconds:.2f})",
            f"{1e3 * figures.p50_seconds:.3f} ({ratios.p50_seconds:.2f})",
            f"{1e3 * figures.p90_seconds:.3f} ({ratios.p90_seconds:.2f})",
            f"{figures.peak_bytes / 1e6:.1f} ({ratios.peak_bytes:.2f})",
            f"{row.value:.4f}",
        ]
        shown.add_row(*map(Text, cells))
    return shown
