"""One row per trial: the tidy table that every other part of the report is made from."""

import pathlib
from typing import Any

import pandas as pd

from launch import results
from launch.trials import State, Status, Trial, axis_label, is_file, load_table, read_statuses

BITS_PER_BYTE = 8

_COLUMNS = {
    "id": str,
    "kind": str,
    "state": str,
    "arch": str,
    "algorithm": str,
    "rate": str,
    "seed": "Int64",
    "experiment": str,
    "metric": str,
    "dense_metric": float,
    "training_graph_metric": float,
    "artifact_metric": float,
    "drop_points": float,
    "weights": "Int64",
    "dense_bytes": "Int64",
    "file_bytes": "Int64",
    "payload_bytes": "Int64",
    "bits_estimated": float,
    "ratio": float,
    "bits_per_weight": float,
    "steps": "Int64",
    "train_seconds": float,
    "total_seconds": float,
    "git_sha": str,
    "git_dirty": "boolean",
    "initial_checkpoint_sha256": str,
    "data_checksum": str,
    "folder": str,
    "note": str,
}


def read(sweep_folder: pathlib.Path) -> pd.DataFrame:
    """Reads every planned trial of a sweep, done or not.

    Args:
        sweep_folder: `runs/<sweep>/`, holding the table of trials.

    Returns:
        One row per trial, in the order of the plan. `algorithm` joins the grid's gin files but the
        architecture, `rate` its macros; metrics are fractions, `drop_points` is 100 x (dense -
        artifact), sizes are bytes, `ratio` is dense bytes over file bytes, and each axis has its
        own column `axis.<name>`. The dense metric of a compression trial is its baseline's.

    Raises:
        LaunchError: If the folder holds no table of trials.
    """
    trials = load_table(sweep_folder)
    statuses = read_statuses(sweep_folder, trials)
    rows = [_row(sweep_folder, trial, statuses) for trial in trials]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    axes = sorted({axis for trial in trials for axis in trial.axes})
    for axis in axes:
        frame[f"axis.{axis}"] = [axis_label(t.axes[axis]) if axis in t.axes else "" for t in trials]
    return frame


def _row(sweep_folder: pathlib.Path, trial: Trial, statuses: dict[str, Status]) -> dict[str, Any]:
    status = statuses[trial.id]
    others = {axis: value for axis, value in trial.axes.items() if axis != "arch"}
    macros = {axis: value for axis, value in others.items() if not is_file(value)}
    row = {
        "id": trial.id,
        "kind": trial.kind,
        "state": str(status.state),
        "arch": axis_label(trial.axes.get("arch", "")),
        "algorithm": " + ".join(axis_label(value) for value in others.values() if is_file(value)),
        "rate": _rate(macros),
        "seed": trial.seed,
        "data_checksum": trial.identity.get("data_checksum") or "",
        "folder": str(sweep_folder / trial.id),
        "note": status.note,
    }
    if status.state is State.DONE:
        baseline = statuses.get(trial.baseline)
        row |= _measured(status.result, baseline.result if baseline else None)
    return dict.fromkeys(_TEXT_COLUMNS, "") | row


_TEXT_COLUMNS = [name for name, kind in _COLUMNS.items() if kind is str]


def _rate(macros: dict[str, Any]) -> str:
    """Returns the value of a lone macro, or `NAME=value` for each of several."""
    if len(macros) == 1:
        return axis_label(*macros.values())
    return " ".join(f"{axis}={axis_label(value)}" for axis, value in macros.items())


def _measured(result: results.Result, baseline: results.Result | None) -> dict[str, Any]:
    sizes, timings = result["sizes"], result["timings"]
    provenance = result.get("provenance") or {}
    dense = results.primary(result if baseline is None else baseline, "dense")
    artifact = results.primary(result, "artifact")
    measured = {
        "experiment": result.get("experiment", ""),
        "metric": result["primary_metric"],
        "dense_metric": dense,
        "training_graph_metric": results.primary(result, "training_graph"),
        "artifact_metric": artifact,
        "steps": result["steps"],
        "train_seconds": timings.get("train_seconds"),
        "total_seconds": timings.get("total_seconds"),
        "git_sha": provenance.get("git_sha") or "",
        "git_dirty": provenance.get("git_dirty"),
        "initial_checkpoint_sha256": provenance.get("initial_checkpoint_sha256") or "",
        **sizes,
    }
    if dense is not None and artifact is not None:
        measured["drop_points"] = 100 * (dense - artifact)
    if sizes["file_bytes"]:
        measured["ratio"] = sizes["dense_bytes"] / sizes["file_bytes"]
        measured["bits_per_weight"] = BITS_PER_BYTE * sizes["file_bytes"] / sizes["weights"]
    return measured
