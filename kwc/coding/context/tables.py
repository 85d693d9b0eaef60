"""Integer tables of the context coder: the logistic function, its inverse, and adaptation rates.

A probability is an integer p of 65536ths; its *stretch* is its logit, ln(p / (65536 - p)), in
256ths. Nothing here is rounded by a floating-point unit, so every machine has the same tables.
"""

import functools
from typing import NamedTuple

import numpy as np

ONE = 1 << 16
"""The probability 1."""

LIMIT = 2815
"""Stretches lie in -LIMIT ... LIMIT: 11 nats, beyond which 16 bits hold no probability."""

COUNTS = 1024
"""An adaptive probability counts up to fewer than this."""

_DECAY = 18374827034086858296
"""floor(2**64 * exp(-1/256))."""


class Tables(NamedTuple):
    """Arrays that model and coder look numbers up in.

    Attributes:
        squash: int32 [2 LIMIT + 1], the probability of stretch i - LIMIT, 1 to 65535.
        stretch: int16 [65536], the stretch of each probability.
        rates: int32 [COUNTS], 65536ths by which a probability moves after i occurrences.
    """

    squash: np.ndarray
    stretch: np.ndarray
    rates: np.ndarray


@functools.cache
def tables() -> Tables:
    """Returns the tables, computed once."""
    power, below = 1 << 64, []
    for _ in range(LIMIT + 1):
        below.append((power << 16) // (power + (1 << 64)))
        power = power * _DECAY >> 64
    squash = np.array([*below[:0:-1], *(ONE - p for p in below)], np.int32)
    stretch = np.searchsorted(squash, np.arange(ONE)).clip(0, 2 * LIMIT) - LIMIT
    rates = np.array([2 * ONE // (2 * n + 3) for n in range(COUNTS)], np.int32)
    return Tables(squash, stretch.astype(np.int16), rates)
