"""The few array operations that decoders are written in, for NumPy and for TensorFlow.

`WeightCompressor.decompress` receives one of the two namespaces, so that a single definition
serves the TensorFlow-free runtime, eager TensorFlow and an exported graph. Arithmetic operators
work on the arrays of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

Array = Any  # np.ndarray or tf.Tensor


class NumpyOps:
    """Decoding operations on `np.ndarray`."""

    @staticmethod
    def cast(x: Array, dtype: str) -> Array:
        return np.asarray(x).astype(dtype)

    @staticmethod
    def reshape(x: Array, shape: Sequence[int]) -> Array:
        return np.reshape(x, shape)

    @staticmethod
    def transpose(x: Array, axes: Sequence[int]) -> Array:
        return np.transpose(x, axes)

    @staticmethod
    def matmul(a: Array, b: Array) -> Array:
        return np.matmul(a, b)

    @staticmethod
    def gather(table: Array, indices: Array) -> Array:
        """Rows of `table` along its first axis; an index out of range raises `IndexError`."""
        return np.asarray(table)[indices]

    @staticmethod
    def where(mask: Array, x: Array) -> Array:
        """`x` where `mask` is true, else 0."""
        return np.where(mask, x, np.zeros_like(x))


class TensorFlowOps:
    """Decoding operations on `tf.Tensor`; each is a builtin op of TensorFlow Lite too."""

    @staticmethod
    def cast(x: Array, dtype: str) -> Array:
        return tf.cast(x, dtype)

    @staticmethod
    def reshape(x: Array, shape: Sequence[int]) -> Array:
        there = x.shape.rank is not None and x.shape.as_list() == list(shape)
        return x if there else tf.reshape(x, shape)

    @staticmethod
    def transpose(x: Array, axes: Sequence[int]) -> Array:
        return tf.transpose(x, axes)

    @staticmethod
    def matmul(a: Array, b: Array) -> Array:
        return tf.matmul(a, b)

    @staticmethod
    def gather(table: Array, indices: Array) -> Array:
        return tf.gather(table, tf.cast(indices, tf.int32))

    @staticmethod
    def where(mask: Array, x: Array) -> Array:
        return tf.where(mask, x, tf.zeros([], x.dtype))


Ops = type[NumpyOps] | type[TensorFlowOps]


def shared(function: Callable, *arguments: tf.DType | tf.TensorSpec) -> Callable:
    """Returns a TensorFlow function that every weight calls as one operation of its graph.

    It is traced once, for arguments of any shape, and its calls are not inlined: dozens of copies
    of its operations would take far longer to trace and to optimize.

    Args:
        function: tensors in, tensors out; shapes are known only when it runs.
        arguments: the dtype of each; a spec where the shape is always the same.

    Returns:
        A function whose results have no static shape.
    """
    signature = [
        argument if isinstance(argument, tf.TensorSpec) else tf.TensorSpec(None, argument)
        for argument in arguments
    ]
    attributes = {"_noinline": True}
    return tf.function(function, signature, autograph=False, experimental_attributes=attributes)


def shaped(values: Sequence, like: Sequence) -> Sequence:
    """Gives results of a shared function the static shapes of other tensors; returns them."""
    for value, other in zip(values, like, strict=True):
        value.set_shape(other.shape)
    return values


def to_matrix(ops: Ops, weight: Array, info) -> Array:
    """Reshapes a weight to `info.matrix_shape`: rows for input axes, columns for output axes."""
    return ops.reshape(ops.transpose(weight, info.input_axes + info.output_axes), info.matrix_shape)


def from_matrix(ops: Ops, matrix: Array, info) -> Array:
    """Inverse of `to_matrix`: a `[rows, columns]` matrix back to `info.shape`."""
    order = info.input_axes + info.output_axes
    shape = [info.shape[axis] for axis in order]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return ops.transpose(ops.reshape(matrix, shape), inverse)


def per_channel(ops: Ops, values: Array, info) -> Array:
    """Reshapes one value for each output channel so that they broadcast to `info.shape`.

    A weight without input axes has one value. Leading axes of length 1 are left to broadcasting.
    """
    shared_by = info.input_axes or info.output_axes
    shape = [1 if axis in shared_by else n for axis, n in enumerate(info.shape)]
    while len(shape) > 1 and shape[0] == 1:
        del shape[0]
    return ops.reshape(values, shape)


def size(shape: Sequence[int]) -> int:
    """Number of elements of an array of `shape`."""
    return math.prod(shape)
