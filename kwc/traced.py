"""What is computed once in a traced step, however many weights ask for it."""

from __future__ import annotations

import functools
import threading
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

# Where a graph keeps what was read in it.
_CACHE = "_kwc_cache"


def cache() -> dict[tuple[int, int], Any]:
    """What has been read so far in the graph that is traced, by object and by thread."""
    graph = tf.compat.v1.get_default_graph()
    if not hasattr(graph, _CACHE):
        setattr(graph, _CACHE, {})
    return getattr(graph, _CACHE)


def possible_writes(reads: Iterable[tf.Tensor]) -> int:
    """Counts the operations of the graph that take a variable that was read and do not read it."""
    return sum(
        consumer.type != "ReadVariableOp"
        for read in reads
        for consumer in read.op.inputs[0].consumers()
    )


def read_once(variable: tf.Variable, then: Callable[[tf.Tensor], Any] = lambda value: value) -> Any:
    """Returns `then` of the value of a variable that is not trained.

    In a traced step both are computed once, and again where the variable may have been written
    since. Replicas are traced by threads of their own and do not share.
    """
    if tf.executing_eagerly():
        return then(tf.convert_to_tensor(variable))
    known, key = cache(), (id(variable), threading.get_ident())
    if key in known:
        result, read, before = known[key]
        if possible_writes([read]) == before:
            return result
    read = tf.convert_to_tensor(variable)
    result = then(read)
    known[key] = result, read, possible_writes([read])
    return result


class Seeds:
    """For each weight a seed that is new at each step: its path's hash, and the clock.

    Attributes:
        clock: int64 variable that counts optimizer steps.
    """

    def __init__(self, clock: tf.Variable):
        self.clock = clock
        self._hashes: list[int] = []

    def add(self, path: str) -> Callable[[], tf.Tensor]:
        """Returns the function that makes the seeds of one weight, int32 tensors [2]."""
        self._hashes.append(zlib.crc32(path.encode()) >> 1)
        return functools.partial(self._seed, len(self._hashes) - 1)

    def _seed(self, place: int) -> tf.Tensor:
        if tf.executing_eagerly():
            return tf.stack([self._hashes[place], tf.cast(self.clock, tf.int32)])
        return read_once(self.clock, self._all)[place]

    def _all(self, now: tf.Tensor) -> list[tf.Tensor]:
        hashes = np.array(self._hashes, np.int32)
        return tf.unstack(tf.stack([hashes, tf.fill(hashes.shape, tf.cast(now, tf.int32))], 1))
