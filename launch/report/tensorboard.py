"""Writes TensorBoard's event files with TensorBoard alone: TensorFlow is not imported.

The root run holds the Pareto plot, the summary and the columns of the HParams tab; each finished
trial is a run below it. Scalars are float32: exact bytes are in `results.csv`.
"""

import io
import pathlib
import re
import shutil
import struct
import time
from collections.abc import Iterable

import numpy as np
import pandas as pd
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import summary_v2 as hp
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from kwc import files
from launch import layout
from launch.trials import State

_METRICS = [
    hp.Metric("eval/accuracy", display_name="accuracy"),
    hp.Metric("size/bytes", display_name="file bytes"),
    hp.Metric("size/ratio", display_name="ratio"),
    hp.Metric("accuracy_drop", display_name="drop (points)"),
]


def write(sweep_folder: pathlib.Path, rows: pd.DataFrame, image: bytes, text: str) -> None:
    """Rewrites the TensorBoard folder of a sweep.

    Args:
        sweep_folder: `runs/<sweep>/`.
        rows: The table of `launch.report.table.read`.
        image: The Pareto plot, a PNG.
        text: The summary, Markdown.
    """
    folder = sweep_folder / layout.TENSORBOARD
    done = rows[rows["state"] == State.DONE]
    hparams = _hparams(done)
    runs = {_run_name(row): row for _, row in done.iterrows()}
    for run, row in runs.items():
        finished = (sweep_folder / row["id"] / layout.RESULT).stat().st_mtime
        _write_events(
            folder / run / "events.out.tfevents.0", finished, _trial(row, hparams, finished)
        )
    for stale in folder.iterdir() if folder.is_dir() else ():
        if stale.is_dir() and stale.name not in runs:
            shutil.rmtree(stale)
    # A new name each time: a TensorBoard that is already open does not read a file twice.
    now = time.time()
    newest = folder / f"events.out.tfevents.{time.time_ns()}"
    _write_events(newest, now, _root(hparams, len(done), image, text))
    for old in folder.glob("events.out.tfevents.*"):
        if old != newest:
            old.unlink()


def _hparams(done: pd.DataFrame) -> pd.DataFrame:
    """Returns the hyperparameters of each trial by id: numbers where all of a column are."""
    algorithm = done["algorithm"].mask(done["kind"] == "baseline", "dense")
    axes = {name.removeprefix("axis."): done[name] for name in done if name.startswith("axis.")}
    columns = axes | {"arch": done["arch"], "algorithm": algorithm}
    for name, column in columns.items():
        numbers = pd.to_numeric(column, errors="coerce")
        if numbers.notna().equals(column != "") and numbers.notna().any():
            columns[name] = numbers
    return pd.DataFrame(columns).set_axis(done["id"])


def _root(
    hparams: pd.DataFrame, step: int, image: bytes, text: str
) -> Iterable[tuple[int, summary_pb2.Summary]]:
    described = []
    for name in hparams:
        values = [value for value in hparams[name].unique() if not (value == "" or pd.isna(value))]
        if not values:
            continue
        is_number = not isinstance(values[0], str)
        domain = (
            hp.RealInterval(float(min(values)), float(max(values)))
            if is_number
            else hp.Discrete(values, dtype=str)
        )
        described.append(hp.HParam(name, domain))
    yield 0, hp.hparams_config_pb(described, _METRICS)
    width, height = struct.unpack(">II", image[16:24])
    yield (
        step,
        _summary(
            "pareto",
            [str(width).encode(), str(height).encode(), image],
            image_metadata.create_summary_metadata("Accuracy against file bytes", ""),
            summary_pb2.DATA_CLASS_BLOB_SEQUENCE,
        ),
    )
    yield (
        step,
        _summary(
            "summary",
            text.encode(),
            text_metadata.create_summary_metadata("Summary", ""),
            summary_pb2.DATA_CLASS_TENSOR,
        ),
    )


def _trial(
    row: pd.Series, hparams: pd.DataFrame, finished: float
) -> Iterable[tuple[int, summary_pb2.Summary]]:
    is_baseline = row["kind"] == "baseline"
    values = {
        name: value
        for name, value in hparams.loc[row["id"]].items()
        if not (value == "" or pd.isna(value))
    }
    group = " ".join(map(str, values.values()))
    seconds = 0.0 if pd.isna(row["total_seconds"]) else row["total_seconds"]
    yield 0, hp.hparams_pb(values, trial_id=group, start_time_secs=finished - seconds)
    measured = {
        "eval/accuracy": row["dense_metric"] if is_baseline else row["artifact_metric"],
        "size/bytes": row["dense_bytes"] if is_baseline else row["file_bytes"],
        "size/ratio": 1.0 if is_baseline else row["ratio"],
        "accuracy_drop": 0.0 if is_baseline else row["drop_points"],
    }
    for tag, value in measured.items():
        if not pd.isna(value):
            metadata = scalar_metadata.create_summary_metadata("", "")
            kind = summary_pb2.DATA_CLASS_SCALAR
            yield int(row["steps"]), _summary(tag, np.float32(value), metadata, kind)
    yield 0, _session_end(finished)


def _session_end(finished: float) -> summary_pb2.Summary:
    # TensorBoard's own function for this imports TensorFlow.
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=finished)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=hparams_metadata.SESSION_END_INFO_TAG,
        metadata=hparams_metadata.create_summary_metadata(data),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    return summary


def _run_name(row: pd.Series) -> str:
    """Names a trial's run so that a reader knows it and no two are equal."""
    algorithm = "dense" if row["kind"] == "baseline" else row["algorithm"]
    parts = [row["arch"], algorithm, row["rate"], f"seed{row['seed']}", row["id"][:4]]
    return re.sub(r"[^\w.=+-]+", "", "_".join(filter(None, parts)))


def _summary(tag: str, value: object, metadata: object, data_class: int) -> summary_pb2.Summary:
    metadata.data_class = data_class
    summary = summary_pb2.Summary()
    summary.value.add(tag=tag, tensor=tensor_util.make_tensor_proto(value), metadata=metadata)
    return summary


def _write_events(
    path: pathlib.Path, wall_time: float, summaries: Iterable[tuple[int, summary_pb2.Summary]]
) -> None:
    """Writes a whole event file at once."""
    buffer = io.BytesIO()
    records = RecordWriter(buffer)
    first = event_pb2.Event(wall_time=wall_time, file_version="brain.Event:2")
    records.write(first.SerializeToString())
    for step, summary in summaries:
        event = event_pb2.Event(wall_time=wall_time, step=step)
        event.summary.MergeFromString(summary.SerializeToString())
        records.write(event.SerializeToString())
    files.write_atomically(path, buffer.getvalue())
