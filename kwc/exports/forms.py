"""What the packed arrays of a weight are, whichever algorithm made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from kwc import ops as kwc_ops
from kwc.algorithms import Lossless
from kwc.artifact import CodedWeight, PackedWeight
from kwc.compressor import Chain, WeightCompressor, WeightInfo, links

Weight = CodedWeight | PackedWeight

_CLOSE = 1e-5


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A weight that is integers times scales, bit by bit.

    Attributes:
        levels: integers of the weight's shape.
        scale: float32 that broadcasts against them, above 0.
    """

    levels: np.ndarray
    scale: np.ndarray

    @property
    def range(self) -> str:
        """The least and the largest integer, for people."""
        return f"{self.levels.min()} to {self.levels.max()}"

    @property
    def bits(self) -> int:
        """Bits that the integers need, the sign included."""
        least, largest = int(self.levels.min(initial=0)), int(self.levels.max(initial=0))
        return 1 + max(largest.bit_length(), (-least - 1).bit_length() if least else 0)


def scaled(weight: Weight) -> Scaled | None:
    """Finds the integers and scales that a weight is made of; None if it is not.

    The algorithm is not asked. One of its arrays holds integers of the weight's shape; what it
    decodes to with ones in their place are the scales, one for each output channel or for all.
    """
    arrays = weight.arrays
    names = [n for n, a in arrays.items() if a.dtype.kind == "i" and a.shape == weight.info.shape]
    if len(names) != 1 or weight.info.dtype != "float32":
        return None
    levels = arrays[names[0]]
    value = PackedWeight(weight.info, weight.compressor, arrays).decompress()
    ones = arrays | {names[0]: np.ones_like(levels)}
    units = PackedWeight(weight.info, weight.compressor, ones).decompress()
    info = weight.info
    for axes in (tuple(range(levels.ndim)), info.input_axes):
        # Zero where a mask excludes an element.
        scale = np.max(units, axis=axes, keepdims=True)
        if np.all((units == scale) | (units == 0)) and np.array_equal(levels * scale, value):
            return Scaled(levels, np.where(scale > 0, scale, np.float32(1)))
    return None


def factors(weight: Weight) -> tuple[PackedWeight, PackedWeight] | None:
    """Finds the two matrices, `[rows, r]` and `[r, columns]`, whose product a weight is.

    The algorithm is not asked: the two params of a chain's first link multiply to the weight. Each
    is as later links packed it.

    Returns:
        The two; None if the weight is no such product, or they are not smaller than it.
    """
    first, *rest = links(weight.compressor)
    shapes, arrays = first.param_shapes(weight.info), weight.arrays
    if [len(shape) for shape in shapes.values()] != [2, 2]:
        return None
    if not rest:
        if arrays.keys() != shapes.keys():
            return None
        arrays = {f"{name}/weight": array for name, array in arrays.items()}
    later = Lossless() if not rest else rest[0] if len(rest) == 1 else Chain(tuple(rest))
    (rows, inner), (others, columns) = shapes.values()
    if inner != others or (rows, columns) != weight.info.matrix_shape:
        return None
    if inner * (rows + columns) >= weight.info.size:
        return None
    pair = tuple(_inner(weight, arrays, later, *param) for param in shapes.items())
    product = pair[0].decompress() @ pair[1].decompress()
    value = kwc_ops.to_matrix(kwc_ops.NumpyOps, weight.decompress(), weight.info)
    bound = _CLOSE * np.max(np.abs(value), initial=0)
    return pair if np.allclose(product, value, rtol=0, atol=bound) else None


def _inner(
    weight: Weight,
    arrays: Mapping[str, np.ndarray],
    later: WeightCompressor,
    name: str,
    shape: tuple[int, ...],
) -> PackedWeight:
    own = {k.removeprefix(f"{name}/"): a for k, a in arrays.items() if k.startswith(f"{name}/")}
    return PackedWeight(WeightInfo(f"{weight.info.path}/{name}", shape), later, own)
