"""A learned probability model of latent integers, and the bits that they cost under it.

Each group of latents has a logistic density around 0 with a learned scale. The probability of a
level is the mass of its bin, which is one step wide. The model serves training only: it is not
stored, and the coders find their own.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from etils import epy

from kwc import ops as kwc_ops

with epy.lazy_imports():
    import tensorflow as tf

_LOG2 = math.log(2)
# Half a bin, in scales: beyond the upper end all probability is that of one level.
_NARROWEST, _WIDEST = 1e-6, 40.0


def logistic_log_scale(latents: np.ndarray, least: float) -> np.ndarray:
    """Returns the logarithm of the scale whose logistic density has each group's mean square.

    Args:
        latents: float array [groups, n].
        least: the least root mean square that a group is taken to have, above 0.

    Returns:
        Float array [groups, 1].
    """
    rms = np.sqrt(np.mean(np.square(latents), axis=1, keepdims=True))
    return np.log(np.maximum(rms, least) * math.sqrt(3) / math.pi)


def logistic_bits(
    latents: tf.Tensor, steps: tf.Tensor, log_scale: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Returns the bits of all levels `round(latents / steps)`, a scalar.

    Its gradient is that of a relaxation: uniform noise, one step wide, in place of rounding. Balle,
    Laparra and Simoncelli, "End-to-end optimized image compression" (arXiv:1611.01704).

    Args:
        latents: float32 tensor [groups, n].
        steps: width of the bins, float32 [groups, 1].
        log_scale: natural logarithm of the density's scale, float32 [groups, 1].
        seed: int32 tensor [2], for the noise.
    """

    @tf.custom_gradient
    def bits(*variables):
        def gradient(upstream):
            gradients = _relaxed_gradient()(*variables, seed, upstream)
            for value, variable in zip(gradients, variables, strict=True):
                value.set_shape(variable.shape)
            return gradients

        total = _total()(*variables)
        total.set_shape([])
        return total, gradient

    return bits(latents, steps, log_scale)


@functools.cache
def _total():
    """Returns the function of latents, steps and log-scales that sums the bits of the levels.

    With distance u from 0 and half a bin h, both in scales, the mass between u - h and u + h is
    `(1 - exp(-2h)) / ((1 + exp(u - h)) (1 + exp(-u - h)))`: the two sigmoids never cancel.
    """

    def total(latents, steps, log_scale):
        half = _half(steps, log_scale)
        distance = 2.0 * half * tf.abs(tf.round(latents / steps))
        near = tf.exp(-distance)
        nats = distance - half + tf.math.log1p(near * (2.0 * tf.cosh(half) + near))
        return tf.reduce_sum(nats - tf.math.log(-tf.math.expm1(-2.0 * half))) / _LOG2

    return kwc_ops.shared(total, tf.float32, tf.float32, tf.float32)


@functools.cache
def _relaxed_gradient():
    """Returns the function of the same, a seed and the upstream gradient that differentiates.

    One exponential for each latent, where automatic differentiation would take three.
    """

    def gradient(latents, steps, log_scale, seed, upstream):
        noise = tf.random.stateless_uniform(tf.shape(latents), seed, -0.5, 0.5)
        per_scale = tf.exp(-log_scale)
        half = _half(steps, log_scale)
        distance = (latents + steps * noise) * per_scale
        near = tf.exp(-tf.abs(distance))
        over = 1.0 / (1.0 + near * (2.0 * tf.cosh(half) + near))
        by_distance = tf.sign(distance) * (1.0 - near * near) * over
        count = tf.cast(tf.shape(latents)[1], tf.float32)
        empty = count + 2.0 * count / tf.math.expm1(2.0 * half)
        by_half = 2.0 * tf.sinh(half) * _sum(near * over) - empty
        by_half = tf.where((half > _NARROWEST) & (half < _WIDEST), by_half, 0.0)
        by_step = per_scale * (_sum(by_distance * noise) + 0.5 * by_half)
        by_log_scale = -_sum(by_distance * distance) - half * by_half
        nats = upstream / _LOG2
        return nats * per_scale * by_distance, nats * by_step, nats * by_log_scale

    float32 = tf.float32
    return kwc_ops.shared(gradient, float32, float32, float32, tf.int32, float32)


def _half(steps: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """Half a bin in scales."""
    return tf.clip_by_value(0.5 * steps * tf.exp(-log_scale), _NARROWEST, _WIDEST)


def _sum(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x, axis=1, keepdims=True)
