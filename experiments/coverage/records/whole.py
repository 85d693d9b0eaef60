"""Files that are written whole or not at all, and once."""

import pathlib
from collections.abc import Callable, Iterable

import tensorflow as tf
from google.protobuf import message


def once(path: pathlib.Path, write: Callable[[pathlib.Path], None]) -> None:
    """Lets `write` make a file under another name and renames it, unless the file is there."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}")
        write(temporary)
        temporary.replace(path)


def records(path: pathlib.Path, examples: Iterable[message.Message]) -> None:
    """Writes a TFRecord file of examples, unless it is there; the same bytes every time."""

    def write(temporary: pathlib.Path) -> None:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for example in examples:
                writer.write(example.SerializeToString(deterministic=True))

    once(path, write)
