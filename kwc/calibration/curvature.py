"""How much it matters that a model's outputs change: their second-order expansion, sampled.

The divergence between the model's predictions and those of a model whose outputs differ by d is
about d^T F d / 2. Here F is written as the expectation of v v^T over random v, so that gradients of
v^T outputs have the Gauss-Newton matrix of whatever they are taken for as their second moment.
Martens, "New insights and perspectives on the natural gradient method" (arXiv:1412.1193).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import tensorflow as tf

CATEGORICAL = "categorical"
NORMAL = "normal"

# Boxes that are chosen count no further back, as with the other kinds of non-maximum suppression,
# which TensorFlow itself declares so.
with contextlib.suppress(KeyError):
    tf.no_gradient("CombinedNonMaxSuppression")


def projection(
    outputs: Sequence[tf.Tensor], likelihood: str | None, temperature: float, seed: tf.Tensor
) -> tf.Tensor:
    """Returns the scalar v^T outputs for random v; other positions and examples are independent.

    Args:
        outputs: floating-point tensors, examples along the first axis.
        likelihood: what the outputs stand for. `categorical`: logits along the last axis, or
            probabilities that a softmax of the graph made of logits; `normal`: means of unit
            variance; None: categorical for a single output of more than one value, else normal.
        temperature: divides the logits; above 1, also what is far from a decision matters.
        seed: int32 tensor [2].
    """
    outputs = [_logits(x) if likelihood != NORMAL else x for x in outputs]
    if likelihood is None:
        single = len(outputs) == 1 and outputs[0].shape.rank >= 2 and outputs[0].shape[-1] != 1
        likelihood = CATEGORICAL if single else NORMAL
    terms = []
    for index, output in enumerate(outputs):
        output = tf.cast(output, tf.float32)
        signs = tf.sign(
            tf.random.stateless_uniform(tf.shape(output), tf.add(seed, [0, 1000 * index])) - 0.5
        )
        if likelihood == CATEGORICAL:
            p = tf.nn.softmax(output / temperature)
            scaled = tf.sqrt(p) * signs
            v = scaled - p * tf.reduce_sum(scaled, -1, keepdims=True)
        else:
            v = signs
        terms.append(tf.reduce_sum(output * tf.stop_gradient(v)))
    return tf.add_n(terms)


def _logits(output: tf.Tensor) -> tf.Tensor:
    """What a softmax made the output of, if it did."""
    operation = output.op
    while operation.type in ("Identity", "Cast"):
        operation = operation.inputs[0].op
    return operation.inputs[0] if operation.type == "Softmax" else output
