"""Multiply-adds of a model, counted by Model Garden's profiler on the shapes of the task's data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import train_utils

_FLOPS_PER_MAC = 2


def count(model: tf_keras.Model, batch: Any) -> int | None:
    """Counts the multiply-adds of one example.

    What the model computes is counted, so weights that are zero or stored as factors count in full.

    Args:
        model: a model with inputs, its weights plain.
        batch: the element spec of the data set that the model is evaluated on. It fixes axes that
            the model leaves open, such as the length of a sentence.

    Returns:
        Multiply-adds, or None where the model declares no inputs, an axis stays open, or the
        profiler cannot follow the model.
    """
    inputs = _inputs(model, batch)
    if not inputs or not all(spec.shape.is_fully_defined() for spec in inputs):
        return None
    flops = train_utils.try_count_flops(_OfFixedShape(model, inputs))
    return flops // _FLOPS_PER_MAC if flops else None


@dataclasses.dataclass(frozen=True)
class _OfFixedShape:
    """What Model Garden's profiler asks of a model."""

    model: tf_keras.Model
    inputs: list[tf.TensorSpec]

    def __call__(self, inputs: list[tf.Tensor]) -> Any:
        return self.model(inputs)


def _inputs(model: tf_keras.Model, batch: Any) -> list[tf.TensorSpec]:
    """Returns the spec of one example of each input."""
    features = batch[0] if isinstance(batch, tuple) else batch
    declared = getattr(model, "inputs", None) or []
    specs = []
    for tensor in declared:
        shape = tensor.shape
        fed = features.get(tensor.name) if isinstance(features, Mapping) else features
        if isinstance(fed, tf.TensorSpec) and shape.is_compatible_with(fed.shape):
            shape = shape.merge_with(fed.shape)
        specs.append(tf.TensorSpec([1, *shape[1:]], tensor.dtype))
    return specs
