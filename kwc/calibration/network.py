"""A model as one graph that is a function of its batch and of its weights.

While it is traced, a placeholder stands in the place of each weight in question. So statistics are
taken with any values of the weights, and the model itself is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from kwc.compressor import CompressionError
from kwc.paths import Weight
from kwc.reparameterize import Substitute, inject, intercepted


class ModelCalled(Exception):  # noqa: N818  (no error: it ends what need not go on)
    """Ends a step of a task once it has called the model."""


class _Placeholder(Substitute):
    """Is read as a tensor that a graph is a function of."""

    def __init__(self, weight: Weight):
        super().__init__(weight)
        self.tensor: tf.Tensor | None = None

    def _shared(self, training: bool | tf.Tensor | None) -> tf.Tensor:
        return self.tensor


class Network:
    """The traced model.

    Attributes:
        outputs: the tensors of floating-point outputs.
        weights: the tensor of each weight, by path.

    Args:
        model: the model, plain; it is as it was afterwards.
        weights: the weights that the graph is a function of.
        batch: one element of the calibration data.
        step: runs the model on a batch, for inference whatever it asks for. It ends by
            `ModelCalled`: what it would make of the outputs does not matter.

    Raises:
        CompressionError: the model cannot be run on the batch.
    """

    def __init__(
        self,
        model: tf_keras.layers.Layer,
        weights: Sequence[Weight],
        batch: Any,
        step: Callable[[Any], Any],
    ):
        places = {weight.path: _Placeholder(weight) for weight in weights}
        withdraw = inject((weight, places[weight.path]) for weight in weights)
        recorded = []

        def record(call, *args, **kwargs):
            if "training" in kwargs:
                kwargs["training"] = False
            recorded.append(call(*args, **kwargs))
            raise ModelCalled

        def trace(batch, seed, *values):
            for place, value in zip(places.values(), values, strict=True):
                place.tensor = value
            try:
                step(batch)
            except ModelCalled:
                return seed
            except Exception as error:
                raise CompressionError(
                    f"The model cannot be run on the calibration data: {error}"
                ) from error
            raise CompressionError("The step of the calibration does not call the model.")

        signature = [
            tf.nest.map_structure(_specification, batch),
            tf.TensorSpec([2], tf.int32),
            *(tf.TensorSpec(w.info.shape, w.info.dtype) for w in weights),
        ]
        try:
            with intercepted(model, record):
                self._graph = tf.compat.v1.wrap_function(trace, signature)
        finally:
            withdraw()
        self.weights = {path: place.tensor for path, place in places.items()}
        self.seed = self._graph.graph.inputs[len(tf.nest.flatten(batch))]
        self.outputs = [x for x in tf.nest.flatten(recorded[0]) if x.dtype.is_floating]

    def graph(self):
        """Returns a context in which operations are added to the graph."""
        return self._graph.graph.as_default()

    def places(self) -> dict[str, int]:
        """Returns the place of each operation, by name, in the order in which they were traced."""
        return {op.name: place for place, op in enumerate(self._graph.graph.get_operations())}

    def function(self, fetches: Any, extra: Sequence[tf.Tensor] = ()) -> Callable[..., Any]:
        """Returns the function that computes tensors of the graph, and only what they need.

        Args:
            fetches: structure of tensors.
            extra: placeholders of the graph.

        Returns:
            Function of a batch, a seed (int32 [2]), the weights by path and the values of `extra`.
        """
        inputs = [*self._graph.graph.inputs, *extra]
        pruned = self._graph.prune(inputs, fetches)

        def run(batch: Any, seed: Sequence[int], weights: Mapping[str, tf.Tensor], *values):
            arguments = [
                *tf.nest.flatten(batch),
                tf.constant(seed, tf.int32),
                *(weights[path] for path in self.weights),
                *values,
            ]
            return pruned(*map(tf.convert_to_tensor, arguments))

        return run


def _specification(value: Any) -> tf.TensorSpec:
    tensor = tf.convert_to_tensor(value)
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)
