"""Several small integers in one byte."""

import numpy as np


def joined(elements: np.ndarray, width: int) -> np.ndarray:
    """Joins elements to bytes, the first of a byte in its lowest bits; zeros fill the last one.

    >>> joined(np.array([1, 2, 3], np.uint8), 4)
    array([33,  3], dtype=uint8)

    Args:
        elements: uint8 [n], below `2 ** width`.
        width: bits of an element: 1, 2 or 4.

    Returns:
        uint8 array.
    """
    each = 8 // width
    padded = np.pad(elements, (0, -len(elements) % each)).reshape(-1, each)
    return np.bitwise_or.reduce(padded << np.arange(0, 8, width, dtype=np.uint8), axis=1)
