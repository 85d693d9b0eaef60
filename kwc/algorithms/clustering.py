"""A weight as a codebook of few values and an index for each element."""

import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc.compressor import CompressionError, Variables, WeightCompressor, WeightInfo

with epy.lazy_imports():
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Clustering(WeightCompressor):
    """K-means over the elements of the weight; the centroids are trained, the assignments stay.

    Han et al., "Deep Compression" (arXiv:1510.00149), section 3: the gradient of a centroid is
    the sum of the gradients of its elements, and centroids start evenly spaced over the range.
    Elements that are exactly 0 do not pull centroids: they come from an earlier pruning.

    Attributes:
        clusters: size of the codebook, 2 or more; a weight with fewer elements has one of its size.
        iterations: the most rounds of k-means.
    """

    file_fields: ClassVar = ("clusters",)

    clusters: int
    iterations: int = 50

    def check(self, info: WeightInfo) -> None:
        if not isinstance(self.clusters, int) or self.clusters < 2:
            raise CompressionError(
                f"Clustering(clusters={self.clusters}) cannot be for {info.path} of shape "
                f"{info.shape}: a whole number of 2 or more."
            )

    def _size(self, info: WeightInfo) -> int:
        return min(self.clusters, info.size)

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        return {"centroids": (self._size(info),)}

    def init(self, weight, info, step, statistics) -> Variables:
        values = np.sort(weight[weight != 0] if np.any(weight) else weight, axis=None)
        centroids = kmeans(values, self._size(info), self.iterations)
        return Variables(
            params={"centroids": centroids}, state={"assignments": nearest(centroids, weight)}
        )

    def project(self, v, info, training, seed):
        return look_up(v.params["centroids"], v.state["assignments"])

    def compress(self, v, info):
        smallest = np.min_scalar_type(self._size(info) - 1)
        return {
            "codebook": np.asarray(v.params["centroids"]),
            "indices": np.asarray(v.state["assignments"]).astype(smallest),
        }

    def decompress(self, ops, packed, info):
        return ops.gather(packed["codebook"], packed["indices"])


def look_up(centroids, assignments):
    """`centroids[assignments]`, with the gradient as one dense sum for each centroid.

    Args:
        centroids: float32 tensor [clusters].
        assignments: int32 tensor of any shape, values below `clusters`.

    Returns:
        float32 tensor of the shape of `assignments`.
    """
    # Threads share rows, never a row, so that the sums are the same at every run.
    rows = math.gcd(assignments.shape.num_elements(), 64)

    @tf.custom_gradient
    def gather(table):
        def gradient(upstream):
            sums = _sums(table.shape[0], rows)(assignments, upstream)
            sums.set_shape(table.shape)
            return sums

        return tf.gather(table, assignments), gradient

    return gather(centroids)


@functools.cache
def _sums(clusters: int, rows: int):
    """Returns the function of assignments and values that sums the values of each cluster."""

    def sums(assignments, values):
        # One operation, where tf.math.bincount has twenty that check its input.
        each = tf.raw_ops.DenseBincount(
            input=tf.reshape(assignments, [rows, -1]),
            size=clusters,
            weights=tf.reshape(values, [rows, -1]),
            binary_output=False,
        )
        return tf.reduce_sum(each, axis=0)

    return kwc_ops.shared(sums, tf.int32, tf.float32)


def nearest(centroids: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the index of the nearest of the sorted centroids, int32 of the weight's shape.

    >>> nearest(np.array([-1.0, 1.0]), np.array([-3.0, 0.5]))
    array([0, 1], dtype=int32)
    """
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, weight).astype(np.int32)


def kmeans(values: np.ndarray, clusters: int, iterations: int) -> np.ndarray:
    """Lloyd's algorithm on a line, where clusters are intervals of the sorted values.

    >>> kmeans(np.array([0.0, 1.0, 9.0, 10.0]), clusters=2, iterations=10)
    array([0.5, 9.5], dtype=float32)

    Args:
        values: sorted 1-D array.
        clusters: number of centroids.
        iterations: the most rounds.

    Returns:
        Sorted float32 array [clusters]; a centroid that loses all its values stays where it was.
    """
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    centroids = np.linspace(values[0], values[-1], clusters)
    for _ in range(iterations):
        edges = np.searchsorted(values, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(values)]])
        counts = np.diff(edges)
        means = np.divide(np.diff(sums[edges]), counts, out=centroids.copy(), where=counts > 0)
        if np.array_equal(means, centroids):
            break
        centroids = means
    return centroids.astype(np.float32)
