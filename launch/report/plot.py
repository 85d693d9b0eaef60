"""The Pareto plot: accuracy against the bytes of the file."""

import io
import math

import matplotlib.figure
import matplotlib.ticker
import pandas as pd

from launch.report.summary import points
from launch.trials import State

_PANEL_INCHES = (5.6, 4.2)
_PANELS_PER_ROW = 2
_LEGEND_COLUMNS = 4  # For each column of panels.
_DPI = 120
# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_MARKERS = "osD^vP*X"
_DENSE = {"color": "0.35", "linestyle": "--", "linewidth": 1.2, "zorder": 1}


def pareto(name: str, rows: pd.DataFrame) -> bytes:
    """Draws one panel per architecture and one curve per algorithm.

    Args:
        name: The sweep's name, used as the title.
        rows: The table of `launch.report.table.read`.

    Returns:
        A PNG image. Points are means over seeds, bars one standard deviation; the dense baseline is
        a dashed line labelled with its bytes.
    """
    averaged = points(rows)
    algorithms = list(dict.fromkeys(rows.loc[rows["kind"] == "compression", "algorithm"]))
    archs = list(dict.fromkeys(rows["arch"]))
    columns = min(len(archs), _PANELS_PER_ROW)
    lines = math.ceil(len(archs) / columns)
    size = (_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * lines + 0.9)
    figure = matplotlib.figure.Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.suptitle(name, fontweight="bold")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    handles: dict[str, object] = {}
    for panel, arch in zip(panels, archs, strict=False):
        _draw_panel(panel, arch, rows, averaged, algorithms, handles)
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


def _draw_panel(panel, arch, rows, averaged, algorithms, handles) -> None:
    for index, algorithm in enumerate(algorithms):
        curve = averaged[(averaged["arch"] == arch) & (averaged["algorithm"] == algorithm)]
        curve = curve.sort_values("file_bytes_mean")
        if curve.empty:
            continue
        spread = 100 * curve["artifact_metric_std"]
        handles[algorithm] = panel.errorbar(
            curve["file_bytes_mean"].astype(float),
            100 * curve["artifact_metric_mean"],
            yerr=None if spread.isna().all() else spread.fillna(0),
            color=_COLOURS[index % len(_COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)],
            markeredgecolor="white",
            markersize=7.5,
            linewidth=1.6,
            capsize=3,
        )
    dense = rows[
        (rows["arch"] == arch) & (rows["kind"] == "baseline") & (rows["state"] == State.DONE)
    ]
    if len(dense):
        level = 100 * dense["dense_metric"].mean()
        size = int(dense["dense_bytes"].mean())
        panel.axhline(level, **_DENSE)
        panel.annotate(
            f"dense: {level:.2f} %, {_bytes(size)}",
            (0.01, level),
            xycoords=("axes fraction", "data"),
            xytext=(2, 4),
            textcoords="offset points",
            fontsize=8.5,
            color=_DENSE["color"],
        )
    metric = next(iter(rows.loc[(rows["arch"] == arch) & (rows["metric"] != ""), "metric"]), "")
    panel.set_title(arch, fontsize=11)
    panel.set_xscale("log")
    panel.set_xlabel("file size")
    panel.set_ylabel(f"{metric} of the decoded model (%)")
    panel.margins(x=0.08, y=0.12)
    panel.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(lambda value, _: _bytes(value))
    panel.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _bytes(value: float) -> str:
    """Writes bytes with a decimal unit and three digits.

    Example:
        >>> _bytes(999), _bytes(20_000), _bytes(1_724_320)
        ('999 B', '20 kB', '1.72 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError
