"""A weight with its smallest elements set to zero."""

import dataclasses

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc import schedules
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Pruning(WeightCompressor):
    """Magnitude pruning: a mask of the largest elements, drawn anew while the sparsity grows.

    Zhu and Gupta, "To prune, or not to prune" (arXiv:1710.01878).

    Attributes:
        sparsity: fraction of the elements that are zero, in [0, 1): a number, or a schedule such as
            `kwc.schedules.Polynomial(final=0.8)`. A number prunes once, at the start.
        interval: number of steps between two masks; one more is drawn when the schedule ends.
    """

    sparsity: float | schedules.Schedule
    interval: int = 50

    def check(self, info: WeightInfo) -> None:
        final = getattr(self.sparsity, "final", self.sparsity)
        if not isinstance(final, int | float) or not 0 <= final < 1:
            raise CompressionError(
                f"Pruning(sparsity={final}) cannot be for {info.path}: a fraction in [0, 1)."
            )

    def init(self, weight, info, step) -> Variables:
        sparsity = schedules.as_schedule(self.sparsity)(step)
        mask = largest(tf.constant(weight), sparsity).numpy()
        return Variables(params={"weight": weight * mask}, state={"mask": mask})

    def project(self, v, info, training, seed):
        return kwc_ops.TensorFlowOps.where(v.state["mask"], v.params["weight"])

    def update(self, v, info, step, gradients) -> Variables:
        sparsity = schedules.as_schedule(self.sparsity)
        last = sparsity.last_change(step.total)
        due = (step.index <= last) & ((step.index % self.interval == 0) | (step.index == last))
        mask = tf.cond(
            due,
            lambda: largest(v.params["weight"], sparsity(step)),
            lambda: tf.identity(v.state["mask"]),
        )
        return Variables(v.params, {"mask": mask})

    def compress(self, v, info):
        return {name: np.asarray(array) for name, array in (v.params | v.state).items()}

    def decompress(self, ops, packed, info):
        return ops.where(packed["mask"], packed["weight"])


def largest(weight, sparsity):
    """Returns a bool mask of the elements that stay: all but `sparsity` of them, by magnitude.

    Of equal magnitudes the earlier in row-major order go first, so the count is exact.

    Args:
        weight: float32 tensor.
        sparsity: fraction in [0, 1), a float or a scalar tensor; the number of zeros is rounded.
    """
    magnitude = tf.abs(tf.reshape(weight, [-1]))
    zeros = tf.cast(tf.round(tf.cast(sparsity, tf.float32) * magnitude.shape[0]), tf.int32)
    position = tf.math.invert_permutation(tf.argsort(magnitude, stable=True))
    return tf.reshape(position >= zeros, weight.shape)
