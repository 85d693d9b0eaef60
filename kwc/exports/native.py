"""Routes to TensorFlow Lite whose weights are decoded once, when the file is loaded."""

from __future__ import annotations

import pathlib

from kwc.exports import tflite
from kwc.exports.routes import Placed, Route, anything, register
from kwc.exports.source import Source


def _write_float32(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    path.write_bytes(tflite.convert(source))
    return {name: Placed("float32") for name in source.weights}


FLOAT32 = register(
    Route(
        name="float32",
        to="tflite",
        decompress="before",
        about="plain floats, as TensorFlow converts them: the largest file, which others are "
        "compared with",
        tolerance=0.0,
        why_not=anything,
        write=_write_float32,
        read=tflite.Converted,
    )
)
