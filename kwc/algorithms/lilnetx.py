"""A weight as latent integers, a learned linear decoder, and a prior on slices of latents."""

import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np
from etils import epy

from kwc import latents, priors
from kwc import ops as kwc_ops
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf

# A decoder has at most this fraction of the weight's elements, and is stored in these steps.
_LARGEST_DECODER = 1 / 8
_DECODER_STEP = 2.0**-6
_STEP_OF_ZEROS = 2.0**-6


@dataclasses.dataclass(frozen=True)
class LilNetX(WeightCompressor):
    """Latent integers under a learned linear decoder, with a prior that empties slices.

    Girish et al., "LilNetX: Lightweight networks with extreme model compression and structured
    sparsification" (arXiv:2204.02965), section 3. Each window of a convolution kernel, that of one
    input and one output channel, is a learned matrix times as many latents; any other weight is a
    learned step times its latents. As in EPR (arXiv:1906.06624), latents are rounded straight
    through in the weight, relaxed by noise in the rate, and have a learned density for each of the
    matrix's columns. A window that is zero has zero latents: the decoder adds nothing.

    The paper shares a decoder among all kernels of a window's size. Here each kernel has its own,
    which starts with the principal axes of its windows; a kernel so small that a matrix would be an
    eighth of it has a step for all of it. The paper's prior is on windows. Here, it is on rows of
    weights without one: what an input feeds.

    Attributes:
        step: initial step, as a multiple of the root mean square of the weight.
        slices: bits that the prior adds to a latent of a slice whose root mean square is one step.
        step_rate: multiple of the optimizer's learning rate for the logarithms of the steps.
        scale_rate: the same for the logarithms of the densities' scales.
        settle: fraction of the training after which steps stay, at values that can be stored. Until
            then they are exact. With 1 they are ones that can be stored all the time, and never
            stay.
    """

    name: ClassVar[str] = "lilnetx"
    file_fields: ClassVar = ()

    step: float = 0.5
    slices: float = 0.1
    step_rate: float = 6.0
    scale_rate: float = 6.0
    settle: float = 0.5

    def check(self, info: WeightInfo) -> None:
        if any(x is not None and x <= 0 for x in (self.step, self.step_rate, self.scale_rate)):
            raise CompressionError(f"{self} cannot be for {info.path}: step and rates are above 0.")
        if self.slices is not None and self.slices < 0:
            raise CompressionError(f"{self} cannot be for {info.path}: slices is 0 or above.")
        if self.settle is not None and not 0 < self.settle <= 1:
            raise CompressionError(f"{self} cannot be for {info.path}: settle is above 0 to 1.")

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        groups = _groups(info)
        shapes = {"latents": info.shape, "log_step": (groups, 1), "log_scale": (groups, 1)}
        return shapes | ({"decoder": (groups, groups)} if groups > 1 else {})

    def learning_rates(self, info: WeightInfo) -> dict[str, float]:
        return {"log_step": self.step_rate, "log_scale": self.scale_rate}

    def init(self, weight, info, step, statistics) -> Variables:
        values = np.reshape(weight, (_groups(info), -1))
        decoder = {}
        if _groups(info) > 1:
            axes = principal_axes(values)
            decoder = {"decoder": axes}
            values = np.linalg.solve(_DECODER_STEP * np.round(axes / _DECODER_STEP), values)
        rms = math.sqrt(np.mean(np.square(values))) or _STEP_OF_ZEROS / self.step
        log_scale = priors.logistic_log_scale(values, 0.01 * rms)
        return Variables(
            params={
                "latents": values.reshape(info.shape),
                "log_step": np.full_like(log_scale, math.log(self.step * rms)),
                "log_scale": log_scale,
                **decoder,
            },
            state={"settled": np.bool_(step.total == 0)} if self.settle < 1 else {},
        )

    def project(self, v, info, training, seed):
        grouped = tf.reshape(v.params["latents"], [_groups(info), -1])
        steps = latents.training_steps(v.params["log_step"], v.state.get("settled"), training)
        weight = latents.quantize(grouped, v.params["log_step"], steps)
        if "decoder" in v.params:
            levels = latents.round_through(v.params["decoder"] / _DECODER_STEP)
            weight = tf.matmul(levels * _DECODER_STEP, weight)
        return tf.reshape(weight, info.shape)

    def penalty(self, v, info, seed):
        grouped = tf.reshape(v.params["latents"], [_groups(info), -1])
        log_step = v.params["log_step"]
        bits = priors.logistic_bits(grouped, log_step, v.params["log_scale"], seed)
        if self.slices == 0 or not info.input_axes:
            return bits
        return bits + self.slices * _slice_norms(v.params["latents"], log_step, info)

    def update(self, v, info, step, gradients) -> Variables:
        if "settled" not in v.state:
            return v
        log_step, settled = latents.settle(
            v.params["log_step"], v.state["settled"], self.settle, step
        )
        return Variables(v.params | {"log_step": log_step}, {"settled": settled})

    def compress(self, v, info):
        grouped = tf.reshape(v.params["latents"], [_groups(info), -1])
        packed = latents.pack(grouped, v.params["log_step"], info.shape)
        if "decoder" in v.params:
            levels = tf.round(v.params["decoder"] / _DECODER_STEP)
            packed["decoder"] = latents.as_integers(levels)
        return packed

    def decompress(self, ops, packed, info):
        weight = latents.unpack(ops, packed, _groups(info))
        if _groups(info) > 1:
            weight = ops.matmul(ops.cast(packed["decoder"], "float32") * _DECODER_STEP, weight)
        return ops.reshape(weight, info.shape)


def principal_axes(values: np.ndarray) -> np.ndarray:
    """Returns the principal axes of the columns, those of the most energy first.

    >>> principal_axes(np.array([[0.0, 1.0], [3.0, 0.0]], np.float32))
    array([[0., 1.],
           [1., 0.]], dtype=float32)

    Args:
        values: float32 array [positions, n].

    Returns:
        Float32 array [positions, positions], whose columns are orthonormal; the largest entry of
        each is positive.
    """
    _, axes = np.linalg.eigh(values.astype(np.float64) @ values.T)
    axes = axes[:, ::-1]
    largest = np.take_along_axis(axes, np.argmax(np.abs(axes), axis=0)[None], axis=0)
    return (axes * np.sign(largest)).astype(np.float32)


def _groups(info: WeightInfo) -> int:
    """Number of latents that a decoder mixes: the positions of a window, or 1."""
    positions = kwc_ops.size(latents.window(info))
    return positions if positions**2 <= _LARGEST_DECODER * info.size else 1


def _slice_norms(values, log_step, info: WeightInfo):
    """Returns 0 with the gradient of a prior: it trains, and the bits that are told lack it.

    The prior is the sum over slices of their number of latents times their root mean square in
    steps, which are taken as they are.
    """
    window = latents.window(info)
    axes = tuple(range(len(window))) or info.output_axes
    length = kwc_ops.size([info.shape[axis] for axis in axes])
    shape = (*window, 1, 1) if _groups(info) > 1 else (1,) * len(info.shape)

    @tf.custom_gradient
    def norms(values):
        def gradient(upstream):
            steps = tf.reshape(log_step, shape)
            by_values = _norms_gradient(axes)(values, steps, math.sqrt(length) * upstream)
            by_values.set_shape(info.shape)
            return by_values

        return tf.zeros([]), gradient

    return norms(values)


@functools.cache
def _norms_gradient(axes: tuple[int, ...]):
    def gradient(values, log_step, upstream):
        per_step = tf.exp(-log_step)
        in_steps = values * per_step
        energy = tf.reduce_sum(tf.square(in_steps), axis=axes, keepdims=True)
        # Rounded up, so that the gradient is finite where a slice is zero.
        return in_steps * (upstream * tf.math.rsqrt(energy + 1e-6)) * per_step

    return kwc_ops.shared(gradient, tf.float32, tf.float32, tf.float32)
