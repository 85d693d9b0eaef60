"""A weight as small integers times a scale."""

import dataclasses

import numpy as np
from etils import epy

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
                f"Quantization(bits={self.bits}) cannot be for {info.path}: a whole number from 2 "
                "to 8."
            )

    def init(self, weight, info, step) -> Variables:
        axes = reduced_axes(info)
        ratios = np.linspace(0.3, 1.0, 36, dtype=np.float32) / self._largest
        errors = []
        for ratio in ratios:
            scale = self._scale(weight, ratio, info)
            rounded = self._levels(weight, scale) * scale
            errors.append(tf.reduce_sum(tf.square(rounded - weight), axis=axes, keepdims=True))
        return Variables(
            params={"weight": weight}, state={"ratio": ratios[np.argmin(errors, axis=0)]}
        )

    def _scale(self, weight, ratio, info: WeightInfo):
        """The step between two levels, one a channel; above 0 where a channel is all zero."""
        peak = tf.reduce_max(tf.abs(weight), axis=reduced_axes(info), keepdims=True)
        return tf.maximum(peak, _TINY) * ratio

    def _levels(self, weight, scale):
        """The weight in whole steps, clipped to the levels that there are; float32."""
        return tf.clip_by_value(tf.round(weight / scale), -self._largest, self._largest)

    def project(self, v, info, training, seed):
        weight = v.params["weight"]
        fixed = tf.stop_gradient(weight)
        scale = self._scale(fixed, v.state["ratio"], info)
        # The difference is exactly 0; only its gradient counts.
        return self._levels(fixed, scale) * scale + (weight - fixed)

    def compress(self, v, info):
        scale = self._scale(v.params["weight"], v.state["ratio"], info)
        levels = self._levels(v.params["weight"], scale)
        return {"levels": levels.numpy().astype(np.int8), "scale": scale.numpy().ravel()}

    def decompress(self, ops, packed, info):
        axes = reduced_axes(info)
        shape = [1 if axis in axes else n for axis, n in enumerate(info.shape)]
        return ops.cast(packed["levels"], "float32") * ops.reshape(packed["scale"], shape)


def reduced_axes(info: WeightInfo) -> tuple[int, ...]:
    """The axes that share a scale: the input axes, or all axes of a weight without such."""
    return info.input_axes or info.output_axes
