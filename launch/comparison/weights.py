"""Two artifacts, weight by weight; TensorFlow and the model are not needed."""

import dataclasses
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import rich.box
import rich.table
import rich.text

from kwc import report
from kwc.artifact import Artifact, CodedWeight, Sizes
from launch import artifacts, layout, results
from launch.comparison import text
from launch.comparison.gates import Check, Gates, Measured
from launch.errors import LaunchError


@dataclasses.dataclass(frozen=True)
class Stored:
    """An artifact on disk, and what its trial measured.

    Attributes:
        path: The `.kwc` file.
        content: What it holds.
        zipped_bytes: Length of the file after zlib at level 9.
        accuracy: The primary metric of the decoded model, a fraction; None if no result says it.
        reason: Why there is no accuracy; empty where there is one.
    """

    path: pathlib.Path
    content: Artifact
    zipped_bytes: int
    accuracy: float | None
    reason: str

    @classmethod
    def read(cls, path: pathlib.Path) -> "Stored":
        """Reads a `.kwc` file, and the accuracy from the `result.json` beside it.

        Raises:
            LaunchError: If it cannot be read, or is no sound artifact.
        """
        content = artifacts.read(path)
        zipped = len(zlib.compress(path.read_bytes(), 9))
        accuracy, reason = _accuracy(path, content.sizes)
        return cls(path, content, zipped, accuracy, reason)

    @property
    def sizes(self) -> Sizes:
        """Lengths of the file and its parts."""
        return self.content.sizes

    @property
    def measured(self) -> Measured:
        """What gates are held against."""
        size = self.sizes.file_bytes
        dense = report.of_artifact(self.content).dense_bytes
        return Measured(str(self.path), self.accuracy, size, dense / size)


@dataclasses.dataclass(frozen=True)
class WeightComparison:
    """One weight in two artifacts; what belongs to one that lacks it is None.

    Attributes:
        path: Structural path of the weight.
        bytes_a: Bytes of its arrays in the reference.
        bytes_b: The same in the candidate.
        algorithm_a: Its algorithm and hyperparameters in the reference.
        algorithm_b: The same in the candidate.
        error: Root mean square of the difference between the decoded weights over that of the
            reference's; None where there is nothing to subtract: no such weight, or another shape.
    """

    path: str
    bytes_a: int | None
    bytes_b: int | None
    algorithm_a: str | None
    algorithm_b: str | None
    error: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A candidate artifact beside a reference, or alone.

    Attributes:
        a: The reference, if there is one.
        b: The candidate.
    """

    a: Stored | None
    b: Stored

    @classmethod
    def read(cls, paths: Sequence[pathlib.Path]) -> "Comparison":
        """Reads one or two artifacts, the candidate last; see `Stored.read`."""
        *reference, candidate = map(Stored.read, paths)
        return cls(reference[0] if reference else None, candidate)

    def checks(self, gates: Gates) -> list[Check]:
        """Holds gates against the candidate.

        Raises:
            LaunchError: If its accuracy is asked for and not known.
        """
        if gates.min_accuracy is not None and self.b.accuracy is None:
            raise LaunchError(f"--min-accuracy: {self.b.reason}")
        return list(gates.checks(self.b.measured))

    def weights(self) -> Iterator[WeightComparison]:
        """Yields every weight, in the order of the reference, then what only the candidate has.

        One weight of each is decoded at a time.

        Raises:
            LaunchError: If a weight cannot be decoded.
        """
        if self.a is None:
            return
        a, b = self.a.content.weights, self.b.content.weights
        for path in a | b:
            one, other = a.get(path), b.get(path)
            error = None
            if one and other and one.info.shape == other.info.shape:
                error = relative_error(_decode(one, self.a), _decode(other, self.b))
            yield WeightComparison(path, _size(one), _size(other), _name(one), _name(other), error)

    def table(self) -> rich.table.Table:
        """Returns a table for a terminal, one row a weight."""
        table = rich.table.Table("weight", "algorithm", box=rich.box.SIMPLE_HEAD)
        for title in ("bytes A", "bytes B", "change", "error"):
            table.add_column(title, justify="right")
        for weight in self.weights():
            names = (weight.algorithm_a or "not in A", weight.algorithm_b or "not in B")
            cells = [
                weight.path,
                " → ".join(dict.fromkeys(names)),
                text.number(weight.bytes_a),
                text.number(weight.bytes_b),
                text.change(weight.bytes_a, weight.bytes_b),
                text.number(weight.error, ".2e"),
            ]
            table.add_row(*map(rich.text.Text, cells))
        return table

    def lines(self) -> Iterator[str]:
        """Yields the totals of both files, for the space below the table."""
        a, b = self.a, self.b
        lengths = {
            "file": (a.sizes.file_bytes, b.sizes.file_bytes),
            "payload": (a.sizes.payload_bytes, b.sizes.payload_bytes),
            "header": (a.sizes.header_bytes, b.sizes.header_bytes),
            "zipped": (a.zipped_bytes, b.zipped_bytes),
        }
        for name, pair in lengths.items():
            yield f"{name:8} {pair[0]:,} → {pair[1]:,} bytes  {text.change(*pair)}"
        if None in (a.accuracy, b.accuracy):
            yield f"accuracy unknown: {a.reason or b.reason}"
        else:
            points = 100 * (b.accuracy - a.accuracy)
            accuracies = " → ".join(map(text.percent, (a.accuracy, b.accuracy)))
            yield f"accuracy {accuracies}  {points:+z.2f} points"
        yield "error    rms of the difference between the decoded weights, over the rms of A's"

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison for JSON."""
        files = [
            {"path": str(s.path), "accuracy": s.accuracy, "zipped_bytes": s.zipped_bytes}
            | dataclasses.asdict(s.sizes)
            for s in (self.a, self.b)
            if s is not None
        ]
        return {"kind": "artifacts", "files": files, "weights": list(map(vars, self.weights()))}


def relative_error(reference: np.ndarray, other: np.ndarray) -> float:
    """Returns the root mean square of the difference over that of the reference, both of one shape.

    Where the reference is zero everywhere (or empty) it is 0 for an equal array, else infinite.

    Example:
        >>> relative_error(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
        0.2
    """
    reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    distance, norm = np.linalg.norm(other - reference), np.linalg.norm(reference)
    if distance == 0:
        return 0.0
    return float(distance / norm) if norm else float("inf")


def _accuracy(path: pathlib.Path, sizes: Sizes) -> tuple[float | None, str]:
    """Returns the accuracy that the result beside an artifact tells, or None and the reason."""
    beside = path.parent / layout.RESULT
    if not beside.exists():
        return None, f"no {layout.RESULT} beside {path}; name an artifact in its trial's folder"
    try:
        result = results.read(beside)
    except LaunchError as error:
        return None, str(error)
    if (result.get("artifact"), result["sizes"]["file_bytes"]) != (path.name, sizes.file_bytes):
        return None, f"{beside} is not about {path.name}, or about another version of it"
    accuracy = results.primary(result, "artifact")
    return accuracy, "" if accuracy is not None else f"{beside} has no metric of the artifact"


def _decode(weight: CodedWeight, stored: Stored) -> np.ndarray:
    with artifacts.errors_told(stored.path):
        return weight.decompress()


def _size(weight: CodedWeight | None) -> int | None:
    return None if weight is None else sum(weight.nbytes.values())


def _name(weight: CodedWeight | None) -> str | None:
    return None if weight is None else report.describe(weight.compressor)
