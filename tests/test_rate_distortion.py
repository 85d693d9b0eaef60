"""Decisions between distortion and rate on a few numbers whose answers are worked out by hand."""

import numpy as np
import pytest

from kwc.algorithms import RateQuantization
from kwc.compressor import CompressionError, WeightInfo
from kwc.rate_distortion import quantize, triangular
from kwc.schedules import Step

MOMENT = np.array([[2.0, 1.0], [1.0, 1.0]])
FREE = 1e-9


def decided(weight, rows, columns, rate_weight=FREE):
    weight = np.array(weight)
    return quantize(weight, rows, columns, np.ones(weight.shape[1]), rate_weight).tolist()


def packed(weight, rate_weight, **statistics):
    weight = np.array(weight, np.float32)
    info = WeightInfo("dense/kernel", weight.shape)
    compressor = RateQuantization(rate_weight)
    statistics = {name: np.array(moment, np.float32) for name, moment in statistics.items()}
    v = compressor.init(weight, info, Step(0, 0), statistics)
    arrays = compressor.compress(v, info)
    return arrays["levels"].tolist(), arrays["exponents"].tolist()


def test_the_next_row_makes_up_for_the_error_of_one():
    """0.4 becomes 0, and 0.4 + 0.4 becomes 1: distortion 0.1, where two zeros have 0.4."""
    assert decided([[0.4], [0.4]], MOMENT, np.ones(1)) == [[0], [1]]
    assert decided([[0.4], [0.4]], np.ones(2), np.ones(1)) == [[0], [0]]


def test_so_does_the_next_column():
    assert decided([[0.4, 0.4]], np.ones(1), MOMENT) == [[0, 1]]


def test_errors_travel_along_both_axes():
    """Targets: 0.4; 0.8; then 0.4 + 0.4 = 0.8; at last 0.4 - 0.6 + (0.4 - 0.6) = -0.4, and 0.

    The error of the third element is -0.6 and that from the row above it 0.4: together -0.2.
    """
    assert decided([[0.4, 0.4], [0.4, 0.4]], MOMENT, MOMENT) == [[0, 1], [1, 0]]


def test_a_bit_must_be_worth_its_price():
    """Before anything is learnt 0 takes 1 bit, and 1 takes 3: not 0, its sign, not above 1.

    Their distortions are 0.18 and 0.08, so the price of 2 bits at which 0 is better is 0.1.
    """
    assert decided([[0.6]], np.ones(1), np.ones(1), 0.049) == [[1]]
    assert decided([[0.6]], np.ones(1), np.ones(1), 0.051) == [[0]]


def test_factors_multiply_to_the_moment():
    root = np.random.default_rng(0).normal(size=(5, 5))
    moment = root @ root.T
    a, d = triangular(moment)
    np.testing.assert_allclose(a.T @ np.diag(d) @ a, moment)
    np.testing.assert_array_equal(a, np.tril(a))
    np.testing.assert_array_equal(np.diag(a), 1)


def test_decisions_have_less_distortion_than_rounding():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(30, 20))
    roots = rng.normal(size=(30, 10)), rng.normal(size=(20, 10))
    rows, columns = (root @ root.T + 0.1 * np.eye(len(root)) for root in roots)

    def distortion(levels):
        error = weight - levels
        return np.trace(columns @ error.T @ rows @ error) / 2

    decisions = quantize(weight, rows, columns, np.ones(20), FREE)
    assert distortion(decisions) < 0.5 * distortion(np.rint(weight))


# The algorithm


def test_a_step_is_where_a_bit_is_worth_its_price():
    """With D = 1, 12 x ln2 / 12 / ln2 is the square of a step of 1, whose exponent is 0."""
    rate = np.log(2) / 12
    weight = [[5.0], [-3.0], [2.0], [7.0]]
    assert packed(weight, rate) == ([[5], [-3], [2], [7]], [0])
    # Four times the distortion halves the step, which is eight eighths of an octave.
    assert packed(weight, rate, input_moment=[4, 4, 4, 4]) == ([[10], [-6], [4], [14]], [-8])
    assert packed(weight, rate, output_moment=[4]) == ([[10], [-6], [4], [14]], [-8])


def test_columns_that_matter_more_have_smaller_steps():
    """Octaves of the damped distortions: 0.51 and 4.04, of which half the difference counts."""
    _, exponents = packed([[5.0, 5.0]], np.log(2) / 12, output_moment=[1, 16])
    assert exponents == [-6, -13]


def test_a_bias_has_one_step():
    compressor, info = RateQuantization(np.log(2) / 12), WeightInfo("dense/bias", (3,))
    known = {"input_moment": np.ones([1, 1], np.float32), "output_moment": np.eye(3)}
    v = compressor.init(np.array([3.0, -2.0, 0.1], np.float32), info, Step(0, 0), known)
    arrays = compressor.compress(v, info)
    assert (arrays["levels"].tolist(), arrays["exponents"].tolist()) == ([3, -2, 0], [0])


def test_a_moment_of_zeros_counts_as_none():
    weight, rate = [[5.0], [-3.0]], np.log(2) / 12
    assert packed(weight, rate, input_moment=np.zeros([2, 2])) == packed(weight, rate)


@pytest.mark.parametrize("rate_weight", [0.0, -1e-7, float("nan")])
def test_a_rate_weight_that_is_not_above_0_is_refused(rate_weight):
    with pytest.raises(CompressionError, match="dense/kernel: a number above 0"):
        RateQuantization(rate_weight).check(WeightInfo("dense/kernel", (4, 1)))
