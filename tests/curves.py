"""Event files as a training loop writes them, without TensorFlow."""

import pathlib
from collections.abc import Sequence

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util


def write_curve(folder: pathlib.Path, tag: str, values: Sequence[float]) -> None:
    """Writes a scalar at steps 10, 20, ..., as Model Garden's summary writer does."""
    metadata = scalar_metadata.create_summary_metadata("", "")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"events.out.tfevents.{tag.replace('/', '_')}", "wb") as file:
        records = RecordWriter(file)
        for number, value in enumerate(values, start=1):
            tensor = tensor_util.make_tensor_proto(value, dtype="float32")
            content = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
            scalars = summary_pb2.Summary(value=[content])
            records.write(event_pb2.Event(step=10 * number, summary=scalars).SerializeToString())
