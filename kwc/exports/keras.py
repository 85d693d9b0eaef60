"""The plain Keras model again, for everything that takes one."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from kwc.exports.errors import ExportError
from kwc.exports.routes import Placed, Route, anything, register
from kwc.exports.signatures import SIGNATURE
from kwc.exports.source import Source


def _write(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    """Saves the model in the format that the suffix asks for: `.keras`, `.h5`, or a folder."""
    with _explained(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        source.model.save(path)
    return {name: Placed("float32") for name in source.weights}


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    # Layers that cannot be saved or loaded fail in ways of their own.
    except Exception as error:
        raise ExportError(
            f"Keras cannot save the model as {path.name} and load it again: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:500]}. Take a path without a "
            "suffix, which makes a SavedModel, or give each layer a `get_config` and register it "
            "by `tf_keras.utils.register_keras_serializable`."
        ) from error


class _Loaded:
    """A saved model that was loaded."""

    def __init__(self, source: Source, path: pathlib.Path):
        with _explained(path):
            model = tf_keras.models.load_model(path, compile=False)
        self._source = dataclasses.replace(source, model=model)

    def __call__(
        self, inputs: Mapping[str, np.ndarray], signature: str = SIGNATURE
    ) -> dict[str, np.ndarray]:
        """Calls it; there is nothing else in it to call."""
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        return {name: tensor.numpy() for name, tensor in self._source.call(tensors).items()}

    def constants(self) -> Iterable[np.ndarray]:
        return (variable.numpy() for variable in self._source.model.weights)

    def decoded(self, tensor: str) -> np.ndarray:
        raise KeyError(tensor)


ROUTE = register(
    Route(
        name="keras",
        to="keras",
        decompress="before",
        about="the plain Keras model with the decoded weights: .keras, .h5, or a SavedModel folder",
        tolerance=0.0,
        why_not=anything,
        write=_write,
        read=_Loaded,
    )
)
