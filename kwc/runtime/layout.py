"""How a weight lies in a constant of an exported file: transposed, scaled by channel, cut."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """A constant as a function of the weight that it holds.

    Converters transpose kernels, fold the scales of batch norm into output channels, and cut the
    kernels of recurrent layers into gates.

    Attributes:
        axes: the order of the weight's axes in the constant.
        shape: shape of the constant.
        factor: float32, broadcasts against the weight; None for 1.
        part: the elements of the last axis of the weight that the constant holds; None for all.
    """

    axes: tuple[int, ...]
    shape: tuple[int, ...]
    factor: np.ndarray | None = None
    part: slice | None = None

    def apply(self, weight: np.ndarray) -> np.ndarray:
        """Returns the constant, of `shape`, that holds a weight, scaled by the factor."""
        scaled = weight if self.factor is None else weight * self.factor
        return self.arrange(scaled)

    def arrange(self, array: np.ndarray) -> np.ndarray:
        """Cuts, transposes and reshapes an array of the weight's shape, unscaled."""
        cut = array if self.part is None else array[..., self.part]
        return np.ascontiguousarray(np.transpose(cut, self.axes)).reshape(self.shape)
