"""A weight as the product of two thin matrices."""

import dataclasses
import math

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class LowRank(WeightCompressor):
    """Truncated singular value decomposition; both factors are trained.

    The weight is read as a matrix whose rows run over its input axes and whose columns run over
    its output axes: a `[kh, kw, in, out]` kernel is `[kh * kw * in, out]`. Rank `r` stores
    `r * (rows + columns)` numbers in place of `rows * columns`. Eckart and Young,
    "The approximation of one matrix by another of lower rank" (1936); Denil et al.,
    "Predicting parameters in deep learning" (arXiv:1306.0543).

    Attributes:
        rank: an int is the rank itself; a float in (0, 1] is the fraction of the full rank,
            rounded up.
        least: the least rank that a fraction stands for, or the full rank if that is smaller:
            small matrices, such as those of first and last layers, hold few bytes and much of the
            accuracy.
    """

    rank: int | float
    least: int = 8

    def _rank(self, info: WeightInfo) -> int:
        full = min(info.matrix_shape)
        if isinstance(self.rank, int):
            return self.rank
        # 0.07 of 100 is 7.000000000000001 in floating point.
        return max(math.ceil(round(self.rank * full, 6)), min(self.least, full))

    def check(self, info: WeightInfo) -> None:
        if not info.input_axes or not info.output_axes:
            raise CompressionError(
                f"LowRank takes weights with input and output axes; {info.path} has shape "
                f"{info.shape}. Give it another rule, for example None."
            )
        full = min(info.matrix_shape)
        is_rank = isinstance(self.rank, int) and 1 <= self.rank <= full
        is_fraction = isinstance(self.rank, float) and 0 < self.rank <= 1
        if not is_rank and not is_fraction:
            raise CompressionError(
                f"LowRank(rank={self.rank}) cannot be for {info.path}: as a matrix of "
                f"{info.matrix_shape} its rank is 1 to {full}. A float in (0, 1] is a fraction "
                "of that."
            )

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        rows, columns = info.matrix_shape
        return {"u": (rows, self._rank(info)), "v": (self._rank(info), columns)}

    def init(self, weight, info, step, statistics) -> Variables:
        rank = self._rank(info)
        matrix = kwc_ops.to_matrix(kwc_ops.NumpyOps, weight, info)
        u, s, v = np.linalg.svd(matrix, full_matrices=False)
        # The factors share the singular values, but a zero one leaves its row of `v` at norm 1: a
        # weight that starts at zero would otherwise have two zero factors, a saddle for ever.
        shared = np.where(s > 0, np.sqrt(s), 1.0)[:rank]
        return Variables(
            params={"u": u[:, :rank] * (s[:rank] / shared), "v": shared[:, None] * v[:rank]}
        )

    def project(self, v, info, training, seed):
        return kwc_ops.from_matrix(
            kwc_ops.TensorFlowOps, tf.matmul(v.params["u"], v.params["v"]), info
        )

    def compress(self, v, info):
        return {name: np.asarray(factor) for name, factor in v.params.items()}

    def decompress(self, ops, packed, info):
        return kwc_ops.from_matrix(ops, ops.matmul(packed["u"], packed["v"]), info)
