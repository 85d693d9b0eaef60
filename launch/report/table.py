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
    "baseline": str,
    "experiment": str,
    "metric": str,
    "dense_metric": float,
    "training_graph_metric": float,
    "artifact_metric": float,
    "relative_metric": float,
    "drop_points": float,
    "validation_metric": float,
    "best_validation_metric": float,
    "checkpoint": str,
    "weights": "Int64",
    "nonzeros": "Int64",
    "macs": "Int64",
    "dense_bytes": "Int64",
    "dense_zipped_bytes": "Int64",
    "file_bytes": "Int64",
    "payload_bytes": "Int64",
    "zipped_bytes": "Int64",
    "bits_estimated": float,
    "ratio": float,
    "bits_per_weight": float,
    "steps": "Int64",
    "train_batch_size": "Int64",
    "train_seconds": float,
    "total_seconds": float,
    "git_sha": str,
    "git_dirty": "boolean",
    "packages": str,
    "python": str,
    "hardware": str,
    "host": str,
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
        architecture, `rate` its macros; metrics are fractions, `relative_metric` is artifact over
        dense, `drop_points` is 100 x (dense - artifact), sizes are bytes, `ratio` is dense bytes
        over file bytes, `macs` are multiply-adds of one example, and each axis has its own column
        `axis.<name>`. The dense figures of a compression trial are its baseline's.

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
        "baseline": trial.baseline or "",
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
    sizes, timings = dict(result["sizes"]), result["timings"]
    if baseline is not None:
        sizes["dense_zipped_bytes"] = baseline["sizes"]["dense_zipped_bytes"]
    provenance = result.get("provenance") or {}
    dense = results.primary(result if baseline is None else baseline, "dense")
    artifact = results.primary(result, "artifact")
    measured = {
        "experiment": result.get("experiment", ""),
        "metric": result["primary_metric"],
        "dense_metric": dense,
        "training_graph_metric": results.primary(result, "training_graph"),
        "artifact_metric": artifact,
        "validation_metric": (result.get("last_validation") or {}).get("value"),
        "best_validation_metric": (result.get("best_validation") or {}).get("value"),
        "checkpoint": result.get("checkpoint", ""),
        "steps": result["steps"],
        "train_batch_size": result.get("train_batch_size"),
        "train_seconds": timings.get("train_seconds"),
        "total_seconds": timings.get("total_seconds"),
        "git_sha": provenance.get("git_sha") or "",
        "git_dirty": provenance.get("git_dirty"),
        "packages": _packages(provenance.get("packages") or {}),
        "python": provenance.get("python", ""),
        "hardware": _hardware(provenance.get("hardware") or {}),
        "host": provenance.get("host", ""),
        "initial_checkpoint_sha256": provenance.get("initial_checkpoint_sha256") or "",
        **sizes,
    }
    if dense is not None and artifact is not None:
        measured["drop_points"] = 100 * (dense - artifact)
        measured["relative_metric"] = artifact / dense if dense else None
    if sizes["file_bytes"]:
        measured["ratio"] = sizes["dense_bytes"] / sizes["file_bytes"]
        measured["bits_per_weight"] = BITS_PER_BYTE * sizes["file_bytes"] / sizes["weights"]
    return measured


def _packages(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _hardware(machine: dict[str, Any]) -> str:
    """Writes a machine on one line.

    Example:
        >>> _hardware({"cpu": "EPYC", "cores": 2, "memory_gb": 25.3, "gpus": []})
        'EPYC, 2 cores, 25.3 GB, no GPU'
    """
    if not machine:
        return ""
    gpus = " + ".join(machine["gpus"]) or "no GPU"
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {gpus}"
