"""A weight as small integers times a scale."""

import dataclasses
import functools

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf

_TINY = 1e-30


@dataclasses.dataclass(frozen=True)
class Quantization(WeightCompressor):
    """Symmetric uniform quantization with one scale for each output channel.

    The integers are -m..m with `m = 2 ** (bits - 1) - 1`. The scale follows the largest magnitude
    of its channel, times the clipping ratio that had the least squared error on the pretrained
    weight. Rounding and clipping pass gradients straight through: Bengio et al.,
    "Estimating or propagating gradients through stochastic neurons" (arXiv:1308.3432);
    Krishnamoorthi, "Quantizing deep convolutional networks" (arXiv:1806.08342), sections 2 and 3.

    Attributes:
        bits: width of the integers, 2 to 8.
    """

    bits: int

    @property
    def _largest(self) -> int:
        return 2 ** (self.bits - 1) - 1

    def check(self, info: WeightInfo) -> None:
        if self.bits not in range(2, 9):
            raise CompressionError(
                f"{self} cannot be for {info.path}: bits must be a whole number from 2 to 8."
            )

    def init(self, weight, info, step, statistics) -> Variables:
        axes = reduced_axes(info)
        ratios = np.linspace(0.3, 1.0, 36, dtype=np.float32) / self._largest
        errors = []
        for ratio in ratios:
            levels, scale = quantize(weight, ratio, self._largest, axes)
            error = tf.square(levels * scale - weight)
            errors.append(tf.reduce_sum(error, axis=axes, keepdims=True))
        return Variables(
            params={"weight": weight}, state={"ratio": ratios[np.argmin(errors, axis=0)]}
        )

    def project(self, v, info, training, seed):
        weight = v.params["weight"]
        fixed = tf.stop_gradient(weight)
        rounded = _round(self._largest, reduced_axes(info))(fixed, v.state["ratio"])
        rounded.set_shape(info.shape)
        # The difference is exactly 0; only its gradient counts.
        return rounded + (weight - fixed)

    def compress(self, v, info):
        weight, ratio = v.params["weight"], v.state["ratio"]
        levels, scale = quantize(weight, ratio, self._largest, reduced_axes(info))
        return {"levels": levels.numpy().astype(np.int8), "scale": scale.numpy().ravel()}

    def decompress(self, ops, packed, info):
        scale = kwc_ops.per_channel(ops, packed["scale"], info)
        return ops.cast(packed["levels"], "float32") * scale


def reduced_axes(info: WeightInfo) -> tuple[int, ...]:
    """The axes that share a scale: the input axes, or all axes of a weight without such."""
    return info.input_axes or info.output_axes


def quantize(weight, ratio, largest: int, axes: tuple[int, ...]):
    """Returns the weight in whole steps, from -largest to largest, and the size of a step.

    Args:
        weight: float32 tensor.
        ratio: step as a fraction of the largest magnitude over `axes`, float32.
        largest: highest level.
        axes: axes that share a step.

    Returns:
        Levels, float32 of the weight's shape, and steps, float32 of length 1 along `axes`, above 0
        even where a channel is all zero.
    """
    peak = tf.reduce_max(tf.abs(weight), axis=axes, keepdims=True)
    scale = tf.maximum(peak, _TINY) * ratio
    return tf.clip_by_value(tf.round(weight / scale), -largest, largest), scale


@functools.cache
def _round(largest: int, axes: tuple[int, ...]):
    """Returns the function of weight and ratio that rounds to levels and scales them back."""

    def rounded(weight, ratio):
        levels, scale = quantize(weight, ratio, largest, axes)
        return levels * scale

    return kwc_ops.shared(rounded, tf.float32, tf.float32)
