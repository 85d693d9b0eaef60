"""The Markdown summary: one line per point of a curve, averaged over seeds, and its caveats."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from launch.report import warnings
from launch.trials import State

_POINT = ["arch", "algorithm", "rate"]
_HEADER = [
    "arch",
    "algorithm",
    "rate",
    "seeds",
    "dense",
    "artifact",
    "change (points)",
    "file bytes",
    "ratio",
    "bits per weight",
]
_TEXT_CELLS = 3
_MEASURES = [
    "dense_metric",
    "artifact_metric",
    "relative_metric",
    "drop_points",
    "payload_bytes",
    "file_bytes",
    "ratio",
    "bits_per_weight",
]


def points(rows: pd.DataFrame) -> pd.DataFrame:
    """Averages the finished compression trials of each (arch, algorithm, rate) over seeds.

    Args:
        rows: The table of `launch.report.table.read`.

    Returns:
        One row per point: `seeds`, the `id` of its first trial, the mean and (for two seeds or
        more) sample standard deviation of each measure as `<measure>_mean` and `<measure>_std`, and
        `on_front`, whether no other point of the architecture is as good in fewer bytes or better
        in as many.
    """
    done = rows[(rows["state"] == State.DONE) & (rows["kind"] == "compression")]
    groups = done.groupby(_POINT, sort=False)
    averaged = groups[_MEASURES].agg(["mean", "std"])
    averaged.columns = ["_".join(column) for column in averaged.columns]
    averaged.insert(0, "seeds", groups["seed"].nunique())
    averaged.insert(1, "id", groups["id"].first())
    averaged = averaged.reset_index()
    averaged["on_front"] = False
    for _, curve in averaged.groupby("arch", sort=False):
        on_front = front(curve["file_bytes_mean"], curve["artifact_metric_mean"])
        averaged.loc[curve.index, "on_front"] = on_front
    return averaged


def front(sizes: Iterable[float], metrics: Iterable[float]) -> list[bool]:
    """Tells which points no other dominates; of equal points the first stands for all.

    Args:
        sizes: Bytes of each point, fewer being better; a point with a missing value is dominated.
        metrics: Metric of each point, more being better.

    Example:
        >>> front([100, 200, 300, 200], [0.8, 0.9, 0.9, 0.7])
        [True, True, False, False]
    """
    points = pd.DataFrame({"size": list(sizes), "metric": list(metrics)}).astype(float)
    ordered = points.dropna().sort_values(
        ["size", "metric"], ascending=[True, False], kind="stable"
    )
    best_before = ordered["metric"].cummax().shift(fill_value=-float("inf"))
    winners = set(ordered.index[ordered["metric"] > best_before])
    return [index in winners for index in points.index]


def markdown(name: str, rows: pd.DataFrame) -> str:
    """Writes the summary.

    Args:
        name: The sweep's name.
        rows: The table of `launch.report.table.read`.

    Returns:
        Markdown text.
    """
    states = rows["state"].value_counts()
    counts = ", ".join(f"{states[s]} {s}" for s in State if s in states)
    lines = [f"# {name}", "", f"{len(rows)} trials: {counts}.", ""]
    lines += [
        "The metric is measured on the model decoded from the written file, as mean ± standard "
        "deviation over seeds; sizes are lengths of files, and the ratio is dense bytes over "
        "file bytes.",
        "",
    ]
    lines += _table(_HEADER, [_point_cells(point) for point in points(rows).to_dict("records")])
    lines += _baseline_lines(rows)
    caveats = warnings.find(rows)
    if caveats:
        lines += ["", "## Read with care", "", *(f"- {caveat}" for caveat in caveats)]
    return "\n".join(lines) + "\n"


def _baseline_lines(rows: pd.DataFrame) -> list[str]:
    done = rows[(rows["state"] == State.DONE) & (rows["kind"] == "baseline")]
    cells = [
        [
            arch,
            str(group["seed"].nunique()),
            _percent(group["dense_metric"].mean(), group["dense_metric"].std()),
            f"{group['dense_bytes'].mean():,.0f}",
            f"{group['weights'].iloc[0]:,}",
        ]
        for arch, group in done.groupby("arch", sort=False)
    ]
    header = ["arch", "seeds", "dense", "dense bytes", "weights"]
    return ["", "## Dense baselines", "", *_table(header, cells, text_cells=1)] if cells else []


def _point_cells(point: dict[str, Any]) -> list[str]:
    return [
        *(point[name] for name in _POINT),
        str(point["seeds"]),
        _percent(point["dense_metric_mean"], point["dense_metric_std"]),
        _percent(point["artifact_metric_mean"], point["artifact_metric_std"]),
        # The z option writes a change that rounds to zero as +0.00.
        _number(-point["drop_points_mean"], "+z.2f"),
        _number(point["file_bytes_mean"], ",.0f"),
        _number(point["ratio_mean"], ".2f"),
        _number(point["bits_per_weight_mean"], ".3f"),
    ]


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)


def _percent(mean: float, std: float) -> str:
    if pd.isna(mean):
        return ""
    return f"{100 * mean:.2f} %" + ("" if pd.isna(std) else f" ± {100 * std:.2f}")


def _table(header: list[str], rows: list[list[str]], text_cells: int = _TEXT_CELLS) -> list[str]:
    """Returns the lines of a Markdown table, numbers aligned right, padded to be read as text."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    pad = [str.ljust] * text_cells + [str.rjust] * (len(header) - text_cells)

    def line(cells: list[str]) -> str:
        padded = (align(cell, width) for align, cell, width in zip(pad, cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if align is str.ljust else "-" * (width - 1) + ":"
        for align, width in zip(pad, widths, strict=True)
    ]
    return [line(header), line(rule), *map(line, rows)]
