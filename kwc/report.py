"""What happened to each weight: its rule, algorithm, bytes, bits and error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from rich.table import Table

from kwc import coding
from kwc.artifact import Artifact, PackedWeight, Sizes
from kwc.compressor import WeightInfo, links


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

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Report:
    """Every weight of a model, and the lengths of the written file if there is one."""

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

    def table(self) -> Table:
        """Returns a table for a terminal, one row a weight and one for the total."""
        table = Table(show_footer=True)
        total = self.sizes.payload_bytes if self.sizes else None
        columns = [
            ("weight", "total", "left"),
            ("shape", "", "left"),
            ("algorithm", "", "left"),
            ("dense bytes", f"{self.dense_bytes:,}", "right"),
            ("bytes", "" if total is None else f"{total:,}", "right"),
            ("bits/weight", "", "right"),
            ("error", "", "right"),
            ("not compressed because", "", "left"),
        ]
        for title, footer, justify in columns:
            table.add_column(title, footer=footer, justify=justify)
        for w in self.weights:
            known = w.written_bytes is not None
            table.add_row(
                w.path,
                "x".join(map(str, w.shape)) or "scalar",
                w.algorithm,
                f"{w.dense_bytes:,}",
                f"{w.written_bytes:,}" if known else "",
                f"{8 * w.written_bytes / w.size:.2f}" if known and w.size else "",
                "" if w.error is None else f"{w.error:.2e}",
                w.reason,
            )
        return table


def of_artifact(artifact: Artifact) -> Report:
    """Reports on a file alone: without rules and errors, which the file does not hold."""
    rows = [
        WeightReport(
            path=path,
            shape=packed.info.shape,
            rule="",
            algorithm=describe(packed),
            reason="",
            dense_bytes=dense_bytes(packed.info),
            written_bytes=sum(packed.nbytes.values()),
        )
        for path, packed in artifact.weights.items()
    ]
    return Report(tuple(rows), artifact.sizes)


def describe(packed: PackedWeight) -> str:
    """Returns an algorithm and its hyperparameters in one line.

    >>> from kwc.algorithms import Quantization
    >>> describe(PackedWeight(WeightInfo("w", (2,)), Quantization(bits=4), {}))
    'quantization(bits=4)'
    """
    parts = []
    for link in links(packed.compressor):
        arguments = ", ".join(f"{name}={value}" for name, value in link.config().items())
        parts.append(f"{link.name}({arguments})" if arguments else link.name)
    return " >> ".join(parts)


def dense_bytes(info: WeightInfo) -> int:
    """Bytes of the weight in its own dtype, uncompressed."""
    return info.size * coding.dtype_from_name(info.dtype).itemsize
