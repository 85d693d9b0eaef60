"""The charts of the page: SVG whose colours follow the page and whose points are links."""

import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import matplotlib
import matplotlib.figure
import matplotlib.markers
import matplotlib.transforms
import pandas as pd
from matplotlib.path import Path

from launch.report import plot
from launch.report.plot import Look

_INCHES = (5.8, 4.2)
# Fixed, so that charts side by side line up; matplotlib's own layout draws each chart twice.
_MARGINS = {"left": 0.125, "right": 0.98, "bottom": 0.13, "top": 0.98}
_INK = "#262626"
_SETTINGS = {
    "svg.fonttype": "none",
    "font.size": 12,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": plot.MUTED,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_PAGE_COLOURS = {
    _INK: "currentColor",
    plot.SURFACE: "var(--surface)",
    plot.GRID: "var(--grid)",
    plot.MUTED: "var(--muted)",
    plot.FRONT: "var(--front)",
} | {colour: f"var(--series-{n})" for n, colour in enumerate(plot.COLOURS, start=1)}
_COLOUR = re.compile("|".join(_PAGE_COLOURS))
# The prologue, what matplotlib says of itself, a style that would reach the whole page, names that
# every figure has, the size on paper, and the fonts: the page has its own.
_UNWANTED = re.compile(
    r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->"
    r'|(?<=<g) id="[^"]*"| width="[^"]*pt"| height="[^"]*pt"|font-family: [^;]*; ',
    re.DOTALL,
)
_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
# Beyond a hundredth of a point of print; of places, not of what is written.
_DIGITS = re.compile(r"(?<=\.\d\d)\d+(?=[^<>]*>)")
_POINT = re.compile(r'<a xlink:href="#(\w+)"[^>]*>')


class Key(NamedTuple):
    """One entry of a legend: a name, a colour as the page knows it, and the outline of a marker."""

    name: str
    colour: str
    outline: str


def pareto(
    rows: pd.DataFrame, averaged: pd.DataFrame, styles: dict[str, Look], titles: Mapping[str, str]
) -> str:
    """Draws accuracy against file bytes of one architecture.

    Args:
        rows: The trials of the architecture.
        averaged: `launch.report.summary.points` of the sweep.
        styles: The look of each algorithm.
        titles: What a reader is told of each point that is a link, by the id of its first trial.

    Returns:
        An `<svg>` element.
    """
    arch = rows["arch"].iloc[0]
    return _svg(
        f"pareto {arch}",
        f"{arch}: accuracy against file size",
        titles,
        lambda panel: plot.draw_pareto(panel, rows, _linked(averaged, titles), styles),
    )


def ratio_against_relative(
    averaged: pd.DataFrame, styles: dict[str, Look], titles: Mapping[str, str]
) -> str:
    """Draws the share of the dense accuracy that is kept against the ratio, as an `<svg>`."""

    def draw(panel) -> None:
        points = _linked(averaged, titles)
        _draw_all(panel, points, styles, "ratio_mean", "relative_metric", 100)
        panel.axhline(100, color=plot.MUTED, linestyle="--", linewidth=1.2, zorder=1)
        panel.set_ylabel("accuracy relative to dense (%)")
        plot.finish(panel, "compression ratio", lambda ratio: f"{ratio:g}:1")

    return _svg("ratio", "Relative accuracy against compression ratio", titles, draw)


def bits_against_change(
    averaged: pd.DataFrame, styles: dict[str, Look], titles: Mapping[str, str]
) -> str:
    """Draws the change against the dense baseline over bits per weight, as an `<svg>`."""

    def draw(panel) -> None:
        points = _linked(averaged, titles)
        _draw_all(panel, points, styles, "bits_per_weight_mean", "drop_points", -1)
        panel.axhline(0, color=plot.MUTED, linestyle="--", linewidth=1.2, zorder=1)
        panel.set_ylabel("change against dense (points)")
        plot.finish(panel, "bits per weight", lambda bits: f"{bits:g}")

    return _svg("bits", "Change of accuracy against bits per weight", titles, draw)


def algorithm_keys(styles: dict[str, Look]) -> list[Key]:
    """Returns the legend of the algorithms: colour and marker."""
    return [
        Key(name, _PAGE_COLOURS[look.colour], _outline(look.marker))
        for name, look in styles.items()
    ]


def arch_keys(archs: Collection[str]) -> list[Key]:
    """Returns the legend of the architectures where all share a chart: the marker alone."""
    return [Key(arch, "currentColor", _outline(m)) for arch, m in _arch_markers(archs).items()]


def _linked(averaged: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Returns the points, those without a title no longer naming a trial to link to."""
    return averaged.assign(id=averaged["id"].where(averaged["id"].isin(titles), ""))


def _draw_all(panel, averaged, styles, x: str, measure: str, scale: float) -> None:
    """Draws all points: colour tells the algorithm, the marker the architecture."""
    markers = _arch_markers(averaged["arch"].unique())
    for (arch, algorithm), curve in averaged.groupby(["arch", "algorithm"], sort=False):
        plot.draw_curve(
            panel,
            curve[x],
            scale * curve[f"{measure}_mean"],
            abs(scale) * curve[f"{measure}_std"],
            Look(styles[algorithm].colour, markers[arch]),
            curve["id"],
        )


def _arch_markers(archs: Iterable[str]) -> dict[str, str]:
    return {arch: plot.MARKERS[n % len(plot.MARKERS)] for n, arch in enumerate(archs)}


def _svg(name: str, label: str, titles: Mapping[str, str], draw: Callable[[object], object]) -> str:
    """Returns what `draw` draws as an element that a page can hold beside others."""
    # The salt keeps the names inside one chart apart from those of another.
    with matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": name}):
        figure = matplotlib.figure.Figure(figsize=_INCHES)
        draw(figure.subplots(gridspec_kw=_MARGINS))
        image = io.StringIO()
        figure.savefig(image, format="svg", transparent=True, metadata={"Date": None})
    text = _UNWANTED.sub("", image.getvalue())
    text = _DIGITS.sub("", text)
    text = _COLOUR.sub(lambda match: _PAGE_COLOURS[match[0]], text)
    text = _POINT.sub(lambda match: _link(match[1], titles[match[1]]), text)
    return text.replace("<svg", f'<svg role="group" aria-label={quoteattr(label)}', 1)


def _link(trial_id: str, title: str) -> str:
    """Opens a link from a point to a trial; the title is both tooltip and name."""
    name = quoteattr(title)
    return f'<a href="#{trial_id}" aria-label={name}><title>{escape(title)}</title>'


def _outline(marker: str) -> str:
    """Returns the SVG path of a marker, about one unit wide around the origin."""
    style = matplotlib.markers.MarkerStyle(marker)
    downwards = matplotlib.transforms.Affine2D().scale(1, -1)
    path = style.get_path().transformed(style.get_transform() + downwards)
    return "".join(
        _LETTERS[code] + " ".join(f"{number:.3f}" for number in numbers)
        for numbers, code in path.iter_segments(simplify=False)
        if code != Path.CLOSEPOLY
    )
