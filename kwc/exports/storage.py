"""Packed arrays as a SavedModel stores them, and as TensorFlow reads them without custom ops."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kwc.exports.bits import joined

_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED)
_WIDTHS = (1, 2, 4)


@dataclasses.dataclass(frozen=True)
class Deflated:
    """An array in the narrowest dtype that holds it, as a zlib stream (RFC 1950).

    Attributes:
        code: the stream.
        stored: dtype of the elements in it.
        dtype: dtype of the array.
        shape: shape of the array.
    """

    code: bytes
    stored: np.dtype
    dtype: np.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> Deflated:
        """Stores an array."""
        narrow = narrowed(array)
        codes = (_deflate(narrow.tobytes(), strategy) for strategy in _STRATEGIES)
        return cls(min(codes, key=len), narrow.dtype, array.dtype, array.shape)

    def _restored(self, elements: tf.Tensor) -> tf.Tensor:
        if len(self.shape) == 1:
            elements.set_shape(self.shape)
        else:
            elements = tf.reshape(elements, self.shape)
        return tf.cast(elements, self.dtype)


def inflated(arrays: Sequence[Deflated], codes: tf.Tensor) -> list[tf.Tensor]:
    """Returns arrays, read from their streams.

    Elements of one dtype are read together: a loader of a SavedModel keeps some kilobytes for each
    operation, so a few operations for each array would take more memory than many arrays do.

    Args:
        arrays: the arrays that were stored.
        codes: their streams, a tensor of strings.
    """
    streams = tf.unstack(tf.io.decode_compressed(codes, "ZLIB"), len(arrays))
    found: dict[int, tf.Tensor] = {}
    for stored in dict.fromkeys(array.stored for array in arrays):
        members = [i for i, array in enumerate(arrays) if array.stored == stored]
        whole = tf.io.decode_raw(tf.strings.join([streams[i] for i in members]), stored)
        parts = tf.split(whole, [math.prod(arrays[i].shape) for i in members])
        found.update(zip(members, parts, strict=True))
    return [array._restored(found[i]) for i, array in enumerate(arrays)]


class Bits(tf.Module):
    """An array in a variable: several elements in a byte where their range allows it.

    Elements of a range of 2, 4 or 16 whole numbers take 1, 2 or 4 bits, the first of a byte its
    lowest; others have the narrowest dtype that holds them.

    Attributes:
        stored: what is stored, an array.

    Args:
        array: the array.
    """

    def __init__(self, array: np.ndarray):
        super().__init__()
        self._dtype, self._shape = array.dtype, array.shape
        self._width, self._least = _width(array)
        if self._width:
            whole = array.astype(np.int64).reshape(-1) - self._least
            self.stored = joined(whole.astype(np.uint8), self._width)
        else:
            self.stored = narrowed(array)
        self._variable = tf.Variable(self.stored, trainable=False)

    def read(self) -> tf.Tensor:
        """Returns the array."""
        stored = tf.convert_to_tensor(self._variable)
        if not self._width:
            return tf.cast(stored, self._dtype)
        shifts = np.arange(0, 8, self._width, dtype=np.uint8)
        moved = tf.bitwise.right_shift(stored[:, tf.newaxis], shifts)
        elements = tf.bitwise.bitwise_and(moved, np.uint8(2**self._width - 1))
        size = int(np.prod(self._shape))
        array = tf.cast(tf.reshape(tf.reshape(elements, [-1])[:size], self._shape), self._dtype)
        return array + self._dtype.type(self._least) if self._least else array


def narrowed(array: np.ndarray) -> np.ndarray:
    """Returns integers in the narrowest dtype that holds them, other arrays as they are.

    >>> narrowed(np.array([0, 255])).dtype, narrowed(np.array([-1, 7])).dtype
    (dtype('uint8'), dtype('int8'))
    """
    if array.dtype.kind not in "iu" or not array.size:
        return array
    low, high = int(array.min()), int(array.max())
    for name in ("uint8", "int8", "uint16", "int16", "int32", "int64"):
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return array.astype(name)
    return array


def _deflate(data: bytes, strategy: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return stream.compress(data) + stream.flush()


def _width(array: np.ndarray) -> tuple[int, int]:
    """Bits of an element and the least one; 0 bits if it is not joined with others."""
    if array.dtype.kind not in "biu" or not array.size:
        return 0, 0
    low, high = (0, 1) if array.dtype == bool else (int(array.min()), int(array.max()))
    return next((width for width in _WIDTHS if high - low < 2**width), 0), low
