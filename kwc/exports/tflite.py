"""Conversion to TensorFlow Lite, and running what was converted."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from etils import epy

from kwc.exports.errors import ExportError
from kwc.exports.flatbuffer import Graph
from kwc.exports.signatures import SIGNATURE
from kwc.exports.source import Source

with epy.lazy_imports():
    from ai_edge_litert import interpreter as litert

GONE = "the converter left it out, as no output depends on it, or merged it with other weights"
"""Why a weight is not among the constants of what was converted."""


def check_installed() -> None:
    """Raises `ExportError` where the optional packages are missing."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ExportError(
            "An export to tflite needs the package ai-edge-litert, which runs what was written: "
            "pip install 'kwc[tflite]'."
        )


def convert(source: Source) -> bytes:
    """Converts the plain model with all its weights as float32 constants, to builtin ops alone.

    The batch axis is left open. A model with loops over time is converted for a batch of 1: their
    conversion needs it fixed.

    Raises:
        ExportError: the model needs operations that TensorFlow Lite does not have, or the optional
            package is missing.
    """
    check_installed()
    try:
        return _convert(source, source.function(None))
    # Layers fail in ways of their own; what a batch of 1 lacks is what counts.
    except Exception:
        try:
            function = source.function(1)
        except Exception as error:
            # It may name tensors and types, which are no operations.
            raise ExportError(
                f"TensorFlow cannot trace the model: {type(error).__name__}: "
                f"{' '.join(str(error).split())[-500:]}"
            ) from error
        return _convert(source, function)


def _convert(source: Source, function: tf.types.experimental.ConcreteFunction) -> bytes:
    module = tf.Module()
    # Not the model itself: Keras would trace every layer of it once more.
    module.variables_read = list(function.graph.variables)
    module.resources = source.resources
    return convert_function(function, module)


def convert_function(
    function: tf.types.experimental.ConcreteFunction, module: tf.Module | None = None
) -> bytes:
    """Converts a function of named inputs to builtin ops; variables that it reads are constants.

    Args:
        function: the function.
        module: what holds its variables; None if it has none.

    Raises:
        ExportError: it needs operations that TensorFlow Lite does not have.
    """
    signatures = {SIGNATURE: function}
    with tempfile.TemporaryDirectory() as folder:
        # The converter fails in ways of its own.
        try:
            tf.saved_model.save(module or tf.Module(), folder, signatures=signatures)
            return tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        except Exception as error:
            raise _explained(error) from error


def _explained(error: Exception) -> ExportError:
    text = str(error)
    needed = sorted(
        set(re.findall(r"\btf\.([A-Z]\w+)", text)) | set(re.findall(r"Flex(\w+)", text))
    )
    if needed:
        return ExportError(
            f"The model needs operations that TensorFlow Lite has only with its large flex "
            f"library: {', '.join(needed)}. Export to saved_model, or replace them in the model."
        )
    return ExportError(f"TensorFlow cannot convert the model: {' '.join(text.split())[:500]}")


class Converted:
    """A `.tflite` file, run by LiteRT on one thread."""

    def __init__(self, source: Source, path: pathlib.Path):
        check_installed()
        self._data = path.read_bytes()
        self._interpreter = litert.Interpreter(model_content=self._data, num_threads=1)
        self._examples = source.batch(1)
        self._watched: Any = None

    def __call__(
        self, inputs: Mapping[str, np.ndarray], signature: str = SIGNATURE
    ) -> dict[str, np.ndarray]:
        """Runs it; where it is converted for one example only, on one after the other."""
        runner = self._interpreter.get_signature_runner(signature)
        details = runner.get_input_details()
        if all(details[name]["shape_signature"][0] == -1 for name in inputs):
            return self._run(runner, inputs)
        examples = len(next(iter(inputs.values())))
        rows = [
            self._run(runner, {name: array[n : n + 1] for name, array in inputs.items()})
            for n in range(examples)
        ]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _run(self, runner: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return runner(**inputs)
        finally:
            # Recurrent layers would go on from the state in which this call left them.
            self._interpreter.reset_all_variables()

    def constants(self) -> Iterable[np.ndarray]:
        return Graph(self._data).constants()

    def decoded(self, tensor: str) -> np.ndarray:
        """The tensor's value in an inference on the first example, by the reference kernels."""
        return self._watch().get_tensor(self._numbers[tensor])

    def _watch(self) -> Any:
        if self._watched is None:
            self._watched = litert.Interpreter(
                model_content=self._data,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            details = self._watched.get_tensor_details()
            self._numbers = {tensor["name"]: tensor["index"] for tensor in details}
            self._watched.get_signature_runner(SIGNATURE)(**self._examples)
        return self._watched
