"""How the pictures of a data set lie in their field, so that a drawing is laid the same way.

A digit of MNIST fills a box of 20 pixels, and its centre of mass lies in the middle; a piece of
clothing of Fashion-MNIST fills its field. Neither is assumed: both are measured.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from launch.errors import LaunchError


@dataclasses.dataclass(frozen=True)
class Framing:
    """Where a picture lies.

    Attributes:
        side: longer side of the box around it, in pixels.
        centre: what lies at one place in all pictures: the centre of `mass`, or that of the `box`.
        row: that place, in pixels from the upper edge.
        column: the same, from the left edge.
    """

    side: float
    centre: Literal["mass", "box"]
    row: float
    column: float


def measure(images: np.ndarray) -> Framing:
    """Measures the framing of pictures.

    Args:
        images: uint8 [count, height, width], light on dark.

    Raises:
        LaunchError: they are dark on light.

    >>> picture = np.zeros([1, 6, 6], np.uint8)
    >>> picture[0, 1:5, 2:4] = 255
    >>> measure(picture)
    Framing(side=4.0, centre='box', row=3.0, column=3.0)
    """
    edge = np.concatenate([images[:, 0], images[:, -1]])
    if np.median(edge) > 127:
        raise LaunchError("The page draws light on dark, and the pictures are dark on light.")
    inked = images[images.any(axis=(1, 2))].astype(np.float64)
    spans = [_span((inked > 0).any(axis=axis)) for axis in (2, 1)]  # Of rows, of columns.
    side = np.median(np.max([end - start for start, end in spans], axis=0))
    box = np.stack([(start + end) / 2 for start, end in spans])
    mass = np.stack([_mean_place(inked.sum(axis=axis)) for axis in (2, 1)])
    steadier = box.std(axis=1).sum() <= mass.std(axis=1).sum()
    centre, places = ("box", box) if steadier else ("mass", mass)
    row, column = places.mean(axis=1)
    return Framing(float(side), centre, float(row), float(column))


def _span(inked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first place of each row that is set, and the one after the last."""
    return inked.argmax(axis=1), inked.shape[1] - inked[:, ::-1].argmax(axis=1)


def _mean_place(weights: np.ndarray) -> np.ndarray:
    """The mean place in each row of weights; an element's is its middle."""
    return weights @ (np.arange(weights.shape[1]) + 0.5) / weights.sum(axis=1)
