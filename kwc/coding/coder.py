"""What a coder is, and the choice of the cheapest."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np


class Coder(Protocol):
    """An exact code for arrays, given their shape and dtype from outside.

    Attributes:
        name: what an artifact calls it.
    """

    name: str

    def encode(self, array: np.ndarray) -> bytes | memoryview | None:
        """Returns the code of an array of any shape, or None where the coder does not apply.

        The code may be a view of the array.
        """

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Returns the bit patterns in C order, a new flat array (see `kwc.coding.dtypes`).

        Memory is bounded by that array, the data and a constant, whatever the data says.

        Raises:
            CodingError: if the data is anything but a code of such an array.
        """


def cheapest(coders: Iterable[Coder], array: np.ndarray) -> tuple[Coder, bytes | memoryview]:
    """Returns the coder with the shortest code, the earlier one in a tie, and that code."""
    codes = ((coder, coder.encode(array)) for coder in coders)
    return min(((c, code) for c, code in codes if code is not None), key=lambda pair: len(pair[1]))
