"""Post-training quantization whose decisions weigh second-order distortion against rate."""

import dataclasses
from typing import ClassVar

import numpy as np
from etils import epy

from kwc import latents
from kwc import ops as kwc_ops
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf

    from kwc import rate_distortion

_INPUT_DAMPING = 0.01
_OUTPUT_DAMPING = 0.05
_COLUMN_SCALING = 0.5


@dataclasses.dataclass(frozen=True)
class RateQuantization(WeightCompressor):
    """Rate-distortion optimized quantization, without training.

    Distortion is the second-order divergence of the model's outputs, with a Kronecker factor for
    the weight's inputs and one for its outputs (Martens and Grosse, arXiv:1503.05671). Elements
    are decided one after the other. Those that follow make up for the error of those before, as in
    OPTQ (Frantar et al., arXiv:2210.17323), and each weighs its distortion against its bits under
    an adaptive model of the levels, as in CERWU (Conzelmann and Bamler, arXiv:2505.18758). Without
    statistics both factors are the identity.

    Steps follow from theory for high rates: with distortion D e^2 / 2, a step of
    sqrt(12 rate_weight / (D ln 2)) is where one more bit is worth its price. The weight is not
    trained afterwards.

    Attributes:
        rate_weight: divergence in nats for each example that is worth one bit; above 0. One value
            serves all weights of a model.
    """

    statistics: ClassVar[tuple[str, ...]] = ("input_moment", "output_moment")
    file_fields: ClassVar = ()

    rate_weight: float

    def check(self, info: WeightInfo) -> None:
        if self.rate_weight is not None and not self.rate_weight > 0:
            raise CompressionError(
                f"RateQuantization(rate_weight={self.rate_weight}) cannot be for {info.path}: a "
                "number above 0, such as 1e-7."
            )

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        return {}

    def init(self, weight, info, step, statistics) -> Variables:
        rows, columns = info.matrix_shape
        matrix = kwc_ops.to_matrix(kwc_ops.NumpyOps, weight, info).astype(np.float64)
        inputs = damped(statistics.get("input_moment", np.ones(rows)), _INPUT_DAMPING)
        outputs = damped(statistics.get("output_moment", np.ones(columns)), _OUTPUT_DAMPING)
        exponents = self._exponents(inputs, outputs)
        if not info.input_axes:
            exponents = np.full_like(exponents, np.rint(exponents.mean()))
        levels = rate_distortion.quantize(
            matrix,
            inputs,
            outputs,
            latents.steps(kwc_ops.NumpyOps, exponents).astype(np.float64),
            self.rate_weight,
        )
        if not info.input_axes:
            exponents = exponents[:1]
        return Variables(
            state={
                "levels": kwc_ops.from_matrix(kwc_ops.NumpyOps, levels, info),
                "exponents": exponents,
            }
        )

    def _exponents(self, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """The steps of the columns, in eighths of octaves, int8."""
        distortion = np.log2(rate_distortion.factor(inputs)[1]).mean()
        by_column = np.log2(rate_distortion.factor(outputs)[1])
        distortion += by_column.mean() + _COLUMN_SCALING * (by_column - by_column.mean())
        step = (np.log2(12 * self.rate_weight / np.log(2)) - distortion) / 2
        return np.clip(np.rint(latents.STEPS_PER_OCTAVE * step), -128, 127).astype(np.int8)

    def project(self, v, info, training, seed):
        packed = {name: tf.convert_to_tensor(array) for name, array in v.state.items()}
        return self.decompress(kwc_ops.TensorFlowOps, packed, info)

    def compress(self, v, info):
        return {
            "levels": latents.as_integers(np.asarray(v.state["levels"])),
            "exponents": np.asarray(v.state["exponents"]),
        }

    def decompress(self, ops, packed, info):
        steps = kwc_ops.per_channel(ops, latents.steps(ops, packed["exponents"]), info)
        return ops.cast(packed["levels"], "float32") * steps


def damped(moment: np.ndarray, damping: float) -> np.ndarray:
    """Adds a fraction of the mean of the diagonal to it; a moment of zeros becomes the identity."""
    moment = moment.astype(np.float64)
    diagonal = np.einsum("ii->i", moment) if moment.ndim == 2 else moment
    diagonal += damping * diagonal.mean() if diagonal.any() else 1.0
    return moment
