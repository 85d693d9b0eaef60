"""What statistics are taken from, and how many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from kwc.compressor import CompressionError


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What statistics are taken from, and how many.

    Attributes:
        data: batches of the model's inputs, or tuples that begin with them, such as (inputs,
            labels): a `tf.data.Dataset` or another iterable. Labels are not used.
        examples: batches are read until they hold as many; they are kept in memory.
        step: runs the model on a batch, for models that are not called on their inputs alone.
        likelihood: what the model's outputs stand for: `categorical`, `normal`, or None to tell by
            their number and shape; see `kwc.calibration.curvature`.
        temperature: divides the logits of categorical outputs.
        probes: random projections of the outputs for each batch.
        positions: the most rows of a batch that a moment is taken of; others are left out at
            random. A convolution has a row for each position of each image.
        largest: the largest number of rows or columns whose moment is kept as a matrix; of more,
            only its diagonal is.
        ridge: how much the least-squares answer is held to the original weight, as a fraction of
            the mean of the moment's diagonal.
    """

    data: Iterable[Any]
    examples: int = 5000
    step: Callable[[Any], Any] | None = None
    likelihood: str | None = None
    temperature: float = 3.0
    probes: int = 4
    positions: int = 8192
    largest: int = 4096
    ridge: float = 0.01

    def read(self) -> list[Any]:
        """Returns the batches.

        Raises:
            CompressionError: there is none, or one holds NaN or infinity.
        """
        found, count = [], 0
        for batch in self.data:
            found.append(batch)
            count += len(tf.nest.flatten(batch)[0])
            if count >= self.examples:
                break
        if not found:
            raise CompressionError(
                "The calibration data is empty: statistics need at least one batch."
            )
        for index, batch in enumerate(found):
            for tensor in map(tf.convert_to_tensor, tf.nest.flatten(batch)):
                if tensor.dtype.is_floating and not np.all(np.isfinite(tensor)):
                    raise CompressionError(
                        f"Batch {index} of the calibration data holds NaN or infinite values. Mend "
                        "the input pipeline, or leave such examples out."
                    )
        return found


def as_calibration(data: Calibration | Iterable[Any]) -> Calibration:
    """Returns `data` itself if it is a `Calibration`, else one of these batches.

    Raises:
        CompressionError: it is a single array, whose rows would be taken for batches.
    """
    if isinstance(data, np.ndarray | tf.Tensor):
        raise CompressionError(
            f"Calibration takes batches, and got one array of shape {tuple(data.shape)}. Pass a "
            "list of arrays or a tf.data.Dataset."
        )
    return data if isinstance(data, Calibration) else Calibration(data)
