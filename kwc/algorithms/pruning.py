"""A weight with its smallest elements set to zero."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc import schedules
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf

_INFINITY = 0x7F800000  # The bits of the float.


@dataclasses.dataclass(frozen=True)
class Pruning(WeightCompressor):
    """Magnitude pruning: a mask of the largest elements, drawn anew while the sparsity grows.

    Zhu and Gupta, "To prune, or not to prune" (arXiv:1710.01878).

    Attributes:
        sparsity: fraction of the elements that are zero, in [0, 1): a number, or a schedule such as
            `kwc.schedules.Polynomial(final=0.8)`. A number prunes once, at the start.
        interval: number of steps between two masks; one more is drawn when the schedule ends.
    """

    file_fields: ClassVar = ("sparsity",)

    sparsity: float | schedules.Schedule
    interval: int = 50

    def check(self, info: WeightInfo) -> None:
        final = getattr(self.sparsity, "final", self.sparsity)
        if not isinstance(final, int | float) or not 0 <= final < 1:
            raise CompressionError(
                f"Pruning(sparsity={final}) cannot be for {info.path}: a fraction in [0, 1)."
            )

    def init(self, weight, info, step, statistics) -> Variables:
        sparsity = schedules.as_schedule(self.sparsity)(step)
        mask = largest(tf.constant(weight), sparsity).numpy()
        return Variables(params={"weight": weight * mask}, state={"mask": mask})

    def project(self, v, info, training, seed):
        # A choice has a gradient of several times the operations, and takes longer to trace.
        return v.params["weight"] * tf.cast(v.state["mask"], tf.float32)

    def update(self, v, info, step, gradients) -> Variables:
        if schedules.as_schedule(self.sparsity).last_change(step.total) == 0:
            return v
        mask = _redraw(self, step.total)(step.index, v.state["mask"], v.params["weight"])
        return Variables(v.params, {"mask": mask})

    def compress(self, v, info):
        return {name: np.asarray(array) for name, array in (v.params | v.state).items()}

    def decompress(self, ops, packed, info):
        return ops.where(packed["mask"], packed["weight"])


@functools.cache
def _redraw(pruning: Pruning, total: int):
    """Returns the function of step, mask and weight that draws the mask anew where that is due."""
    sparsity = schedules.as_schedule(pruning.sparsity)
    last = sparsity.last_change(total)

    # A call of its own, which costs a step nothing, nor its first run, until a mask is due.
    draw = kwc_ops.shared(largest, tf.float32, tf.TensorSpec([], tf.float32))

    def redraw(index, mask, weight):
        due = (index <= last) & ((index % pruning.interval == 0) | (index == last))
        step = schedules.Step(index, total)
        return tf.cond(due, lambda: draw(weight, sparsity(step)), lambda: tf.identity(mask))

    return kwc_ops.shared(redraw, tf.TensorSpec([], tf.int64), tf.bool, tf.float32)


def largest(weight, sparsity):
    """Returns a bool mask of the elements that stay: all but `sparsity` of them, by magnitude.

    Of equal magnitudes the earlier in row-major order go first, so the count is exact.

    Args:
        weight: float32 tensor.
        sparsity: fraction in [0, 1), a float or a scalar tensor; the number of zeros is rounded.
    """
    magnitude = tf.abs(tf.reshape(weight, [-1]))
    size = tf.cast(tf.size(magnitude), tf.float32)
    zeros = tf.cast(tf.round(tf.cast(sparsity, tf.float32) * size), tf.int32)
    threshold, rank = smallest(magnitude, zeros)
    ties = rank == threshold
    spare = zeros - count(rank < threshold)
    gone = (rank < threshold) | (ties & (tf.cumsum(tf.cast(ties, tf.int32)) <= spare))
    return tf.reshape(~gone, tf.shape(weight))


def smallest(magnitude, number):
    """Returns the least threshold that at least `number` elements do not exceed.

    Non-negative floats are ordered as the integers of the same bits, so that halving the range of
    integers finds it in 31 passes, several times faster than sorting.

    Args:
        magnitude: float32 tensor [n] of non-negative finite values.
        number: int32 scalar tensor, at most n.

    Returns:
        The threshold, an int32 scalar tensor, and the elements to compare with it, int32 [n].
    """
    rank = tf.bitcast(magnitude, tf.int32)

    def halve(low, high):
        middle = low + (high - low) // 2
        enough = count(rank <= middle) >= number
        return tf.where(enough, low, middle + 1), tf.where(enough, middle, high)

    bounds = [tf.zeros([], tf.int32), tf.constant(_INFINITY)]
    threshold, _ = tf.while_loop(lambda low, high: low < high, halve, bounds)
    return threshold, rank


def count(condition):
    """Returns how many elements of a bool tensor are true, an int32 scalar tensor."""
    return tf.reduce_sum(tf.cast(condition, tf.int32))
