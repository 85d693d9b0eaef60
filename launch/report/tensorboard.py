"""Keeps the TensorBoard folder of a sweep: a run for each trial, and one for the whole.

tensorboard/                               the Pareto plot, the summary, the columns of HParams
tensorboard/lenet5_pruning_0.5_seed0_7b24  the figures of a finished trial
.../train, .../validation                  links to the curves that the trial logs itself
"""

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Container
from typing import Any

import pandas as pd

from launch import layout
from launch.report import event_files
from launch.trials import State

CURVES_LIMIT = 150
"""Trials of a sweep up to which finished ones keep their curves.

With three runs for each trial this stays below the 500 runs from which on TensorBoard selects none.
"""


def write(sweep_folder: pathlib.Path, rows: pd.DataFrame, image: bytes, text: str) -> None:
    """Brings the TensorBoard folder of a sweep up to date; a run that has not changed is kept.

    Args:
        sweep_folder: `runs/<sweep>/`.
        rows: The table of `launch.report.table.read`.
        image: The Pareto plot, a PNG.
        text: The summary, Markdown.
    """
    folder = sweep_folder / layout.TENSORBOARD
    runs = _run_names(rows)
    _remove_other_runs(folder, keep=set(runs))

    is_done = rows["state"] == State.DONE
    done = rows[is_done]
    hparams = _hparams(done)
    has_curves = len(rows) <= CURVES_LIMIT
    sessions = _sessions(sweep_folder, done).assign(run=runs[is_done], has_curves=has_curves)
    # A run's file is named after its content: it is there if and only if it is up to date.
    content = pd.concat([hparams, sessions], axis="columns")
    digests = pd.util.hash_pandas_object(content, index=False)
    sessions["path"] = (
        f"{folder}/" + sessions["run"] + f"/{event_files.PREFIX}" + digests.astype(str)
    )
    is_new = [not os.path.exists(path) for path in sessions["path"]]
    for session, values in zip(_records(sessions[is_new]), _records(hparams[is_new]), strict=True):
        path = pathlib.Path(session["path"])
        _empty(path.parent)
        if has_curves:
            _link_curves(path.parent, f"{sweep_folder}/{session['id']}")
        event_files.write_trial(path, session, values)
    for run, trial_id in zip(runs[~is_done], rows.loc[~is_done, "id"], strict=True):
        _link_curves(folder / run, f"{sweep_folder}/{trial_id}")

    # A new name each time: a TensorBoard that is already open does not read a file twice.
    newest = folder / f"{event_files.PREFIX}{time.time_ns()}"
    event_files.write_root(newest, hparams, sessions["metric"], image, text)
    for old in folder.glob(f"{event_files.PREFIX}*"):
        if old.name < newest.name:
            old.unlink(missing_ok=True)


def _algorithms(rows: pd.DataFrame) -> pd.Series:
    return rows["algorithm"].mask(rows["kind"] == "baseline", "dense")


def _points(rows: pd.DataFrame) -> pd.Series:
    """Names the point of a curve that each trial is a seed of."""
    names = rows["arch"] + " " + _algorithms(rows) + " " + rows["rate"]
    return names.str.strip()


def _run_names(rows: pd.DataFrame) -> pd.Series:
    """Names each trial's run so that a reader knows it and no two are equal."""
    names = _points(rows) + " seed" + rows["seed"].astype(str) + " " + rows["id"].str[:4]
    return names.str.replace(" ", "_").str.replace(r"[^\w.=+-]+", "", regex=True)


def _hparams(done: pd.DataFrame) -> pd.DataFrame:
    """Returns the hyperparameters of each trial: numbers where all of a column are."""
    axes = {name.removeprefix("axis."): done[name] for name in done if name.startswith("axis.")}
    columns = axes | {"arch": done["arch"], "algorithm": _algorithms(done)}
    for name, column in columns.items():
        numbers = pd.to_numeric(column, errors="coerce")
        if numbers.notna().equals(column != "") and numbers.notna().any():
            columns[name] = numbers.astype(float)
    return pd.DataFrame(columns)


def _sessions(sweep_folder: pathlib.Path, done: pd.DataFrame) -> pd.DataFrame:
    """Returns what is written of each finished trial beside its hyperparameters."""
    is_baseline = done["kind"] == "baseline"
    dense_bits = 8 * done["dense_bytes"] / done["weights"]
    session = {
        "id": done["id"],
        "group": _points(done),
        "metric": done["metric"],
        "step": done["steps"],
        "finished": [os.path.getmtime(f"{sweep_folder}/{i}/{layout.RESULT}") for i in done["id"]],
        "seconds": done["total_seconds"].fillna(0.0),
    }
    measured = {
        event_files.METRIC: done["artifact_metric"].mask(is_baseline, done["dense_metric"]),
        event_files.BYTES: done["file_bytes"].mask(is_baseline, done["dense_bytes"]),
        event_files.BITS: done["bits_per_weight"].mask(is_baseline, dense_bits),
        event_files.RATIO: done["ratio"].mask(is_baseline, 1.0),
        event_files.DROP: done["drop_points"].mask(is_baseline, 0.0),
    }
    return pd.DataFrame(session | {tag: value.astype(float) for tag, value in measured.items()})


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _link_curves(run: pathlib.Path, trial_folder: str) -> None:
    """Shows what a trial's training loop logs as runs below the trial's.

    The links are relative, so that a sweep can be moved. A file system that has no links shows no
    curves here.
    """
    for kind in (layout.TRAIN_EVENTS, layout.VALIDATION_EVENTS):
        source = f"{trial_folder}/{kind}"
        if os.path.isdir(source) and not (run / kind).is_symlink():
            run.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError, PermissionError):
                (run / kind).symlink_to(os.path.relpath(source, run))


def _empty(run: pathlib.Path) -> None:
    run.mkdir(parents=True, exist_ok=True)
    for leftover in run.iterdir():
        leftover.unlink(missing_ok=True)


def _remove_other_runs(folder: pathlib.Path, keep: Container[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and entry.name not in keep:
                shutil.rmtree(entry.path)
