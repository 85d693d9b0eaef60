"""Latent integers of weights: of a convolution's kernel, in the Fourier domain of its window."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np
from etils import epy

from kwc import latents
from kwc import ops as kwc_ops
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf

_LARGEST_WINDOW = 1024
_STEP_OF_ZEROS = 2.0**-6


@dataclasses.dataclass(frozen=True)
class FourierLatents(WeightCompressor):
    """What entropy-penalized reparameterization is without its probability model.

    Oktay et al., "Scalable model compression by entropy penalized reparameterization"
    (arXiv:1906.06624), section 2. The latents of a convolution kernel are its real discrete Fourier
    transform over the positions of its window; each frequency has a step of its own. Those of any
    other weight, also of a bias, are the weight itself, with one step. Latents are rounded straight
    through in the weight.

    Attributes:
        step: initial step, as a multiple of the root mean square of the weight.
        step_rate: multiple of the optimizer's learning rate for the logarithms of the steps.
        freeze: fraction of the training after which a latent that is zero stays zero; 1 for never.
        settle: fraction of the training after which steps stay, at values that can be stored; no
            later than `freeze`. Until then they are exact. With 1 they are ones that can be stored
            all the time, and never stay.
    """

    file_fields: ClassVar = ()

    step: float = 0.5
    step_rate: float = 6.0
    freeze: float = 1.0
    settle: float = 0.5

    def check(self, info: WeightInfo) -> None:
        given = [x for x in dataclasses.astuple(self) if x is not None]
        if given and (min(given) <= 0 or max(self.settle, self.freeze) > 1):
            raise CompressionError(
                f"{self} cannot be for {info.path}: all of these are above 0, settle and freeze at "
                "most 1."
            )

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        return {"latents": info.shape, "log_step": (groups(info), 1)}

    def learning_rates(self, info: WeightInfo) -> dict[str, float]:
        return {"log_step": self.step_rate}

    def init(self, weight, info, step, statistics) -> Variables:
        values = _transform(grouped(weight, info), info)
        scale = math.sqrt(np.mean(np.square(values))) or _STEP_OF_ZEROS / self.step
        log_step = np.full([groups(info), 1], math.log(self.step * scale), np.float32)
        params = {"latents": values.reshape(info.shape), "log_step": log_step}
        state = {}
        if self.settle < 1:
            state["settled"] = np.bool_(step.total == 0)
        if self.freeze < 1:
            state["keep"] = np.ones(values.shape, bool)
        return Variables(params, state)

    def project(self, v, info, training, seed):
        log_step = v.params["log_step"]
        steps = latents.training_steps(log_step, v.state.get("settled"), training)
        quantized = latents.quantize(grouped(v.params["latents"], info), log_step, steps)
        if "keep" in v.state:
            quantized = tf.where(v.state["keep"], quantized, 0.0)
        return tf.reshape(_inverse(kwc_ops.TensorFlowOps, quantized, info), info.shape)

    def update(self, v, info, step, gradients) -> Variables:
        params, state = dict(v.params), dict(v.state)
        if "settled" in state:
            params["log_step"], state["settled"] = latents.settle(
                params["log_step"], state["settled"], min(self.settle, self.freeze), step
            )
        if "keep" in state:
            values = grouped(params["latents"], info)
            state["keep"] = latents.kept(
                state["keep"], values, params["log_step"], self.freeze, step
            )
        return Variables(params, state)

    def compress(self, v, info):
        values = grouped(v.params["latents"], info)
        if "keep" in v.state:
            values = tf.where(v.state["keep"], values, 0.0)
        return latents.pack(values, v.params["log_step"], info.shape)

    def decompress(self, ops, packed, info):
        quantized = latents.unpack(ops, packed, groups(info))
        return ops.reshape(_inverse(ops, quantized, info), info.shape)


def groups(info: WeightInfo) -> int:
    """Returns the number of groups of latents: the frequencies of a window, or one."""
    return kwc_ops.size(_window(info))


def grouped(values, info: WeightInfo):
    """Reshapes a weight, or its latents, to `[groups, n]`: the window's axes lead."""
    ops = kwc_ops.NumpyOps if isinstance(values, np.ndarray) else kwc_ops.TensorFlowOps
    return ops.reshape(values, [groups(info), info.size // groups(info)])


@functools.cache
def fourier(window: tuple[int, ...]) -> np.ndarray:
    """Returns the matrix of the real discrete Fourier transform over positions.

    Row k holds the wave of frequency k, a cosine or, where -k comes before it, a sine.

    >>> fourier((3,)).round(3)
    array([[ 0.577,  0.577,  0.577],
           [ 0.816, -0.408, -0.408],
           [ 0.   , -0.707,  0.707]], dtype=float32)

    Args:
        window: lengths of the axes; frequencies and positions are numbered in C order.

    Returns:
        Orthonormal float32 array [positions, positions].
    """
    lengths = np.array(window)
    places = np.stack(np.unravel_index(np.arange(kwc_ops.size(window)), window), axis=1)
    phases = 2 * np.pi * (places / lengths) @ places.T
    number, opposite = np.arange(len(places)), np.ravel_multi_index((-places % lengths).T, window)
    waves = np.where((number <= opposite)[:, None], np.cos(phases), np.sin(phases))
    # Where a wave is its own opposite, it has no second one to share the energy with.
    energy = np.where(number == opposite, 1.0, 2.0)[:, None] / len(places)
    return (np.sqrt(energy) * waves).astype(np.float32)


def _window(info: WeightInfo) -> tuple[int, ...]:
    """The window that is transformed: none of more than 1024 positions."""
    window = latents.window(info)
    return window if 1 < kwc_ops.size(window) <= _LARGEST_WINDOW else ()


def _transform(grouped: np.ndarray, info: WeightInfo) -> np.ndarray:
    return np.matmul(fourier(_window(info)), grouped) if _window(info) else grouped


def _inverse(ops: kwc_ops.Ops, grouped, info: WeightInfo):
    return ops.matmul(fourier(_window(info)).T, grouped) if _window(info) else grouped
