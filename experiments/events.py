"""Reads the scalars of event files, which Model Garden and kwc write while a trial trains.

TensorBoard's own loader imports TensorFlow, and its reader without TensorFlow checks each byte's
checksum in Python, 1.5 MB a second; this one leaves the checksums alone.
"""

import pathlib
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.scalar.metadata import PLUGIN_NAME
from tensorboard.util import tensor_util

Curve = Sequence[tuple[int, float]]

_LENGTH = struct.Struct("<Q")
_CHECKSUM_BYTES = 4


def scalars(folder: pathlib.Path) -> Mapping[str, Curve]:
    """Reads the scalars of one run.

    Args:
        folder: A folder of event files; one that is missing or empty holds no scalars.

    Returns:
        The (step, value) pairs of each tag in the order of the steps. Of a step that was written
        twice, as after a resume, the last value counts.
    """
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in _events(path.read_bytes()):
            for value in event.summary.value:
                if _is_scalar(value):
                    curves[value.tag][event.step] = _number(value)
    return {tag: sorted(values.items()) for tag, values in curves.items()}


def _events(data: bytes) -> Iterator[event_pb2.Event]:
    """Yields the whole events of a file; one that is being written may end in a part of one."""
    start = 0
    while start + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size + _CHECKSUM_BYTES
        record = data[start : start + length]
        start += length + _CHECKSUM_BYTES
        if start > len(data):
            return
        try:
            yield event_pb2.Event.FromString(record)
        except DecodeError:
            return


def _is_scalar(value: summary_pb2.Summary.Value) -> bool:
    plugin = value.metadata.plugin_data.plugin_name
    return value.HasField("simple_value") or plugin == PLUGIN_NAME


def _number(value: summary_pb2.Summary.Value) -> float:
    if value.HasField("simple_value"):
        return value.simple_value
    return float(tensor_util.make_ndarray(value.tensor))
