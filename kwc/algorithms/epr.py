"""A weight as latent integers, trained against their bits under a learned probability model."""

import dataclasses
from typing import ClassVar

import numpy as np

from kwc import fourier, priors
from kwc.compressor import Variables, WeightInfo


@dataclasses.dataclass(frozen=True)
class EPR(fourier.FourierLatents):
    """Entropy-penalized reparameterization: latent integers whose steps and density are learned.

    Oktay et al., "Scalable model compression by entropy penalized reparameterization"
    (arXiv:1906.06624), section 2; see `kwc.fourier.FourierLatents` for its latents. Each group of
    them, that of a frequency or the whole weight, has a probability model of its own, and is
    relaxed by uniform noise in the rate.

    The paper's probability model is a small network for each group. Here it is a logistic density
    with a learned scale. It serves training only: the artifact holds integers and steps.

    Attributes:
        step: initial step, as a multiple of the root mean square of the weight.
        step_rate: multiple of the optimizer's learning rate for the logarithms of the steps.
        freeze: fraction of the training after which a latent that is zero stays zero; 1 for never.
        settle: fraction of the training after which steps stay, at values that can be stored.
        scale_rate: the same for the logarithms of the densities' scales.
    """

    name: ClassVar[str] = "epr"

    scale_rate: float = 6.0

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        return super().param_shapes(info) | {"log_scale": (fourier.groups(info), 1)}

    def learning_rates(self, info: WeightInfo) -> dict[str, float]:
        return super().learning_rates(info) | {"log_scale": self.scale_rate}

    def init(self, weight, info, step, statistics) -> Variables:
        v = super().init(weight, info, step, statistics)
        params = v.params
        least = 0.01 * float(np.exp(params["log_step"][0, 0])) / self.step
        values = fourier.grouped(params["latents"], info)
        log_scale = priors.logistic_log_scale(values, least)
        return Variables(params | {"log_scale": log_scale}, v.state)

    def penalty(self, v, info, seed):
        values = fourier.grouped(v.params["latents"], info)
        return priors.logistic_bits(values, v.params["log_step"], v.params["log_scale"], seed)
