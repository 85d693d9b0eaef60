"""Event files, written with TensorBoard alone: TensorFlow is not imported.

Scalars are float32: exact bytes are in `results.csv`.
"""

import io
import math
import os
import pathlib
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import summary_v2 as hp
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

PREFIX = "events.out.tfevents."

METRIC = "eval/accuracy"
BYTES = "size/bytes"
BITS = "size/bits_per_weight"
RATIO = "size/ratio"
DROP = "accuracy_drop"
_TITLES = {
    METRIC: "metric",
    BYTES: "file bytes",
    BITS: "bits per weight",
    RATIO: "ratio",
    DROP: "drop (points)",
}

_SCALAR = scalar_metadata.create_summary_metadata("", "")
_SCALAR.data_class = summary_pb2.DATA_CLASS_SCALAR


def write_trial(path: pathlib.Path, session: Mapping[str, Any], hparams: Mapping[str, Any]) -> None:
    """Writes the run of a finished trial.

    Args:
        path: The event file.
        session: `group`, the trials that HParams averages; `step`, the training steps; `finished`,
            seconds since 1970; `seconds`, how long it took; and the value of each metric's tag, NaN
            where it was not measured.
        hparams: The hyperparameters; an empty string or NaN is one that the trial does not have.
    """
    finished = session["finished"]
    values = {name: x for name, x in hparams.items() if not (x == "" or pd.isna(x))}
    summary = hp.hparams_pb(
        values, trial_id=session["group"], start_time_secs=finished - session["seconds"]
    )
    for tag in _TITLES:
        if not math.isnan(session[tag]):
            tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[session[tag]])
            summary.value.add(tag=tag, tensor=tensor, metadata=_SCALAR)
    # TensorBoard's own function for this imports TensorFlow.
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=finished)
    summary.value.add(
        tag=hparams_metadata.SESSION_END_INFO_TAG,
        tensor=hparams_metadata.NULL_TENSOR,
        metadata=hparams_metadata.create_summary_metadata(
            plugin_data_pb2.HParamsPluginData(session_end_info=end)
        ),
    )
    _write(path, finished, session["step"], summary)


def write_root(
    path: pathlib.Path, hparams: pd.DataFrame, metrics: pd.Series, image: bytes, text: str
) -> None:
    """Writes the run of the whole sweep.

    Args:
        path: The event file.
        hparams: The hyperparameters of each finished trial.
        metrics: The name of each finished trial's metric.
        image: The Pareto plot, a PNG.
        text: The summary, Markdown.
    """
    summary = _columns(hparams, metrics.unique())
    width, height = struct.unpack(">II", image[16:24])
    metadata = image_metadata.create_summary_metadata("Accuracy against file bytes", "")
    metadata.data_class = summary_pb2.DATA_CLASS_BLOB_SEQUENCE
    parts = [str(width).encode(), str(height).encode(), image]
    tensor = tensor_util.make_tensor_proto(parts)
    summary.value.add(tag="pareto", tensor=tensor, metadata=metadata)
    metadata = text_metadata.create_summary_metadata("Summary", "")
    metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
    tensor = tensor_util.make_tensor_proto(text.encode())
    summary.value.add(tag="summary", tensor=tensor, metadata=metadata)
    _write(path, time.time(), len(hparams), summary)


def _columns(hparams: pd.DataFrame, metrics: Sequence[str]) -> summary_pb2.Summary:
    """Returns the columns of the HParams tab, with the values that each can be filtered by."""
    described = []
    for name, column in hparams.items():
        if column.dtype == float:
            described.append(hp.HParam(name, hp.RealInterval(column.min(), column.max())))
        elif values := [value for value in column.unique() if value]:
            described.append(hp.HParam(name, hp.Discrete(values, dtype=str)))
    titles = _TITLES | ({METRIC: metrics[0]} if len(metrics) == 1 else {})
    shown = [hp.Metric(tag, display_name=title) for tag, title in titles.items()]
    return hp.hparams_config_pb(described, shown)


def _write(path: pathlib.Path, wall_time: float, step: int, summary: summary_pb2.Summary) -> None:
    """Writes a whole event file at once.

    It is renamed into place but not synced to the disk, which would cost a sweep of 10,000 trials
    some seconds more: what a report loses, the next one writes again.
    """
    buffer = io.BytesIO()
    records = RecordWriter(buffer)
    for event in (
        event_pb2.Event(wall_time=wall_time, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=wall_time, step=step, summary=summary),
    ):
        records.write(event.SerializeToString())
    temporary = path.with_name(".writing")
    temporary.write_bytes(buffer.getvalue())
    os.replace(temporary, path)
