"""One picture of a sweep for a terminal: its states, what runs, and what was found so far."""

import datetime
import pathlib
from collections.abc import Iterator, Sequence

import pandas as pd
import rich.box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launch.report import running, scatter, summary
from launch.trials import State

_BAR_WIDTH = 40
_PLOT_WIDTH = 64
_PLOT_HEIGHT = 10
_MOST_RUNNING = 20
_MOST_POINTS = 100


def picture(sweep_folder: pathlib.Path, rows: pd.DataFrame) -> RenderableType:
    """Draws a sweep as its folder shows it now.

    Args:
        sweep_folder: `runs/<sweep>/`.
        rows: The table of `launch.report.table.read`.
    """
    points = summary.points(rows)
    trials = running.read(sweep_folder, rows)
    parts = [_progress(rows, len(trials)), _running(trials), *_plots(points)]
    if len(points) <= _MOST_POINTS:
        parts.append(Markdown(summary.markdown(sweep_folder.name, rows)))
    return Group(*parts)


def _progress(rows: pd.DataFrame, trials_running: int) -> RenderableType:
    counts = rows["state"].value_counts().to_dict()
    finished = counts.get(State.DONE, 0)
    counts = {"running": trials_running} | {str(s): counts[s] for s in State if s in counts}
    if State.PENDING in counts:
        counts[State.PENDING] -= trials_running
    text = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    line = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=len(rows), completed=finished, width=_BAR_WIDTH)
    line.add_row(bar, f"{len(rows):,} trials: {text}")
    return line


def _running(trials: Sequence[running.Running]) -> RenderableType:
    if not trials:
        return Text("Nothing runs.\n")
    table = Table("running", box=rich.box.SIMPLE_HEAD)
    for heading in ("step", "loss", "train metric", "bits per weight", "elapsed"):
        table.add_column(heading, justify="right")
    for trial in trials[:_MOST_RUNNING]:
        table.add_row(
            escape(trial.name),
            _number(trial.step, ",d"),
            _number(trial.loss, ".4f"),
            _number(trial.metric, ".2%"),
            _number(trial.bits_per_weight, ".3f"),
            str(datetime.timedelta(seconds=round(trial.seconds))),
        )
    if len(trials) > _MOST_RUNNING:
        table.add_row(f"and {len(trials) - _MOST_RUNNING} more")
    return table


def _plots(points: pd.DataFrame) -> Iterator[RenderableType]:
    measured = points.dropna(subset=["file_bytes_mean", "artifact_metric_mean"])
    if measured.empty:
        return
    marks = scatter.marks(measured["algorithm"])
    panels = []
    for arch, part in measured.groupby("arch", sort=False):
        panel = Table(f"{arch}: accuracy against file size", box=rich.box.SIMPLE_HEAD)
        panel.add_row(scatter.scatter(part, marks, _PLOT_WIDTH, _PLOT_HEIGHT))
        panels.append(panel)
    yield Columns(panels)
    yield Text("   ").join(Text.assemble("  ", mark, f" {name}") for name, mark in marks.items())


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
