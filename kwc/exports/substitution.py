"""A model that computes with tensors in the place of its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from kwc import paths
from kwc.reparameterize import Substitute, inject, intercepted


class Made(Substitute):
    """Is read as what a function makes at the start of each call of the model.

    Attributes:
        tensor: what it made in the last call.
    """

    def __init__(self, weight: paths.Weight, make: Callable[[], tf.Tensor]):
        super().__init__(weight)
        self._make = make
        self.tensor: tf.Tensor | None = None

    def make(self) -> None:
        """Makes the tensor, once for all layers and loops that will read it."""
        self.tensor = self._make()

    def _shared(self, training: bool | tf.Tensor | None) -> tf.Tensor:
        return self.tensor


@contextlib.contextmanager
def substituted(
    model: tf_keras.layers.Layer, makers: Mapping[str, Callable[[], tf.Tensor]]
) -> Iterator[dict[str, Made]]:
    """Within the context the model reads what functions return; afterwards it is as it was.

    Args:
        model: a plain, built model.
        makers: for weight paths, functions that return a tensor of the weight's shape and dtype.

    Yields:
        What stands for each weight, by path.
    """
    weights = {weight.path: weight for weight in paths.weights(model)}
    places = {path: Made(weights[path], make) for path, make in makers.items()}
    withdraw = inject((weights[path], place) for path, place in places.items())

    def make_first(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        for place in places.values():
            place.make()
        return call(*args, **kwargs)

    try:
        with intercepted(model, make_first):
            yield places
    finally:
        withdraw()
