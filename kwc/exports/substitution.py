"""A model that computes with tensors in the place of its weights."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf
import tf_keras

from kwc import paths
from kwc.reparameterize import Substitute, inject


class Made(Substitute):
    """Is read as what a function makes, once for all layers and loops of a traced function."""

    def __init__(self, weight: paths.Weight, make: Callable[[], tf.Tensor]):
        super().__init__(weight)
        self._make = make
        self._tensors: Mapping[tf.Graph, tf.Tensor] = weakref.WeakKeyDictionary()

    def made_in(self, graph: tf.Graph) -> tf.Tensor | None:
        """The tensor that stands for the weight in a traced function; None if it reads none."""
        return self._tensors.get(graph)

    def _shared(self, training: bool | tf.Tensor | None) -> tf.Tensor:
        graph = _outermost(tf.compat.v1.get_default_graph())
        if graph not in self._tensors:
            with graph.as_default():
                self._tensors[graph] = self._make()
        return self._tensors[graph]


@contextlib.contextmanager
def substituted(
    model: tf_keras.layers.Layer, makers: Mapping[str, Callable[[], tf.Tensor]]
) -> Iterator[dict[str, Made]]:
    """Within the context functions that are traced read what others return, in place of weights.

    Whoever calls the model in them, and however often: afterwards it is as it was.

    Args:
        model: a plain, built model.
        makers: for weight paths, functions that return a tensor of the weight's shape and dtype.

    Yields:
        What stands for each weight, by path.
    """
    weights = {weight.path: weight for weight in paths.weights(model)}
    places = {path: Made(weights[path], make) for path, make in makers.items()}
    withdraw = inject((weights[path], place) for path, place in places.items())
    try:
        yield places
    finally:
        withdraw()


def _outermost(graph: tf.Graph) -> tf.Graph:
    """The graph of the function that is traced; those of its loops and branches are within it."""
    outer = getattr(graph, "outer_graph", None)
    return graph if outer is None or not outer.building_function else _outermost(outer)
