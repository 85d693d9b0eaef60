"""The task's own metrics of a model that runs elsewhere, such as an exported file."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core.config_definitions import ExperimentConfig

from experiments import runner
from kwc import task as kwc_task
from kwc.exports.source import named
from kwc.reparameterize import intercepted

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Takes a batch of inputs by name, and returns the outputs by name."""


class Evaluation:
    """A task, its model, and some of its data, which are the same for whatever is evaluated.

    Attributes:
        model: the task's model, with initial weights.
        inputs: what the task gives its model for the first batch: arrays in nested structures.

    Args:
        params: Model Garden's parameters of the experiment.
        examples: how many are evaluated at least, if there are so many: whole batches.
        data: file pattern of the data; the validation data of the experiment if None.

    Raises:
        CompressionError: the task gives its model more than inputs.
        FileNotFoundError: the data is not there.
    """

    def __init__(self, params: ExperimentConfig, examples: int, data: str | None = None):
        params, self._strategy, self._task, self.model = runner.built(params, data)
        self._params = params.replace(trainer={"validation_steps": -1})
        config = params.task.validation_data
        steps = math.ceil(examples / config.global_batch_size)
        batches = self._task.build_inputs(config).take(steps)
        with self._strategy.scope():
            inputs = kwc_task.inputs_of(self._task, self.model, next(iter(batches)))
        self._batches = batches.cache()
        self.inputs = _mapped(lambda tensor: tensor.numpy(), inputs)
        self._outputs = _outputs(self.model, inputs)

    def metrics(self, run: Run) -> dict[str, float]:
        """Returns the task's metrics, the primary one first, of outputs that are computed by `run`.

        Names are those that `kwc.exports` gives to inputs and outputs.
        """
        with intercepted(self.model, lambda own, inputs, **options: self._run(run, inputs)):
            metrics = runner.evaluate(
                self._params, self._task, self.model, self._strategy, self._batches
            )
        primary = runner.primary_metric(metrics, self._params)
        return {primary: metrics[primary]} | metrics

    def _run(self, run: Run, inputs: Any) -> Any:
        # A task may hand its model more than it takes, such as labels.
        known = dict(named(self.inputs, "inputs"))
        given = {name: tensor for name, tensor in named(inputs, "inputs") if name in known}
        expected = dict(named(self._outputs, "outputs"))

        def compute(*arrays: np.ndarray) -> list[np.ndarray]:
            outputs = run(dict(zip(given, arrays, strict=True)))
            return [outputs[name].astype(x.dtype.as_numpy_dtype) for name, x in expected.items()]

        types = [output.dtype for output in expected.values()]
        computed = tf.numpy_function(compute, list(given.values()), types, stateful=False)
        for tensor, output in zip(computed, expected.values(), strict=True):
            tensor.set_shape(output.shape)
        leaves = iter(computed)
        return _mapped(lambda output: next(leaves), self._outputs)


def _outputs(model: tf_keras.Model, inputs: Any) -> Any:
    """The model's outputs as specs with an open batch axis, in their structure."""
    specs = _mapped(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), inputs)
    function = tf.function(lambda inputs: model(inputs, training=False))
    return function.get_concrete_function(specs).structured_outputs


def _mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """Maps the leaves of a structure that are not None."""
    return tf.nest.map_structure(lambda leaf: leaf if leaf is None else function(leaf), structure)
