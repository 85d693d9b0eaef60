"""Writes what a sweep found, from its folders alone.

Tables (`results.csv`, `results.jsonl`, `results.parquet`, `summary.md`) are cheap; `pareto.png`,
`report.html` and the TensorBoard folder cost seconds more.
"""

import contextlib
import io
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kwc import files
from launch import layout
from launch.errors import LaunchError
from launch.trials import Trial, load_ids

if TYPE_CHECKING:
    import pandas as pd

_FILES = (
    layout.RESULTS_CSV,
    layout.RESULTS_JSONL,
    layout.RESULTS_PARQUET,
    layout.SUMMARY,
    layout.PARETO,
    layout.REPORT,
)


def write_tables(sweep_folder: pathlib.Path) -> str:
    """Rewrites `results.csv`, `results.jsonl`, `results.parquet` and `summary.md`.

    Args:
        sweep_folder: `runs/<sweep>/`, holding the table of trials.

    Returns:
        The text of `summary.md`.

    Raises:
        LaunchError: If the folder holds no table of trials.
    """
    from launch.report import table

    return _write_tables(sweep_folder, table.read(sweep_folder))


def write(sweep_folder: pathlib.Path) -> None:
    """Rewrites the tables, `pareto.png`, the TensorBoard folder and, last, `report.html`.

    Args:
        sweep_folder: `runs/<sweep>/`, holding the table of trials.

    Raises:
        LaunchError: If the folder holds no table of trials.
    """
    from launch.report import html, plot, table, tensorboard

    rows = table.read(sweep_folder)
    text = _write_tables(sweep_folder, rows)
    image = plot.pareto(sweep_folder.name, rows)
    files.write_atomically(sweep_folder / layout.PARETO, image)
    tensorboard.write(sweep_folder, rows, image, text)
    files.write_atomically(sweep_folder / layout.REPORT, html.page(sweep_folder, rows))


def is_current(sweep_folder: pathlib.Path, planned: Sequence[Trial]) -> bool:
    """Tells whether the last report is whole, covers these trials and is newer than all of them."""
    try:
        written = min((sweep_folder / name).stat().st_mtime_ns for name in _FILES)
        is_newer = all(_changed(sweep_folder / trial.id) <= written for trial in planned)
        covered = load_ids(sweep_folder)
    except (OSError, LaunchError):
        return False
    return is_newer and covered == [trial.id for trial in planned]


def _changed(folder: pathlib.Path) -> int:
    """Returns when a trial's result last changed, or a file came to its folder or went."""
    times = [folder.stat().st_mtime_ns]
    with contextlib.suppress(FileNotFoundError):
        times.append((folder / layout.RESULT).stat().st_mtime_ns)
    return max(times)


def _write_tables(sweep_folder: pathlib.Path, rows: "pd.DataFrame") -> str:
    from launch.report import summary

    records = rows.to_json(orient="records", lines=True, double_precision=15)
    parquet = io.BytesIO()
    rows.to_parquet(parquet, index=False)
    text = summary.markdown(sweep_folder.name, rows)
    with contextlib.suppress(FileNotFoundError):
        text += "\n" + (sweep_folder / layout.STOPPED).read_text(encoding="utf-8")
    files.write_atomically(sweep_folder / layout.RESULTS_JSONL, records)
    files.write_atomically(sweep_folder / layout.RESULTS_CSV, rows.to_csv(index=False))
    files.write_atomically(sweep_folder / layout.RESULTS_PARQUET, parquet.getvalue())
    files.write_atomically(sweep_folder / layout.SUMMARY, text)
    return text
