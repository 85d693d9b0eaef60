"""Writes what a sweep found, from its folders alone.

Tables (`results.csv`, `results.jsonl`, `summary.md`) are cheap; `pareto.png` and the TensorBoard
folder cost about a second more.
"""

import pathlib
from collections.abc import Sequence

from kwc import files
from launch import layout
from launch.errors import LaunchError
from launch.trials import Trial, load_table


def write_tables(sweep_folder: pathlib.Path) -> str:
    """Rewrites `results.csv`, `results.jsonl` and `summary.md`.

    Args:
        sweep_folder: `runs/<sweep>/`, holding the table of trials.

    Returns:
        The text of `summary.md`.

    Raises:
        LaunchError: If the folder holds no table of trials.
    """
    from launch.report import summary, table

    rows = table.read(sweep_folder)
    records = rows.to_json(orient="records", lines=True, double_precision=15)
    text = summary.markdown(sweep_folder.name, rows)
    files.write_atomically(sweep_folder / layout.RESULTS_JSONL, records)
    files.write_atomically(sweep_folder / layout.RESULTS_CSV, rows.to_csv(index=False))
    files.write_atomically(sweep_folder / layout.SUMMARY, text)
    return text


def write(sweep_folder: pathlib.Path) -> None:
    """Rewrites the tables, `pareto.png` and the TensorBoard folder.

    Args:
        sweep_folder: `runs/<sweep>/`, holding the table of trials.

    Raises:
        LaunchError: If the folder holds no table of trials.
    """
    from launch.report import plot, table, tensorboard

    text = write_tables(sweep_folder)
    rows = table.read(sweep_folder)
    image = plot.pareto(sweep_folder.name, rows)
    files.write_atomically(sweep_folder / layout.PARETO, image)
    tensorboard.write(sweep_folder, rows, image, text)


def is_current(sweep_folder: pathlib.Path, planned: Sequence[Trial]) -> bool:
    """Tells whether the last report covers these trials and is newer than all their results."""
    try:
        written = (sweep_folder / layout.PARETO).stat().st_mtime_ns
        covered = [trial.id for trial in load_table(sweep_folder)]
    except (FileNotFoundError, LaunchError):
        return False
    is_newer = all(r.stat().st_mtime_ns <= written for r in sweep_folder.glob(f"*/{layout.RESULT}"))
    return is_newer and covered == [trial.id for trial in planned]
