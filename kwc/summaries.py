"""What TensorBoard shows of a compression: scalars while it trains, histograms at its end."""

from __future__ import annotations

import os
import time

import numpy as np
import tensorflow as tf

from kwc.artifact.weights import MASK
from kwc.compression import Compression, Entry

BITS_PER_WEIGHT = "kwc/bits_per_weight"
PENALTY = "kwc/penalty"
SPARSITY = "kwc/sparsity"

_SAMPLE = 65_536
_SHARE = 0.01
_BUCKETS = 30


def scalars(compression: Compression) -> dict[str, float]:
    """Returns what the model would come to if training ended now.

    `kwc/bits_per_weight` is an estimate of 8 x file bytes over weights: the penalties where an
    algorithm has one, elsewhere the entropy of the arrays that it would store. `kwc/penalty` is the
    sum of the penalties in bits, if there is any, and `kwc/penalty/PATH` that of one weight.
    `kwc/sparsity` is the fraction of the compressed weights that are zero. Reads the variables
    outside of any graph, in any distribution strategy.
    """
    penalties = {entry.weight.path: entry.penalty() for entry in compression.entries}
    known = {path: bits for path, bits in penalties.items() if bits is not None}
    # Of a model that diverges, the training loop tells.
    with np.errstate(all="ignore"):
        estimated = [_stored_bits(e) for e in compression.entries if e.weight.path not in known]
    size = sum(entry.weight.info.size for entry in compression.entries)
    logs = {BITS_PER_WEIGHT: (sum(known.values()) + sum(estimated)) / size}
    if known:
        logs[PENALTY] = sum(known.values())
        logs |= {f"{PENALTY}/{path}": bits for path, bits in known.items()}
    if compressed := compression.reparameterizations:
        nonzeros = sum(np.count_nonzero(r.project().numpy()) for r in compressed)
        logs[SPARSITY] = 1 - float(nonzeros) / sum(r.info.size for r in compressed)
    return logs


class Live:
    """A compression's scalars, taken as often as one percent of the time allows."""

    def __init__(self, compression: Compression):
        self._compression = compression
        self._start = time.monotonic()
        self._spent = 0.0

    def __call__(self) -> dict[str, float]:
        """Returns the scalars, or none while they have taken their share of the time."""
        begin = time.monotonic()
        if self._spent > _SHARE * (begin - self._start):
            return {}
        logs = scalars(self._compression)
        self._spent += time.monotonic() - begin
        return logs


def histograms(compression: Compression, folder: str | os.PathLike, step: int) -> None:
    """Writes the values of each compressed weight before and after, as TensorBoard histograms.

    Args:
        compression: the compression of a trained model.
        folder: where the event file is written.
        step: number of optimizer steps taken.
    """
    writer = tf.summary.create_file_writer(os.fspath(folder))
    with writer.as_default(step):
        for entry in compression.entries:
            if entry.reparameterization is not None:
                tag = f"weights/{entry.weight.path}"
                after = entry.reparameterization.weight()
                tf.summary.histogram(f"{tag}/before", entry.weight.variable, buckets=_BUCKETS)
                tf.summary.histogram(f"{tag}/after", after, buckets=_BUCKETS)
    writer.close()


def entropy(array: np.ndarray) -> float:
    """Estimates how many bits an array takes when each of its byte planes is entropy coded.

    The planes are coded without context: bytes at the same place of each element, by how often they
    occur. A large array is judged by 65,536 of its elements, drawn at random, the same every time.

    >>> entropy(np.array([0, 0, 1, 1], np.int8))
    4.0

    Returns:
        Bits of the whole array, without tables.
    """
    elements = np.ravel(array)
    sample = elements
    if elements.size > _SAMPLE:
        sample = elements[np.random.default_rng(0).integers(elements.size, size=_SAMPLE)]
    planes = np.ascontiguousarray(sample).view(np.uint8).reshape(sample.size, array.itemsize)
    return array.size * sum(_byte_entropy(plane) for plane in planes.T)


def _byte_entropy(plane: np.ndarray) -> float:
    counts = np.bincount(plane)
    frequencies = counts[counts > 0] / plane.size
    return float(-frequencies @ np.log2(frequencies))


def _stored_bits(entry: Entry) -> float:
    arrays = entry.arrays()
    mask = arrays.get(MASK)
    if mask is None or mask.dtype != bool:
        return sum(map(entropy, arrays.values()))
    # The artifact stores the other arrays of the mask's shape only where it is true.
    rest = [array for array in arrays.values() if array is not mask]
    return entropy(mask) + sum(
        entropy(array[mask] if array.shape == mask.shape else array) for array in rest
    )
