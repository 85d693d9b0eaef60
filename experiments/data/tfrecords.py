"""Writes one split as a TFRecord file."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from experiments.data.manifest import SplitFile, sha256_of

Advance = Callable[[], None]
"""Called once per example written, for a progress bar."""


def serialize(features: dict[str, bytes | Sequence[int]]) -> bytes:
    """Returns a serialized `tf.train.Example` of byte strings and int64 lists."""
    import tensorflow as tf

    def feature(value: bytes | Sequence[int]) -> tf.train.Feature:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    example = tf.train.Example(
        features=tf.train.Features(feature={key: feature(v) for key, v in features.items()})
    )
    return example.SerializeToString(deterministic=True)


def write_split(folder: Path, split: str, records: Iterable[bytes], advance: Advance) -> SplitFile:
    """Writes serialized examples to `<folder>/<split>.tfrecord`."""
    import tensorflow as tf

    path = folder / f"{split}.tfrecord"
    examples = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
            examples += 1
            advance()
    return SplitFile(file=path.name, examples=examples, sha256=sha256_of(path))
