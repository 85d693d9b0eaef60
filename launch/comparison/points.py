"""Two sweeps, point by point: what changed, what is noise, and who is smaller where."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import rich.box
import rich.table
import rich.text

from launch.comparison import text
from launch.comparison.gates import Check, Gates, Measured, reaches
from launch.errors import LaunchError
from launch.report import summary, table
from launch.trials import State

POINT = ["arch", "algorithm", "rate"]


def read(path: pathlib.Path) -> pd.DataFrame:
    """Reads the table of a sweep.

    Args:
        path: A sweep's folder, or the `results.csv`, `.jsonl` or `.parquet` that its report wrote.

    Returns:
        One row per trial; see `launch.report.table.read`.

    Raises:
        LaunchError: If it is no such table.
    """
    if path.is_dir():
        return table.read(path)
    words = dict.fromkeys([*POINT, "kind", "state", "data_checksum", "metric"], str)
    readers = {
        ".csv": lambda: pd.read_csv(path, dtype=words),
        ".jsonl": lambda: pd.read_json(path, lines=True, dtype=False),
        ".parquet": lambda: pd.read_parquet(path),
    }
    try:
        rows = readers[path.suffix]()
        return rows.assign(**{name: rows[name].fillna("") for name in words})
    except (OSError, ValueError, KeyError) as error:
        raise LaunchError(
            f"{path} is not a table that `kwc sweep report` wrote: {error}"
        ) from error


def average(rows: pd.DataFrame, name: str | pathlib.Path) -> pd.DataFrame:
    """Averages the finished trials of each point over seeds; see `launch.report.summary.points`.

    Args:
        rows: A table of trials.
        name: What errors call it.

    Raises:
        LaunchError: If no compression trial is done.
    """
    try:
        points = summary.points(rows)
    except KeyError as error:
        raise LaunchError(
            f"{name} lacks what a newer report holds: {error.args[0]}; write it again with "
            "`kwc sweep report`"
        ) from error
    if points.empty:
        raise LaunchError(f"{name} has no finished compression trial; `kwc sweep run` makes them")
    return points


def join(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Joins the points of two sweeps by architecture, algorithm and rate.

    Args:
        a: The reference, as `average` returns it.
        b: The candidate.

    Returns:
        One row per point of either, with the columns of each as `<name>_a` and `<name>_b`;
        `change_points` is 100 x (accuracy of b - accuracy of a), and `noise_points` its standard
        error, missing where a side has fewer than two seeds.
    """
    joined = a.merge(b, on=POINT, how="outer", sort=False, suffixes=("_a", "_b"))
    # An outer join sorts: back to the order of `a`, then what only `b` has.
    order = list(dict.fromkeys([*_keys(a), *_keys(b)]))
    joined = joined.set_index(pd.MultiIndex.from_tuples(_keys(joined))).loc[order]
    accuracy = {side: joined[f"artifact_metric_mean_{side}"].astype(float) for side in "ab"}
    variance = {
        side: joined[f"artifact_metric_std_{side}"].astype(float) ** 2 / joined[f"seeds_{side}"]
        for side in "ab"
    }
    joined["change_points"] = 100 * (accuracy["b"] - accuracy["a"])
    joined["noise_points"] = 100 * (variance["a"] + variance["b"]) ** 0.5
    return joined.reset_index(drop=True)


@dataclasses.dataclass(frozen=True)
class Level:
    """An accuracy on the reference's front, and the fewest bytes that reach it.

    Attributes:
        accuracy: The accuracy, a fraction.
        bytes_a: The reference's bytes.
        bytes_b: The candidate's; None if none of its points is as accurate.
    """

    accuracy: float
    bytes_a: float
    bytes_b: float | None


def equal_accuracy(a: pd.DataFrame, b: pd.DataFrame) -> list[Level]:
    """Compares bytes at the accuracies of the reference's front, fewest bytes first.

    Args:
        a: The reference's points of one architecture, as `average` returns them.
        b: The candidate's.
    """
    candidates = _measures(b)
    return [
        Level(accuracy, size, min((n for n, m in candidates if reaches(m, accuracy)), default=None))
        for size, accuracy in sorted(_measures(a[a["on_front"]]))
    ]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A candidate sweep beside a reference, or alone.

    Attributes:
        paths: What each was read from, the candidate last.
        rows: The trials of each.
        averages: The points of each.
    """

    paths: Sequence[pathlib.Path]
    rows: Sequence[pd.DataFrame]
    averages: Sequence[pd.DataFrame]

    @classmethod
    def read(cls, paths: Sequence[pathlib.Path]) -> "Comparison":
        """Reads one or two sweeps, the candidate last; see `read` and `average`."""
        rows = list(map(read, paths))
        return cls(paths, rows, [average(*pair) for pair in zip(rows, paths, strict=True)])

    def checks(self, gates: Gates) -> list[Check]:
        """Holds gates against the best point of each architecture of the candidate.

        That is the smallest point of those accurate enough, or the most accurate where none is: if
        it fails, no other point passes them all.
        """
        found: list[Check] = []
        for _, group in self.averages[-1].groupby("arch", sort=False):
            candidates = [_measured(point) for point in group.to_dict("records")]
            floor = gates.min_accuracy or 0.0
            accurate = [c for c in candidates if reaches(c.accuracy or 0.0, floor)]
            best = (
                min(accurate, key=lambda c: c.file_bytes)
                if accurate
                else max(candidates, key=lambda c: (c.accuracy or 0.0, -c.file_bytes))
            )
            found += gates.checks(best)
        return found

    def points(self) -> pd.DataFrame:
        """Returns the points of both, side by side; see `join`."""
        return join(*self.averages)

    def levels(self) -> dict[str, list[Level]]:
        """Returns, for each architecture that both have, the bytes at equal accuracy."""
        a, b = (dict(list(points.groupby("arch", sort=False))) for points in self.averages)
        return {arch: equal_accuracy(a[arch], b[arch]) for arch in a if arch in b}

    def cautions(self) -> Iterator[str]:
        """Yields why the two should not be compared, if there is a reason."""
        for column, complaint in [
            ("data_checksum", "were measured on different data"),
            ("metric", "report different metrics"),
        ]:
            seen = [set(r.loc[r["state"] == State.DONE, column]) - {""} for r in self.rows]
            if all(seen) and seen[0] != seen[1]:
                names = " / ".join(", ".join(sorted(values)) for values in seen)
                yield f"A and B {complaint}: {names}"

    def table(self) -> rich.table.Table:
        """Returns a table for a terminal, one row a point."""
        table = rich.table.Table(*POINT, box=rich.box.SIMPLE_HEAD)
        for title in ("accuracy A", "accuracy B", "points"):
            table.add_column(title, justify="right")
        table.add_column("")
        for title in ("bytes A", "bytes B", "change", "ratio A", "ratio B"):
            table.add_column(title, justify="right")
        for point in self.points().to_dict("records"):
            sizes = [point[f"file_bytes_mean_{side}"] for side in "ab"]
            cells = [
                *(point[column] for column in POINT),
                *(_accuracy(point, side) for side in "ab"),
                text.number(point["change_points"], "+z.2f"),
                _noise(point),
                *map(text.number, sizes),
                text.change(*sizes),
                *(text.number(point[f"ratio_mean_{side}"], ".2f") for side in "ab"),
            ]
            table.add_row(*map(rich.text.Text, cells))
        return table

    def lines(self) -> Iterator[str]:
        """Yields who is smaller at equal accuracy, and the cautions, for below the table."""
        for arch, levels in self.levels().items():
            yield f"{arch}: {_dominance(levels)}"
        for caution in self.cautions():
            yield f"caution: {caution}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison for JSON."""
        content: dict[str, Any] = {"kind": "sweeps", "sweeps": list(map(str, self.paths))}
        if len(self.paths) == 1:
            return content
        levels = {arch: list(map(vars, found)) for arch, found in self.levels().items()}
        return content | {
            "points": self.points().to_dict("records"),
            "equal_accuracy": levels,
            "cautions": list(self.cautions()),
        }


def _measured(point: Mapping[str, Any]) -> Measured:
    name = " ".join(filter(None, (point[column] for column in POINT)))
    accuracy = point["artifact_metric_mean"]
    known = None if pd.isna(accuracy) else float(accuracy)
    return Measured(name, known, float(point["file_bytes_mean"]), float(point["ratio_mean"]))


def _accuracy(point: Mapping[str, Any], side: str) -> str:
    mean, std = (point[f"artifact_metric_{statistic}_{side}"] for statistic in ("mean", "std"))
    spread = "" if pd.isna(std) else f" ± {100 * std:.2f}"
    return text.percent(mean) + spread


def _noise(point: Mapping[str, Any]) -> str:
    for side in "ab":
        if pd.isna(point[f"seeds_{side}"]):
            return f"not in {side.upper()}"
    noise = point["noise_points"]
    if pd.isna(noise):
        return "one seed"
    return f"within noise ({noise:.2f})" if abs(point["change_points"]) < noise else ""


def _dominance(levels: Sequence[Level]) -> str:
    """Says in one line who is smaller at equal accuracy."""
    ratios = [level.bytes_b / level.bytes_a for level in levels if level.bytes_b is not None]
    smaller, larger = sum(r < 1 for r in ratios), sum(r > 1 for r in ratios)
    counts = [
        (smaller, "smaller"),
        (larger, "larger"),
        (len(ratios) - smaller - larger, "as large"),
        (len(levels) - len(ratios), "not as accurate"),
    ]
    counted = ", ".join(f"{verdict} at {count}" for count, verdict in counts if count)
    span = " to ".join(dict.fromkeys(f"{f(ratios):.2f}x" for f in (min, max) if ratios))
    return f"at the accuracies of A's front, B is {counted}" + (
        f": {span} the bytes" if span else ""
    )


def _keys(points: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(points[POINT].itertuples(index=False, name=None))


def _measures(points: pd.DataFrame) -> list[tuple[float, float]]:
    """Bytes and accuracy of each point that has both."""
    columns = points[["file_bytes_mean", "artifact_metric_mean"]].dropna().astype(float)
    return list(columns.itertuples(index=False, name=None))
