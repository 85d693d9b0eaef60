"""A written SavedModel, loaded as TensorFlow users do, and looked into."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from kwc.exports.signatures import SIGNATURE
from kwc.exports.source import Source


class Loaded:
    """A SavedModel that was loaded."""

    def __init__(self, source: Source, path: pathlib.Path):
        self._path = path
        self._model = tf.saved_model.load(path)

    def __call__(
        self, inputs: Mapping[str, np.ndarray], signature: str = SIGNATURE
    ) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        outputs = self._model.signatures[signature](**tensors)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def constants(self) -> Iterable[np.ndarray]:
        """Variables and assets; strings count as the bytes of each. And what is in the graphs."""
        for index in self._path.glob("*/*.index"):
            reader = tf.train.load_checkpoint(str(index.with_suffix("")))
            for name in reader.get_variable_to_shape_map():
                value = np.asarray(reader.get_tensor(name))
                if value.dtype == object:
                    yield from (np.frombuffer(text, np.uint8) for text in value.flat)
                else:
                    yield value
        for function in self._model.served.values():
            graph = function.graph.as_graph_def()
            for node in [*graph.node, *(n for f in graph.library.function for n in f.node_def)]:
                if node.op == "Const":
                    yield tf.make_ndarray(node.attr["value"].tensor)

    def decoded(self, tensor: str) -> np.ndarray:
        """The value of a tensor of a signature's graph that does not depend on its inputs."""
        signature, _, name = tensor.partition("/")
        function = self._model.served[signature]
        captured = function.inputs[len(function.inputs) - len(function.captured_inputs) :]

        def run(*values):
            there = dict(zip([x.name for x in captured], values, strict=True))
            return tf.graph_util.import_graph_def(function.graph.as_graph_def(), there, [name])

        specs = [tf.TensorSpec(x.shape, x.dtype) for x in captured]
        return tf.compat.v1.wrap_function(run, specs)(*function.captured_inputs)[0].numpy()


def name_of(signature: str, tensor: tf.Tensor) -> str:
    """What `Loaded.decoded` calls a tensor in the graph of a signature."""
    return f"{signature}/{tensor.name}"
