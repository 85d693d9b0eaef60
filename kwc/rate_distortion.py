"""Quantization by greedy decisions between distortion and rate, with error feedback; compiled.

The distortion of an error E of a matrix is tr(G E^T H E) / 2. With H = A^T diag(d) A and
G = B^T diag(c) B, A and B unit lower triangular, it is the sum over elements of
d_k c_l (A E B^T)_kl^2 / 2. The term of an element depends on its own error and those of elements
before it, in both axes: they are compensated as far as they can be. This is the error feedback of
OPTQ (Frantar et al., arXiv:2210.17323) and QuIP (Chee et al., arXiv:2307.13304), here along both
factors.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_SOURCES = 7
_LEAST, _MOST = 1e-4, 1 - 1e-4
_LIMIT = 250.0
_STEP = 0.02
_UNARY = 14
_SCALES = 16
_AVERAGING = 0.06
_CANDIDATES = 2


def triangular(moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns A, unit lower triangular, and d with moment = A^T diag(d) A.

    >>> a, d = triangular(np.array([[2.0, 1.0], [1.0, 1.0]]))
    >>> a.tolist(), d.tolist()
    ([[1.0, 0.0], [1.0, 1.0]], [1.0, 1.0])

    Args:
        moment: float64 [n, n], positive definite.
    """
    upper = np.linalg.cholesky(moment[::-1, ::-1])[::-1, ::-1]
    root = np.diag(upper)
    return np.ascontiguousarray((upper / root).T), root**2


def quantize(
    weight: np.ndarray,
    input_moment: np.ndarray,
    output_moment: np.ndarray,
    steps: np.ndarray,
    rate_weight: float,
) -> np.ndarray:
    """Returns int32 levels [rows, columns]; a weight is its level times its column's step.

    Each is the one of 0 and the few levels at or below the nearest one that has the least
    distortion plus `rate_weight` times bits; bits are those of an adaptive model of the levels
    chosen so far.

    Args:
        weight: float64 [rows, columns].
        input_moment: H, float64 [rows, rows], positive definite, or its diagonal, [rows].
        output_moment: G, float64 [columns, columns], or its diagonal.
        steps: float64 [columns].
        rate_weight: distortion that a bit is worth.
    """
    levels = np.zeros(weight.shape, np.int32)
    rows, row_weights = factor(input_moment)
    columns, column_weights = factor(output_moment)
    _quantize(
        np.ascontiguousarray(weight, np.float64),
        rows,
        row_weights,
        np.ascontiguousarray(columns.T),
        column_weights,
        steps,
        rate_weight,
        levels,
    )
    return levels


def factor(moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`triangular`, with an empty matrix for a diagonal moment."""
    return triangular(moment) if moment.ndim == 2 else (np.zeros([0, 0]), moment)


@numba.njit(cache=True, fastmath=True)
def _predict(probabilities, weights, slots, sources, stretches):
    """The probability of a bit: a logistic mixture of what its contexts tell."""
    total = 0.0
    for source in range(sources):
        p = probabilities[slots[source]]
        stretches[source] = math.log(p / (1.0 - p))
        total += weights[source] * stretches[source]
    return min(max(1.0 / (1.0 + math.exp(-total)), _LEAST), _MOST)


@numba.njit(cache=True, fastmath=True)
def _learn(probabilities, counts, weights, slots, sources, stretches, predicted, bit):
    """Moves the mixture's weights, and each context's probability, towards the bit."""
    error = (bit - predicted) * _STEP
    for source in range(sources):
        slot = slots[source]
        weights[source] += error * stretches[source]
        p = probabilities[slot] + (bit - probabilities[slot]) / (counts[slot] + 1.6)
        probabilities[slot] = min(max(p, _LEAST), _MOST)
        counts[slot] = min(counts[slot] + 1.0, _LIMIT)


@numba.njit(cache=True)
def _scale(average):
    """An average magnitude in half octaves, 0 to _SCALES - 1."""
    if average <= 0:
        return 0
    return min(max(int(2 * math.log2(average)) + _SCALES - 2, 1), _SCALES - 1)


@numba.njit(cache=True)
def _sign(level):
    return (level > 0) - (level < 0)


@numba.njit(cache=True, fastmath=True)
def _quantize(weight, a, d, b, c, steps, rate_weight, levels):
    """Fills `levels`, row by row; b is the transposed upper factor, a and b may be empty."""
    rows, columns = weight.shape
    positions = rows + columns
    # Where the states of the three kinds of bits begin: whether a level is not 0, whether it is
    # negative, and whether its magnitude is above 1, 2, ...
    near, around, density = 1, 1 + 9, 1 + 9 + 16
    signs = density + _SCALES**2 + positions
    above = signs + 1 + 9 + positions
    per_place = 1 + 2 * _SCALES
    end = above + _UNARY * per_place + 2 * positions
    probabilities, counts = np.full(end, 0.5), np.zeros(end)
    weights = np.full((3 + _UNARY, _SOURCES), 0.3)
    zero_slots, sign_slots, above_slots = np.zeros((3, _SOURCES), np.int64)
    zero_stretches, sign_stretches, above_stretches = np.zeros((3, _SOURCES))
    errors = np.zeros((rows, columns))
    from_rows, from_columns, averages = np.zeros(columns), np.zeros(columns), np.full(columns, 0.3)
    for k in range(rows):
        from_rows[:] = 0.0
        if a.size:
            for j in range(k):
                if a[k, j] != 0.0:
                    for n in range(columns):
                        from_rows[n] += a[k, j] * errors[j, n]
        from_columns[:] = 0.0
        average = 0.3
        for n in range(columns):
            step = steps[n]
            half = 0.5 * d[k] * c[n]
            target = weight[k, n] + from_rows[n] + from_columns[n]
            nearest = min(int(abs(target) / step + 0.5), 32767)

            left = levels[k, n - 1] if n > 0 else 0
            left2 = levels[k, n - 2] if n > 1 else 0
            up = levels[k - 1, n] if k > 0 else 0
            up2 = levels[k - 2, n] if k > 1 else 0
            up_left = levels[k - 1, n - 1] if k > 0 and n > 0 else 0
            up_right = levels[k - 1, n + 1] if k > 0 and n + 1 < columns else 0
            mass = 2 * (abs(left) + abs(up)) + abs(left2) + abs(up2) + abs(up_left) + abs(up_right)
            close = min(mass, 7) if mass < 8 else min(8 + (mass - 8) // 4, 15)
            column_scale, row_scale = _scale(averages[n]), _scale(average)
            zero_slots[0] = 0
            zero_slots[1] = near + 3 * min(abs(left), 2) + min(abs(up), 2)
            zero_slots[2] = around + close
            zero_slots[3] = density + _SCALES * column_scale + row_scale
            zero_slots[4] = density + _SCALES**2 + n
            zero_slots[5] = density + _SCALES**2 + columns + k
            mixture = weights[0] if mass == 0 else weights[1]
            nonzero = _predict(probabilities, mixture, zero_slots, 6, zero_stretches)
            best = 0
            least = half * target * target - rate_weight * math.log2(1.0 - nonzero)
            negative = 0.5
            if nearest:
                sign_slots[0] = signs
                sign_slots[1] = signs + 1 + 3 * (_sign(left) + 1) + _sign(up) + 1
                sign_slots[2] = signs + 10 + n
                sign_slots[3] = signs + 10 + columns + k
                negative = _predict(probabilities, weights[2], sign_slots, 4, sign_stretches)
                bits = -math.log2(nonzero)
                bits -= math.log2(negative if target < 0 else 1.0 - negative)
                for magnitude in range(1, nearest + 1):
                    place = min(magnitude, _UNARY) - 1
                    _above(above_slots, above, place, close, column_scale, n, columns, k, positions)
                    larger = _predict(
                        probabilities, weights[3 + place], above_slots, 5, above_stretches
                    )
                    if magnitude >= nearest - _CANDIDATES:
                        off = abs(target) - step * magnitude
                        cost = half * off * off
                        cost += rate_weight * (bits - math.log2(1.0 - larger))
                        if cost < least:
                            least, best = cost, magnitude
                    bits -= math.log2(larger)
            level = -best if target < 0 else best
            levels[k, n] = level
            errors[k, n] = weight[k, n] - step * level
            if b.size:
                off = errors[k, n] + from_rows[n]
                for m in range(n + 1, columns):
                    from_columns[m] += b[n, m] * off

            bit = 1.0 if best else 0.0
            _learn(probabilities, counts, mixture, zero_slots, 6, zero_stretches, nonzero, bit)
            if best:
                bit = 1.0 if target < 0 else 0.0
                _learn(
                    probabilities, counts, weights[2], sign_slots, 4, sign_stretches, negative, bit
                )
                for magnitude in range(1, min(best, _UNARY) + 1):
                    place = magnitude - 1
                    _above(above_slots, above, place, close, column_scale, n, columns, k, positions)
                    mixture = weights[3 + place]
                    larger = _predict(probabilities, mixture, above_slots, 5, above_stretches)
                    bit = 1.0 if magnitude < best else 0.0
                    _learn(
                        probabilities, counts, mixture, above_slots, 5, above_stretches, larger, bit
                    )
            averages[n] += (best - averages[n]) * _AVERAGING
            average += (best - average) * _AVERAGING


@numba.njit(cache=True)
def _above(slots, begin, place, close, column_scale, column, columns, row, positions):
    """The contexts of whether a magnitude is above `place` + 1."""
    of_place = begin + place * (1 + 2 * _SCALES)
    of_position = begin + _UNARY * (1 + 2 * _SCALES) + min(place, 1) * positions
    slots[0] = of_place
    slots[1] = of_place + 1 + close
    slots[2] = of_place + 1 + _SCALES + column_scale
    slots[3] = of_position + column
    slots[4] = of_position + columns + row
