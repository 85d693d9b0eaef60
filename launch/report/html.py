"""The page: charts, a table to sort and filter, and each trial from bytes to its command."""

import json
import math
import pathlib
import shlex
from collections.abc import Iterable
from typing import Any

import jinja2
import markupsafe
import pandas as pd

from launch import layout
from launch.report import charts, details, plot, summary, warnings
from launch.report.columns import COLUMNS, UNLISTED
from launch.trials import State

MAX_DETAILED = 200
ROWS_PER_PAGE = 500
MAX_POINTS_LISTED = 200

_HERE = pathlib.Path(__file__).parent
_ID = "@id@"
_POINTS_LOST = 1.0  # What the headline calls close to the dense baseline.


def page(sweep_folder: pathlib.Path, rows: pd.DataFrame) -> str:
    """Writes the report of a sweep as one page that needs nothing else and loads nothing.

    Details of a trial (weights, training curves) are on the page for the front of each architecture
    and for others up to `MAX_DETAILED`; every trial has its row, its command and its provenance.

    Args:
        sweep_folder: `runs/<sweep>/`.
        rows: The table of `launch.report.table.read`.

    Returns:
        HTML. Equal folders give equal text.
    """
    averaged = summary.points(rows).dropna(subset=["file_bytes_mean", "artifact_metric_mean"])
    rows = rows.assign(algorithm=rows["algorithm"].mask(rows["kind"] == "baseline", "dense"))
    styles = plot.looks(rows)
    strings = details.Strings()
    chosen = details.choose(rows, averaged, MAX_DETAILED)
    detailed = details.read(sweep_folder, chosen, strings)
    titles = {point.id: _title(point) for point in averaged.itertuples() if point.id in detailed}
    archs = list(averaged["arch"].unique())
    states = rows["state"].value_counts()
    context = {
        "name": sweep_folder.name,
        "states": [(str(state), states[state]) for state in State if state in states],
        "rows": rows,
        "seeds": rows["seed"].nunique(),
        "metric": next((name for name in rows["metric"] if name), "metric"),
        "caveats": [_code(caveat) for caveat in warnings.find(rows)],
        "algorithms": charts.algorithm_keys(styles),
        "archs": charts.arch_keys(archs),
        "panels": [_panel(rows[rows["arch"] == arch], averaged, styles, titles) for arch in archs],
        "comparisons": _comparisons(averaged, styles, titles),
        "max_points": MAX_POINTS_LISTED,
        "columns": COLUMNS,
        "first_rows": _texts(rows.head(ROWS_PER_PAGE)),
        "filters": _filters(rows),
        "detailed": len(detailed),
        "done": int((rows["state"] == State.DONE).sum()),
        "csv": layout.RESULTS_CSV,
        "data": _safe(_json(_data(sweep_folder, rows, averaged, detailed, strings))),
        "css": _safe((_HERE / "page.css").read_text(encoding="utf-8")),
        "js": _safe((_HERE / "page.js").read_text(encoding="utf-8")),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(context)


def command(sweep_folder: pathlib.Path, trial_id: str) -> str:
    """Returns the command that runs one trial again, beside the trials that were run so before."""
    config = shlex.quote(str(sweep_folder / trial_id / layout.CONFIG))
    return f"python -m experiments.rerun --config={config} --folder=reproduced/{trial_id}"


def _panel(rows: pd.DataFrame, averaged: pd.DataFrame, styles: Any, titles: Any) -> dict[str, Any]:
    """Returns what the page says of one architecture."""
    arch = rows["arch"].iloc[0]
    curves = averaged[averaged["arch"] == arch].sort_values("file_bytes_mean")
    front_first = curves.sort_values("on_front", ascending=False, kind="stable")
    listed = front_first.head(MAX_POINTS_LISTED).sort_values("file_bytes_mean")
    return {
        "arch": arch,
        "chart": _safe(charts.pareto(rows, averaged, styles, titles)),
        "headline": _headline(curves),
        "points": [_point_texts(point) for point in listed.itertuples()],
        "unlisted": len(curves) - len(listed),
    }


def _comparisons(averaged: pd.DataFrame, styles: Any, titles: Any) -> list[tuple[str, str]]:
    """Returns the charts against the dense baselines and their titles; none without baselines."""
    compared = averaged.dropna(subset=["relative_metric_mean"])
    if compared.empty:
        return []
    ratio = charts.ratio_against_relative(compared, styles, titles)
    bits = charts.bits_against_change(compared, styles, titles)
    return [
        ("Relative accuracy and compression ratio", _safe(ratio)),
        ("Change and bits per weight", _safe(bits)),
    ]


def _headline(curves: pd.DataFrame) -> str:
    """Says what a reader asks first: how small a file can be."""
    close = curves[curves["drop_points_mean"] <= _POINTS_LOST]
    if close.empty:
        return f"No file is within {_POINTS_LOST:g} point of the dense baseline."
    best = next(close.sort_values("file_bytes_mean").itertuples())
    name = f"{best.algorithm} {best.rate}".strip()
    return (
        f"Smallest file within {_POINTS_LOST:g} point of dense: {name}, "
        f"{best.file_bytes_mean:,.0f} bytes, {best.ratio_mean:.1f} times smaller, "
        f"{-best.drop_points_mean:+z.2f} points."
    )


def _title(point: Any) -> str:
    """Says what a point of a chart is."""
    name = " ".join(filter(None, (point.arch, point.algorithm, point.rate)))
    size = f"{point.file_bytes_mean:,.0f} bytes, {point.ratio_mean:.2f} times smaller"
    return f"{name}: {_spread(point)}, {size}"


def _spread(point: Any) -> str:
    std = point.artifact_metric_std
    bars = "" if math.isnan(std) else f" ± {100 * std:.2f}"
    return f"{100 * point.artifact_metric_mean:.2f}{bars} %"


def _point_texts(point: Any) -> dict[str, Any]:
    return {
        "id": point.id,
        "on_front": point.on_front,
        "cells": [
            point.algorithm,
            point.rate,
            str(point.seeds),
            _spread(point),
            f"{-point.drop_points_mean:+z.2f}" if not math.isnan(point.drop_points_mean) else "",
            f"{point.file_bytes_mean:,.0f}",
            f"{point.ratio_mean:.2f}",
            f"{point.bits_per_weight_mean:.3f}",
        ],
    }


def _texts(rows: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Returns the id and the cells of each row."""
    cells = [map(column.text, rows[column.name]) for column in COLUMNS]
    return list(zip(rows["id"], map(list, zip(*cells, strict=True)), strict=True))


def _filters(rows: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """Returns the column, the name and the values of each axis that has several."""
    axes = [column for column in rows if column.startswith("axis.")]
    axes.sort(key=lambda column: (column != "axis.arch", column != "axis.algorithm"))
    found = []
    for column, name in [(axis, axis.removeprefix("axis.")) for axis in axes] + [
        ("seed", "seed"),
        ("state", "state"),
    ]:
        values = [str(value) for value in rows[column].unique() if value != ""]
        if len(values) > 1:
            found.append((column, name, values))
    return found


def _data(sweep_folder, rows, averaged, detailed, strings) -> dict[str, Any]:
    """Returns what the script of the page works on."""
    columns = [*COLUMNS, *UNLISTED]
    axes = [name for name in rows if name.startswith("axis.")]
    names = ["id", *(column.name for column in columns), *axes]
    close = averaged[(averaged["drop_points_mean"] <= _POINTS_LOST) & averaged["id"].isin(detailed)]
    ranked = [*close.sort_values("file_bytes_mean")["id"], *detailed]
    return {
        "columns": [column._asdict() for column in columns],
        "listed": len(COLUMNS),
        "rowsPerPage": ROWS_PER_PAGE,
        "count": len(rows),
        "rows": {name: _packed(rows[name]) for name in names},
        "front": list(averaged.loc[averaged["on_front"], "id"]),
        "first": ranked[0] if ranked else None,
        "command": command(sweep_folder, _ID),
        "strings": list(strings),
        "details": detailed,
    }


def _packed(values: pd.Series) -> dict[str, list]:
    """Returns a column as its distinct values and, where several, which of them each row has."""
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    packed = {"of": [_plain(value) for value in distinct]}
    return packed if len(distinct) == 1 else packed | {"at": codes.tolist()}


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    value = value.item() if hasattr(value, "item") else value
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _json(value: Any) -> str:
    """Writes JSON that no text in it can end early."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _code(markdown: str) -> markupsafe.Markup:
    """Returns one line of Markdown whose only markup is code."""
    parts: Iterable[str] = markdown.split("`")
    tags = ("{}", "<code>{}</code>")
    return markupsafe.Markup("").join(
        markupsafe.Markup(tags[n % 2]).format(part) for n, part in enumerate(parts)
    )


def _safe(text: str) -> markupsafe.Markup:
    """Marks our own HTML, which holds others' text only escaped."""
    return markupsafe.Markup(text)
