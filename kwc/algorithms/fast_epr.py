"""A weight as latent integers, trained against their bits under a power law."""

import dataclasses
from typing import ClassVar

from kwc import fourier, priors


@dataclasses.dataclass(frozen=True)
class FastEPR(fourier.FourierLatents):
    """Entropy-penalized reparameterization with a fixed prior, for cheap training.

    The form of `tensorflow_model_optimization`'s FastEPR, after Mitchell et al., "Optimizing the
    communication-accuracy trade-off in federated learning with rate-distortion theory"
    (arXiv:2201.02664): latents as in `kwc.fourier.FourierLatents`, their probability a power law of
    their magnitude, so that nothing but steps is learned beside them, and no noise is drawn.

    Attributes:
        step: initial step, as a multiple of the root mean square of the weight.
        step_rate: multiple of the optimizer's learning rate for the logarithms of the steps.
        freeze: fraction of the training after which a latent that is zero stays zero; 1 for never.
        settle: fraction of the training after which steps stay, at values that can be stored.
        offset: added to magnitudes, in steps, so that the gradient at 0 is finite.
    """

    name: ClassVar[str] = "fast_epr"

    offset: float = 0.01

    def penalty(self, v, info, seed):
        values = fourier.grouped(v.params["latents"], info)
        return priors.power_law_bits(values, v.params["log_step"], self.offset)
