"""Means of products of rows, gathered batch by batch without cancellation."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def second_moment(rows: tf.Tensor, largest: int) -> tf.Tensor:
    """Returns the sum of x x^T over the rows, or its diagonal if that has more elements."""
    if rows.shape[1] > largest:
        return tf.reduce_sum(tf.square(rows), 0)
    return tf.matmul(rows, rows, transpose_a=True)


class Products:
    """The mean of x y^T, or of the elements of x y where only a diagonal is kept.

    Each batch gives the sum of products about its own means, in float32. The means' own products
    are added in float64: a large mean does not drown a small variance.
    """

    def __init__(self):
        self._total, self._left, self._right, self._count = 0.0, 0.0, 0.0, 0

    @property
    def left(self) -> np.ndarray:
        """The mean of x."""
        return self._left / self._count

    @property
    def right(self) -> np.ndarray:
        """The mean of y."""
        return self._right / self._count

    def add(self, central: tf.Tensor, left: tf.Tensor, right: tf.Tensor, count: tf.Tensor) -> None:
        """Adds a batch: the sum of products about its means, the means, and the number of rows."""
        central, left, right = (x.numpy().astype(np.float64) for x in (central, left, right))
        count = int(count)
        self._total = self._total + central + count * _product(left, right, central.ndim)
        self._left, self._right = self._left + count * left, self._right + count * right
        self._count += count

    def mean(self, is_central: bool) -> np.ndarray:
        """Returns the mean, of the products about the means of all batches if it is central."""
        mean = self._total / self._count
        if is_central:
            mean = mean - _product(self.left, self.right, mean.ndim)
        return mean


def _product(left: np.ndarray, right: np.ndarray, rank: int) -> np.ndarray:
    return np.outer(left, right) if rank == 2 else left * right
