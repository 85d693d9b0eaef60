"""The plot of a benchmark: bars for each route, beside the dense export."""

import io
from collections.abc import Callable, Sequence

import matplotlib.figure
import matplotlib.ticker

from launch.benchmark.rows import Row
from launch.report.plot import COLOURS, GRID, MUTED, SURFACE, bytes_text

_PANEL_INCHES, _BAR_INCHES = 2.6, 0.34
_DPI = 120
_LONGEST = 2.0  # A longer bar is cut, and its label gives the ratio.
_LABEL = {"facecolor": SURFACE, "edgecolor": "none", "pad": 0.5}

_seconds_text = matplotlib.ticker.EngFormatter("s", places=1)
_PANELS: list[tuple[str, str, Callable[[float], str]]] = [
    ("nbytes", "file", bytes_text),
    ("zipped_bytes", "file, zipped", bytes_text),
    ("load_seconds", "load", _seconds_text),
    ("p50_seconds", "latency, median", _seconds_text),
    ("peak_bytes", "peak memory", bytes_text),
]


def draw(name: str, rows: Sequence[Row]) -> bytes:
    """Draws bars of every route that was not refused.

    Args:
        name: what was measured, used as the title.
        rows: one at least with figures.

    Returns:
        A PNG image with a panel for each figure. A bar is the ratio to the dense export to the same
        target, at which the dashed line is, and its label what was measured.
    """
    there = [row for row in rows if row.figures]
    targets = list(dict.fromkeys(row.to for row in there))
    colours = [COLOURS[targets.index(row.to)] for row in there]
    labels = [f"{row.name}\n{row.metric} {row.value:.4f}" for row in there]
    size = (1.6 + _PANEL_INCHES * len(_PANELS), 1.2 + _BAR_INCHES * len(there))
    figure = matplotlib.figure.Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.suptitle(name, fontweight="bold")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for panel, (attribute, title, text) in zip(panels, _PANELS, strict=True):
        ratios = [getattr(row.ratios, attribute) for row in there]
        lengths = [min(ratio, _LONGEST) for ratio in ratios]
        bars = panel.barh(range(len(there)), lengths, color=colours, zorder=2)
        texts = [
            text(getattr(row.figures, attribute)) + (f" ({ratio:.3g}x)" if ratio > _LONGEST else "")
            for row, ratio in zip(there, ratios, strict=True)
        ]
        panel.bar_label(bars, texts, padding=3, fontsize=8, bbox=_LABEL, zorder=4)
        panel.axvline(1, color=MUTED, linestyle="--", linewidth=1.2, zorder=3)
        panel.set_title(title, fontsize=11)
        panel.set_xlabel("of the dense export's")
        panel.set_xlim(0, 1.5 * max(1, *lengths))
        panel.grid(axis="x", color=GRID, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(there)), labels, fontsize=8)
    panels[0].invert_yaxis()
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
