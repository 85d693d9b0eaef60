"""A written SavedModel, loaded as TensorFlow users do, and looked into."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from kwc.exports.source import Source

SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


class Loaded:
    """A SavedModel that was loaded."""

    def __init__(self, source: Source, path: pathlib.Path):
        self._path = path
        self._model = tf.saved_model.load(path)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        outputs = self._model.signatures[SIGNATURE](**tensors)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def constants(self) -> Iterable[np.ndarray]:
        """Variables and assets; a string counts as its bytes. And what is in the graph."""
        for index in self._path.glob("*/*.index"):
            reader = tf.train.load_checkpoint(str(index.with_suffix("")))
            for name in reader.get_variable_to_shape_map():
                value = reader.get_tensor(name)
                yield np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        graph = self._model.serve.graph.as_graph_def()
        for node in [*graph.node, *(n for f in graph.library.function for n in f.node_def)]:
            if node.op == "Const":
                yield tf.make_ndarray(node.attr["value"].tensor)

    def decoded(self, tensor: str) -> np.ndarray:
        """The value of a tensor of the signature's graph that does not depend on its inputs."""
        serve = self._model.serve
        captured = serve.inputs[len(serve.inputs) - len(serve.captured_inputs) :]

        def run(*values):
            there = dict(zip([x.name for x in captured], values, strict=True))
            return tf.graph_util.import_graph_def(serve.graph.as_graph_def(), there, [tensor])

        specs = [tf.TensorSpec(x.shape, x.dtype) for x in captured]
        return tf.compat.v1.wrap_function(run, specs)(*serve.captured_inputs)[0].numpy()
