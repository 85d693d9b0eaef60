"""Probability models of latent integers, and the bits that they cost under them.

They serve training only: none is stored, and the coders find their own. Under the logistic one each
group of latents has a logistic density around 0 with a learned scale, and the probability of a
level is the mass of its bin, which is one step wide. The power law is fixed.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from etils import epy

from kwc import latents as kwc_latents
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
    latents: tf.Tensor, log_step: tf.Tensor, log_scale: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Returns the bits of all levels `round(latents / step)`, a float32 scalar.

    Its gradient is that of a relaxation: uniform noise, one step wide, in place of rounding. Balle,
    Laparra and Simoncelli, "End-to-end optimized image compression" (arXiv:1611.01704).

    Args:
        latents: float32 tensor [groups, n].
        log_step: natural logarithm of the step, the width of a bin, float32 [groups, 1].
        log_scale: natural logarithm of the density's scale, float32 [groups, 1].
        seed: int32 tensor [2], for the noise.
    """

    @tf.custom_gradient
    def bits(*variables):
        def gradient(upstream):
            return kwc_ops.shaped(_relaxed_gradient()(*variables, seed, upstream), variables)

        total = _total()(*variables)
        total.set_shape([])
        return total, gradient

    return bits(latents, log_step, log_scale)


def power_law_bits(latents: tf.Tensor, log_step: tf.Tensor, offset: float) -> tf.Tensor:
    """Returns `sum(log2((abs(latents / steps) + offset) / offset))`, a scalar.

    They are bits up to a constant factor: those of an Elias gamma code of the magnitudes go by
    twice their logarithms.

    Args:
        latents: float32 tensor [groups, n].
        log_step: natural logarithms of the steps, float32 [groups, 1].
        offset: added to the magnitudes, above 0.
    """

    @tf.custom_gradient
    def bits(latents, log_step):
        def gradient(upstream):
            gradients = _power_law_gradient(offset)(latents, log_step, upstream)
            return kwc_ops.shaped(gradients, (latents, log_step))

        total = _power_law(offset)(latents, log_step)
        total.set_shape([])
        return total, gradient

    return bits(latents, log_step)


@functools.cache
def _power_law(offset: float):
    def total(latents, log_step):
        magnitudes = tf.abs(latents) / kwc_latents.learned_steps(log_step)
        return tf.reduce_sum(tf.math.log1p(magnitudes / offset)) / _LOG2

    return kwc_ops.shared(total, tf.float32, tf.float32)


@functools.cache
def _power_law_gradient(offset: float):
    def gradient(latents, log_step, upstream):
        floor = offset * kwc_latents.learned_steps(log_step)
        by_latents = tf.sign(latents) * ((upstream / _LOG2) / (tf.abs(latents) + floor))
        return by_latents, -_sum(by_latents * latents)

    return kwc_ops.shared(gradient, tf.float32, tf.float32, tf.float32)


@functools.cache
def _total():
    """Returns the function of latents, log-steps and log-scales that sums the bits of the levels.

    With distance u from 0 and half a bin h, both in scales, the mass between u - h and u + h is
    `(1 - exp(-2h)) / ((1 + exp(u - h)) (1 + exp(-u - h)))`: the two sigmoids never cancel.
    """

    def total(latents, log_step, log_scale):
        steps = kwc_latents.learned_steps(log_step)
        half = _half(steps, log_scale)
        distance = 2.0 * half * tf.abs(tf.round(latents / steps))
        near = tf.exp(-distance)
        nats = distance - half + tf.math.log1p(near * (2.0 * tf.cosh(half) + near))
        return tf.reduce_sum(nats - tf.math.log(-tf.math.expm1(-2.0 * half))) / _LOG2

    return kwc_ops.shared(total, tf.float32, tf.float32, tf.float32)


@functools.cache
def _relaxed_gradient():
    """Returns the function of the same, a seed and the upstream gradient that differentiates.

    All groups share their noise, which takes long to draw. With the edges u and v of the bin around
    a relaxed level and its width w, all in twice the scale, the mass in the bin is
    `sinh(w) / (2 cosh(u) cosh(v))`, so that one hyperbolic tangent for each edge gives all
    derivatives, and none overflows.
    """

    def gradient(latents, log_step, log_scale, seed, upstream):
        count = tf.shape(latents)[1]
        noise = tf.random.stateless_uniform([1, count], seed)
        width = _half(tf.exp(log_step), log_scale)
        per_scale = 0.5 * tf.exp(-log_scale)
        upper = latents * per_scale + width * noise
        by_lower = tf.tanh(upper - width)
        by_both = tf.tanh(upper) + by_lower
        edges = _sum(by_both * noise) - _sum(by_lower)
        by_log_step = width * (edges - tf.cast(count, tf.float32) / tf.tanh(width))
        by_log_scale = -per_scale * _sum(by_both * latents) - by_log_step
        nats = upstream / _LOG2
        return nats * per_scale * by_both, nats * by_log_step, nats * by_log_scale

    float32 = tf.float32
    return kwc_ops.shared(gradient, float32, float32, float32, tf.int32, float32)


def _half(steps: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """Half a bin in scales."""
    return tf.clip_by_value(0.5 * steps * tf.exp(-log_scale), _NARROWEST, _WIDEST)


def _sum(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x, axis=1, keepdims=True)
