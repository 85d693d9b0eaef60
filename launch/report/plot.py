"""The Pareto plot: accuracy against the bytes of the file."""

import io
import math
from typing import Any, NamedTuple

import matplotlib.axes
import matplotlib.figure
import matplotlib.ticker
import pandas as pd

from launch.report.summary import points
from launch.trials import State

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
MARKERS = "osD^vP*X"
SURFACE = "#ffffff"
GRID = "#e5e5e5"
MUTED = "#595959"
FRONT = "#d3dbe6"

_PANEL_INCHES = (5.6, 4.2)
_PANELS_PER_ROW = 2
_LEGEND_COLUMNS = 4  # For each column of panels.
_DPI = 120
_POINT_AREA = 60  # Square points of print.
_CROWDED_AREA = 15
_CROWD = 40  # Points of a curve.


class Look(NamedTuple):
    """How the points of one curve are drawn."""

    colour: str
    marker: str


def looks(rows: pd.DataFrame) -> dict[str, Look]:
    """Gives each algorithm of a sweep the same look in every panel, in the order of the plan."""
    algorithms = rows.loc[rows["kind"] == "compression", "algorithm"].unique()
    return {
        algorithm: Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, algorithm in enumerate(algorithms)
    }


def pareto(name: str, rows: pd.DataFrame) -> bytes:
    """Draws one panel per architecture and one curve per algorithm.

    Args:
        name: The sweep's name, used as the title.
        rows: The table of `launch.report.table.read`.

    Returns:
        A PNG image. Points are means over seeds, bars one standard deviation; the dense baseline is
        a dashed line labelled with its bytes, and a broad line joins the points that no other
        dominates.
    """
    averaged, styles = points(rows), looks(rows)
    archs = list(dict.fromkeys(rows["arch"]))
    columns = min(len(archs), _PANELS_PER_ROW)
    lines = math.ceil(len(archs) / columns)
    size = (_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * lines + 0.9)
    figure = matplotlib.figure.Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.suptitle(name, fontweight="bold")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    handles: dict[str, object] = {}
    for panel, arch in zip(panels, archs, strict=False):
        panel.set_title(arch, fontsize=11)
        handles |= draw_pareto(panel, rows[rows["arch"] == arch], averaged, styles)
    for panel in list(panels):
        panel.axis("off")
    if handles:
        per_line = min(len(handles), _LEGEND_COLUMNS * columns)
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=per_line,
            frameon=False,
        )
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def draw_pareto(
    panel: matplotlib.axes.Axes,
    rows: pd.DataFrame,
    averaged: pd.DataFrame,
    styles: dict[str, Look],
) -> dict[str, Any]:
    """Draws accuracy against file bytes of one architecture.

    Args:
        panel: Where to draw.
        rows: The trials of the architecture.
        averaged: `points` of the whole sweep.
        styles: The look of each algorithm.

    Returns:
        The markers of each algorithm that has points.
    """
    curves = averaged[averaged["arch"] == rows["arch"].iloc[0]]
    best = curves[curves["on_front"]].sort_values("file_bytes_mean")
    panel.step(
        best["file_bytes_mean"].astype(float),
        100 * best["artifact_metric_mean"],
        where="post",
        color=FRONT,
        linewidth=5,
        solid_capstyle="round",
        zorder=1,
    )
    handles = {}
    for algorithm, curve in curves.groupby("algorithm", sort=False):
        x, y = curve["file_bytes_mean"], 100 * curve["artifact_metric_mean"]
        handles[algorithm] = draw_curve(
            panel, x, y, 100 * curve["artifact_metric_std"], styles[algorithm], curve["id"]
        )
    _draw_dense(panel, rows)
    metric = next((name for name in rows["metric"] if name), "metric")
    panel.set_ylabel(f"{metric} of the decoded model (%)")
    finish(panel, "file size", bytes_text)
    return handles


def draw_curve(
    panel: matplotlib.axes.Axes,
    x: pd.Series,
    y: pd.Series,
    spread: pd.Series,
    look: Look,
    ids: pd.Series,
) -> Any:
    """Draws the points of one algorithm, joined in the order of x; returns the markers.

    Args:
        panel: Where to draw.
        x: Where each point is.
        y: Likewise.
        spread: Standard deviation of y over seeds, missing where there is one seed.
        look: Colour and marker.
        ids: A trial of each point, which an SVG image links to; empty for no link.
    """
    order = x.argsort()
    x, y = (values.iloc[order].astype(float) for values in (x, y))
    line = {"color": look.colour, "linewidth": 1.5, "zorder": 2, "clip_on": False}
    if spread.isna().all():
        panel.plot(x, y, **line)
    else:
        panel.errorbar(x, y, yerr=spread.iloc[order].fillna(0), **line)
    markers = panel.scatter(
        x,
        y,
        s=_POINT_AREA if len(x) < _CROWD else _CROWDED_AREA,
        color=look.colour,
        marker=look.marker,
        edgecolor=SURFACE,
        linewidth=1 if len(x) < _CROWD else 0.3,
        zorder=3,
        clip_on=False,
    )
    markers.set_urls([f"#{trial_id}" if trial_id else None for trial_id in ids.iloc[order]])
    return markers


def finish(panel: matplotlib.axes.Axes, label: str, text: Any) -> None:
    """Gives a panel its logarithmic x axis, its grid and its margins."""
    panel.set_xlabel(label)
    panel.ticklabel_format(axis="y", useOffset=False)
    panel.margins(x=0.08, y=0.12)
    if panel.collections:  # Without a point there is no scale: only the baselines are done.
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(lambda value, _: text(value))
        panel.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    panel.grid(color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def bytes_text(value: float) -> str:
    """Writes bytes with a decimal unit and three digits.

    Example:
        >>> bytes_text(999), bytes_text(20_000), bytes_text(1_724_320)
        ('999 B', '20 kB', '1.72 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError


def _draw_dense(panel: matplotlib.axes.Axes, rows: pd.DataFrame) -> None:
    dense = rows[(rows["kind"] == "baseline") & (rows["state"] == State.DONE)]
    if dense.empty:
        return
    level = 100 * dense["dense_metric"].mean()
    label = f"dense: {level:.2f} %, {bytes_text(dense['dense_bytes'].mean())}"
    line = panel.axhline(level, color=MUTED, linestyle="--", linewidth=1.2, zorder=1)
    # Where files are large and accuracy is low, there is nothing to hide.
    panel.legend([line], [label], loc="lower right", frameon=False, fontsize="small")
