"""What a SavedModel serves: named functions over a model, each with real inputs that prove it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
"""What loaders take where nothing is asked for by name."""


class Batch:
    """What has a batch of inputs, arrays by name."""

    inputs: Mapping[str, np.ndarray]

    @property
    def examples(self) -> int:
        """How many examples the inputs hold."""
        return len(next(iter(self.inputs.values())))

    def batch(self, size: int) -> dict[str, np.ndarray]:
        """The first inputs."""
        return {name: array[:size] for name, array in self.inputs.items()}


@dataclasses.dataclass(frozen=True)
class Signature(Batch):
    """A function of named tensors that calls a model in its midst.

    Attributes:
        trace: traces it anew, with the batch axis open. It reads the model's weights as it finds
            them, so that others may stand in their place while it is traced.
        inputs: real inputs by name: arrays of numbers, or of objects that are `bytes`, each with
            the batch as its first axis, and at least 2 examples.
        plain: computes the same with the model as it is; takes tensors by name, and returns such.
            What is traced does so if None.
    """

    trace: Callable[[], tf.types.experimental.ConcreteFunction]
    inputs: Mapping[str, np.ndarray]
    plain: Callable[..., Mapping[str, tf.Tensor]] | None = None

    def outputs(self, size: int) -> dict[str, np.ndarray]:
        """What it computes of the first inputs with the model as it is, by name."""
        function = self.plain or self.trace()
        tensors = {name: tf.constant(array) for name, array in self.batch(size).items()}
        return {name: tensor.numpy() for name, tensor in function(**tensors).items()}
