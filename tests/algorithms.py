"""Every shipped algorithm with what it promises of a weight: the rows of the conformance suite."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from kwc import ops
from kwc.algorithms import (
    EPR,
    Clustering,
    EntropyConstrained,
    FastEPR,
    LilNetX,
    Lossless,
    LowRank,
    Pruning,
    Quantization,
    RateQuantization,
)
from kwc.compressor import WeightCompressor, WeightInfo
from kwc.schedules import Polynomial


@dataclasses.dataclass(frozen=True)
class Row:
    """An algorithm under test.

    Attributes:
        compressor: the algorithm or chain.
        promise: whether a decoded weight is what the hyperparameters ask for.
        tolerance: largest difference between project and decompress; 0 for bit-equal.
    """

    compressor: WeightCompressor
    promise: Callable[[np.ndarray, WeightInfo], bool]
    tolerance: float = 0.0

    def __str__(self) -> str:
        links = getattr(self.compressor, "links", (self.compressor,))
        return "-".join(link.name for link in links)


def distinct(most: int) -> Callable[[np.ndarray, WeightInfo], bool]:
    """At most so many different values."""
    return lambda weight, info: len(np.unique(weight)) <= most


def zeros(sparsity: float) -> Callable[[np.ndarray, WeightInfo], bool]:
    """At least this fraction of zeros, to the nearest element."""
    return lambda weight, info: np.sum(weight == 0) >= round(sparsity * info.size)


def levels(bits: int) -> Callable[[np.ndarray, WeightInfo], bool]:
    """In each output channel, at most `2 ** bits - 1` different values."""

    def promise(weight, info):
        columns = ops.to_matrix(ops.NumpyOps, weight, info).T
        return all(len(np.unique(column)) < 2**bits for column in columns)

    return promise


def steps_for(rate_weight: float) -> Callable[[np.ndarray, WeightInfo], bool]:
    """Whole numbers of the step for a distortion of half the squared error."""
    octaves = np.log2(12 * rate_weight / np.log(2)) / 2
    step = 2 ** (np.rint(8 * octaves) / 8)
    return lambda weight, info: np.allclose(weight / step, np.rint(weight / step), atol=1e-5)


def rank(fraction: float) -> Callable[[np.ndarray, WeightInfo], bool]:
    """At most this fraction of the full rank, rounded up."""

    def promise(weight, info):
        matrix = ops.to_matrix(ops.NumpyOps, weight, info)
        return np.linalg.matrix_rank(matrix, tol=1e-4) <= math.ceil(fraction * min(matrix.shape))

    return promise


def steps(weight: np.ndarray, info: WeightInfo) -> bool:
    """Whole multiples of one step, which is a power of two to an eighth."""
    magnitudes = np.unique(np.abs(weight[weight != 0]))
    exponents = np.arange(-128, 128) / 8
    return any(
        np.array_equal(magnitudes, np.rint(magnitudes / step) * step)
        for step in np.exp2(exponents).astype(np.float32)
        if step <= np.min(magnitudes, initial=1.0)
    )


def both(*promises: Callable) -> Callable[[np.ndarray, WeightInfo], bool]:
    return lambda weight, info: all(promise(weight, info) for promise in promises)


def anything(weight: np.ndarray, info: WeightInfo) -> bool:
    return True


ROWS = [
    Row(Lossless(), anything),
    Row(Clustering(clusters=4), distinct(4)),
    Row(Quantization(bits=2), levels(2)),
    Row(Quantization(bits=8), levels(8)),
    Row(Pruning(sparsity=0.5), zeros(0.5)),
    Row(Pruning(Polynomial(final=0.8), interval=2), zeros(0.8)),
    Row(LowRank(rank=0.5, least=1), rank(0.5), tolerance=1e-5),
    Row(EntropyConstrained(), steps),
    Row(Pruning(0.5) >> EntropyConstrained(), both(zeros(0.5), steps)),
    Row(EPR(), anything, tolerance=1e-5),
    Row(FastEPR(), anything, tolerance=1e-5),
    Row(LilNetX(), anything, tolerance=1e-5),
    Row(RateQuantization(rate_weight=1e-2), steps_for(1e-2)),
    Row(Pruning(0.5) >> Clustering(4), both(zeros(0.5), distinct(5))),
    Row(Pruning(0.5) >> Quantization(4), both(zeros(0.5), levels(4))),
    Row(Pruning(Polynomial(0.5), interval=2) >> Clustering(3), both(zeros(0.5), distinct(4))),
    Row(Pruning(0.5) >> RateQuantization(1e-2), both(zeros(0.5), steps_for(1e-2))),
    Row(LowRank(0.5, least=1) >> Quantization(4), rank(0.5), tolerance=1e-5),
    Row(LowRank(0.5, least=1) >> Pruning(0.5) >> Quantization(8), rank(0.5), tolerance=1e-5),
]

INFOS = [
    WeightInfo("dense/kernel", (16, 10)),
    WeightInfo("conv/kernel", (3, 3, 4, 8)),
    WeightInfo("depthwise/kernel", (3, 3, 6, 1), "float32", (0, 1), (2, 3)),
    WeightInfo("transposed/kernel", (3, 3, 8, 4), "float32", (0, 1, 3), (2,)),
    WeightInfo("einsum/kernel", (8, 2, 6), "float32", (0,), (1, 2)),
    WeightInfo("attention_output/kernel", (2, 6, 8), "float32", (0, 1), (2,)),
    WeightInfo("embedding/embeddings", (30, 8)),
    WeightInfo("lstm/cell/kernel", (5, 24)),
]
