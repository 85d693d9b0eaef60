"""Accuracy against file bytes as text, for a terminal."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd
import rich.filesize
from rich.text import Text

_MARKS = "●■◆▲▼★✚✖"
_COLOURS = ["blue", "red", "green", "magenta", "yellow", "cyan"]
_LABEL_WIDTH = 8


def marks(algorithms: Iterable[str]) -> dict[str, Text]:
    """Returns a mark for each algorithm, for all plots of a sweep."""
    return {
        name: Text(_MARKS[i % len(_MARKS)], style=_COLOURS[i % len(_COLOURS)])
        for i, name in enumerate(dict.fromkeys(algorithms))
    }


def scatter(points: pd.DataFrame, marks: Mapping[str, Text], width: int, height: int) -> Text:
    """Draws the points of one architecture.

    Args:
        points: Rows of `launch.report.summary.points`, one at least, all measured.
        marks: The mark of each algorithm.
        width: Columns of the plot with its labels, 40 or more.
        height: Lines of the plot without its axis, 2 or more.

    Returns:
        The metric in percent upwards, the bytes on a logarithmic axis to the right.
    """
    columns = width - _LABEL_WIDTH - 2
    sizes = points["file_bytes_mean"].astype(float)
    metrics = 100 * points["artifact_metric_mean"].astype(float)
    grid = [[Text(" ")] * columns for _ in range(height)]
    places = zip(_places(sizes.map(math.log), columns), _places(metrics, height), strict=True)
    for (column, line), algorithm in zip(places, points["algorithm"], strict=True):
        grid[height - 1 - line][column] = marks[algorithm]

    plot = Text(no_wrap=True)
    ends = {0: metrics.max(), height - 1: metrics.min()}
    for line, cells in enumerate(grid):
        label = f"{ends[line]:.2f} %" if line in ends else ""
        plot.append(f"{label:>{_LABEL_WIDTH}} │", style="dim")
        plot.append(Text().join(cells)).append("\n")
    least, most = (rich.filesize.decimal(round(size)) for size in (sizes.min(), sizes.max()))
    plot.append(f"{'':{_LABEL_WIDTH}} └{'─' * columns}\n", style="dim")
    return plot.append(f"{'':{_LABEL_WIDTH}}  {least}{most:>{columns - len(least)}}", style="dim")


def _places(values: pd.Series, count: int) -> list[int]:
    """Returns in which of some cells each value falls when they span the range of all."""
    spread = values.max() - values.min()
    shares = (values - values.min()) / spread if spread else values * 0 + 0.5
    return [round(share * (count - 1)) for share in shares]
