"""Latent integers: what algorithms share that train small integers against their code length.

A weight is `step * round(weight / step)`. Its step is a power of two to an eighth, of which the
artifact stores the exponent in one byte.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc.ops import Ops
from kwc.schedules import Step

with epy.lazy_imports():
    import tensorflow as tf

STEPS_PER_OCTAVE = 8
_STEPS = np.exp2(np.arange(-128, 128) / STEPS_PER_OCTAVE).astype(np.float32)


def straight_through(exact: tf.Tensor, differentiable: tf.Tensor) -> tf.Tensor:
    """Returns the value of the first tensor with the gradient of the second.

    Bengio et al., "Estimating or propagating gradients through stochastic neurons"
    (arXiv:1308.3432). Float32 tensors of one shape.
    """
    fixed = tf.stop_gradient(differentiable)
    # The difference is exactly 0; only its gradient counts.
    return tf.stop_gradient(exact) + (differentiable - fixed)


def round_through(x: tf.Tensor) -> tf.Tensor:
    """Rounds to whole numbers, ties to even, and passes the gradient through unchanged."""
    return straight_through(tf.round(x), x)


def exponents(log_step: tf.Tensor) -> tf.Tensor:
    """Returns the eighths of an octave that the artifact stores for natural logarithms of steps.

    Args:
        log_step: float32 tensor of any shape.

    Returns:
        Whole numbers from -128 to 127 in a float32 tensor: steps from 2**-16 to 2**15.875.
    """
    return tf.clip_by_value(tf.round(log_step * (STEPS_PER_OCTAVE / math.log(2))), -128, 127)


def steps(ops: Ops, exponent: Any) -> Any:
    """Returns the step of each exponent, `2 ** (exponent / 8)`, float32 and bit-equal everywhere.

    Args:
        ops: NumPy's or TensorFlow's operations.
        exponent: int8 array of any shape.
    """
    return ops.gather(_STEPS, ops.cast(exponent, "int32") + 128)


def learned_steps(log_step: tf.Tensor) -> tf.Tensor:
    """Returns the steps that will be stored, with the gradient of `exp(log_step)`.

    Args:
        log_step: float32 tensor of any shape, the natural logarithms that are trained.
    """

    @tf.custom_gradient
    def stored(log_step):
        exact = tf.gather(_STEPS, tf.cast(exponents(log_step), tf.int32) + 128)
        return exact, lambda upstream: upstream * exact

    return stored(log_step)


def training_steps(
    log_step: tf.Tensor, settled: tf.Tensor | None, training: bool | tf.Tensor | None
) -> tf.Tensor:
    """Returns the steps that a forward pass rounds by, without a gradient.

    Where a step crosses from one value that can be stored to the next, by 9 %, all latents near
    half a step change at once, and training swings to and fro. So it goes by exact steps until
    they settle; see `settle`.

    Args:
        log_step: float32 tensor of any shape, the natural logarithms that are trained.
        settled: bool scalar tensor; None if they are from the start.
        training: whether the model trains.
    """
    if settled is None or training is None or training is False:
        return learned_steps(log_step)
    is_exact = tf.logical_and(training, tf.logical_not(settled))
    return _training_steps()(log_step, is_exact)


@functools.cache
def _training_steps():
    def training_steps(log_step, is_exact):
        return tf.where(is_exact, tf.exp(log_step), learned_steps(log_step))

    return kwc_ops.shared(training_steps, tf.float32, tf.TensorSpec([], tf.bool))


def settle(
    log_step: tf.Tensor, settled: tf.Tensor, fraction: float, step: Step
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns steps and whether they are settled, after an optimizer step.

    From a fraction of the training on they stay at the values that can be stored.

    Args:
        log_step: float32 tensor of any shape, the natural logarithms that are trained.
        settled: bool scalar tensor.
        fraction: of the training, in (0, 1).
        step: the optimizer step.
    """
    if step.total == 0:
        return log_step, settled
    settled = tf.logical_or(settled, step.index >= math.ceil(fraction * step.total))
    stored = exponents(log_step) * (math.log(2) / STEPS_PER_OCTAVE)
    return tf.where(settled, stored, log_step), settled


def quantize(latents: tf.Tensor, log_step: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """Returns `step * round(latents / step)`, rounded straight through in latents and steps.

    The gradient is that of `round_through` and `learned_steps`: a latent takes it as it comes, the
    logarithm of a step times what rounding added to the latents that share it.

    Args:
        latents: float32 tensor [groups, n].
        log_step: natural logarithms of the steps, float32 [groups, 1].
        steps: what to round by, float32 [groups, 1]; see `training_steps`.
    """

    @tf.custom_gradient
    def quantized(latents, log_step):
        value = _quantized()(latents, steps)
        value.set_shape(latents.shape)

        def gradient(upstream):
            return upstream, tf.reduce_sum(upstream * (value - latents), axis=1, keepdims=True)

        return value, gradient

    return quantized(latents, log_step)


@functools.cache
def _quantized():
    def quantized(latents, steps):
        return tf.round(latents / steps) * steps

    return kwc_ops.shared(quantized, tf.float32, tf.float32)


def kept(
    keep: tf.Tensor, latents: tf.Tensor, log_step: tf.Tensor, freeze: float, step: Step
) -> tf.Tensor:
    """Returns which latents may be other than zero, a bool tensor of their shape.

    That is `keep` at all steps but at the fraction `freeze` of the training. There it becomes those
    whose level is not zero. It is `keep` throughout where `freeze` is 1 or nothing is trained.

    Args:
        keep: bool tensor of the shape of the latents.
        latents: float32 tensor.
        log_step: natural logarithms of the steps, float32, of a shape that broadcasts to that.
        freeze: a fraction of the training, in (0, 1].
        step: the optimizer step.
    """
    if freeze == 1 or step.total == 0:
        return keep
    due = step.index == math.ceil(freeze * step.total)
    return _nonzeros()(due, keep, latents, learned_steps(log_step))


@functools.cache
def _nonzeros():
    def nonzeros(due, keep, latents, steps):
        return tf.cond(due, lambda: tf.round(latents / steps) != 0.0, lambda: tf.identity(keep))

    due = tf.TensorSpec([], tf.bool)
    return kwc_ops.shared(nonzeros, due, tf.bool, tf.float32, tf.float32)


def pack(latents: tf.Tensor, log_step: tf.Tensor, shape: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns the arrays that stand for `quantize(latents, log_step)`.

    Args:
        latents: float32 tensor [groups, n].
        log_step: float32 [groups, 1].
        shape: that of the weight, which the levels take.

    Returns:
        `levels`, integers of `shape`, and `exponents`, int8 [groups].
    """
    levels = tf.round(latents / learned_steps(log_step))
    return {
        "levels": as_integers(levels).reshape(shape),
        "exponents": exponents(log_step).numpy().astype(np.int8).ravel(),
    }


def unpack(ops: Ops, packed: Mapping[str, Any], groups: int) -> Any:
    """Returns the quantized latents, float32 [groups, n], from what `pack` returned."""
    levels = ops.reshape(ops.cast(packed["levels"], "float32"), [groups, -1])
    return levels * ops.reshape(steps(ops, packed["exponents"]), [groups, 1])


def window(info) -> tuple[int, ...]:
    """Returns the lengths of the axes of a convolution kernel that run over positions, else `()`.

    A kernel is a weight of 4 axes or more that is summed over all of them but two. One of 3 axes
    looks like a projection of attention, and counts as none.

    >>> from kwc.compressor import WeightInfo
    >>> window(WeightInfo("conv2d/kernel", (5, 3, 20, 50)))
    (5, 3)
    >>> window(WeightInfo("dense/kernel", (784, 300)))
    ()
    """
    leading = range(len(info.shape) - 2)
    is_kernel = len(leading) >= 2 and set(leading) <= set(info.input_axes)
    return tuple(info.shape[axis] for axis in leading) if is_kernel else ()


def as_integers(levels: Any) -> np.ndarray:
    """Returns whole numbers in the narrowest of int8, int16 and int32 that holds them.

    Raises:
        OverflowError: a number is beyond int32.
    """
    levels = np.asarray(levels)
    largest = np.max(np.abs(levels), initial=0)
    for dtype in (np.int8, np.int16, np.int32):
        if largest <= np.iinfo(dtype).max:
            return levels.astype(dtype)
    raise OverflowError(f"A level of {largest:g} does not fit into 32 bits.")
