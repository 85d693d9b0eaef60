"""Quantization against its code length, on a few numbers worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kwc.algorithms import EntropyConstrained
from kwc.compressor import CompressionError, Variables, WeightInfo
from kwc.schedules import Step

SEED = tf.constant([0, 0], tf.int32)
MATRIX = WeightInfo("dense/kernel", (2, 2))
BIAS = WeightInfo("dense/bias", (4,), "float32", (), (0,))
WEIGHT = [1.2, -0.3, 0.4, -2.6]


def variables(info, weight=WEIGHT, step=1.0, **params):
    """Variables of a given weight and step; all log odds are 0."""
    compressor = EntropyConstrained()
    v = compressor.init(np.ones(info.shape, np.float32), info, Step(0, 0), None)
    own = {"weight": np.reshape(weight, info.shape), "log_step": math.log(step)} | params
    return Variables(
        {name: tf.Variable(np.float32(own.get(name, x))) for name, x in v.params.items()},
        {name: tf.constant(x) for name, x in v.state.items()},
    )


@pytest.mark.parametrize("info", [MATRIX, BIAS], ids=["matrix", "bias"])
def test_a_weight_is_whole_steps_and_their_gradient_goes_through(info):
    v = variables(info, step=0.5)
    with tf.GradientTape() as tape:
        weight = EntropyConstrained().project(v, info, True, SEED)
        total = tf.reduce_sum(weight * np.reshape([1.0, 2.0, 3.0, 4.0], info.shape))
    np.testing.assert_array_equal(np.ravel(weight), [1, -0.5, 0.5, -2.5])
    gradients = tape.gradient(total, v.params)
    np.testing.assert_array_equal(np.ravel(gradients["weight"]), [1, 2, 3, 4])
    # Of what rounding adds to each: -0.2, -0.2, 0.1 and 0.1.
    assert gradients["log_step"].numpy() == pytest.approx(-0.2 - 0.4 + 0.3 + 0.4, abs=1e-5)


@pytest.mark.parametrize("info", [MATRIX, BIAS], ids=["matrix", "bias"])
def test_expected_bits_of_four_numbers(info):
    """The levels are 1, 0, 0 and -3; at even odds each choice is a bit, and a sign 0.9."""
    v = variables(info)
    with tf.GradientTape() as tape:
        bits = EntropyConstrained().penalty(v, info, SEED)
    assert bits.numpy() == pytest.approx(4 + 2 * (0.9 + 1) + 2 * 1)
    gradients = tape.gradient(bits, v.params)
    np.testing.assert_allclose(np.ravel(gradients["weight"]), [1, -1.9, 1.9, -1], rtol=1e-6)
    assert gradients["log_step"].numpy() == pytest.approx(-(1.2 + 1.9 * 0.3 + 1.9 * 0.4 + 2.6))
    nat = 1 / math.log(2)
    assert gradients["logit"].numpy() == pytest.approx((4 * 0.5 - 2) * nat, abs=1e-6)
    assert gradients["tail_logit"].numpy() == pytest.approx((2 * 0.5 - 2 * 0.5) * nat, abs=1e-6)


def test_an_empty_row_is_dear():
    v = variables(MATRIX, row_logits=[2.0, -2.0], column_logits=[0.0, 1.0])
    with tf.GradientTape() as tape:
        bits = EntropyConstrained().penalty(v, MATRIX, SEED)
    logits = np.array([[2.0, 3.0], [-2.0, -1.0]])
    nonzero = np.array([[1, 0], [0, 1]])
    nats = np.log1p(np.exp(logits)) - logits * nonzero
    assert bits.numpy() == pytest.approx(nats.sum() / math.log(2) + 2 * 1.9 + 2, rel=1e-6)
    gradients = tape.gradient(bits, v.params)
    slopes = [1, -(1.9 - 3 / math.log(2)), 1.9 + 2 / math.log(2), -1]
    np.testing.assert_allclose(np.ravel(gradients["weight"]), slopes, rtol=1e-5)
    errors = (1 / (1 + np.exp(-logits)) - nonzero) / math.log(2)
    np.testing.assert_allclose(gradients["row_logits"], errors.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(gradients["column_logits"], errors.sum(axis=0), atol=1e-6)


def test_the_gradient_is_that_of_straight_lines_between_whole_numbers():
    """Autodiff of the formula, in which only levels are whole."""
    rng = np.random.default_rng(0)
    info = WeightInfo("conv/kernel", (2, 3, 4, 5))
    drawn = {"row_logits": rng.normal(size=24), "column_logits": rng.normal(size=5)}
    v = variables(info, rng.normal(size=info.size), 0.7, **drawn, tail_logit=0.3)
    with tf.GradientTape() as tape:
        actual = EntropyConstrained().penalty(v, info, SEED)
    gradients = tape.gradient(actual, v.params)
    step = float(2 ** (np.rint(8 * np.log2(0.7)) / 8))
    with tf.GradientTape() as tape:
        p = v.params
        odds = tf.reshape(p["row_logits"], (2, 3, 4, 1)) + p["column_logits"] + p["logit"]
        size = step * tf.exp(p["log_step"] - tf.stop_gradient(p["log_step"]))
        level = tf.abs(p["weight"] / size)
        whole = tf.round(level)
        one, more = tf.minimum(level, 1), tf.nn.relu(level - 1)
        one += tf.stop_gradient(tf.minimum(whole, 1) - one)
        more += tf.stop_gradient(tf.nn.relu(whole - 1) - more)
        t = p["tail_logit"]
        first = 0.9 * math.log(2) + tf.nn.softplus(t) - odds
        nats = tf.nn.softplus(odds) + one * first + more * (tf.nn.softplus(t) - t)
        expected = tf.reduce_sum(nats) / math.log(2)
    assert actual.numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    for name, gradient in tape.gradient(expected, p).items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-4, err_msg=name)


def test_from_the_freeze_on_zeros_stay():
    compressor = EntropyConstrained(freeze=0.5)
    v, one = variables(MATRIX), tf.constant(1, tf.int64)
    v = compressor.update(v, MATRIX, Step(one, 4), {})
    assert np.all(v.state["keep"])
    v = compressor.update(v, MATRIX, Step(2 * one, 4), {})
    np.testing.assert_array_equal(v.state["keep"], [[True, False], [False, True]])
    v = Variables(v.params | {"weight": tf.constant([[0.1, 2.0], [2.0, 2.0]])}, v.state)
    v = compressor.update(v, MATRIX, Step(3 * one, 4), {})
    with tf.GradientTape() as tape:
        tape.watch(v.params["weight"])
        weight = compressor.project(v, MATRIX, True, SEED)
    np.testing.assert_array_equal(weight, [[0, 0], [0, 2]])
    gradient = tape.gradient(weight, v.params["weight"])
    np.testing.assert_array_equal(gradient, [[1, 0], [0, 1]])
    assert compressor.compress(v, MATRIX)["levels"].tolist() == [[0, 0], [0, 2]]


def test_the_file_has_the_levels_and_a_byte_for_the_step():
    packed = EntropyConstrained().compress(variables(MATRIX, step=0.5), MATRIX)
    assert {name: array.dtype.name for name, array in packed.items()} == {
        "levels": "int8",
        "exponent": "int8",
    }
    assert packed["levels"].tolist() == [[2, -1], [1, -5]]
    assert packed["exponent"].tolist() == [-8]


def test_the_step_is_exact_until_it_settles():
    """From half of the training on a step of 1.04 is 1; the level of 0.51 was 0, and becomes 1."""
    compressor = EntropyConstrained(settle=0.5)
    v = compressor.init(np.ones([2, 2], np.float32), MATRIX, Step(0, 4), {})
    own = {"weight": tf.constant([[0.51, 1.0], [2.0, -3.0]]), "log_step": tf.constant(0.04)}
    v = Variables(v.params | own, v.state)
    exact = math.exp(0.04)
    for index in (1, 2):
        weight = compressor.project(v, MATRIX, True, SEED)
        np.testing.assert_allclose(np.ravel(weight), np.multiply([0, 1, 2, -3], exact), rtol=1e-6)
        np.testing.assert_array_equal(np.ravel(compressor.project(v, MATRIX, False, SEED))[0], 1)
        v = compressor.update(v, MATRIX, Step(tf.constant(index, tf.int64), 4), {})
    assert v.params["log_step"] == 0.0
    weight = compressor.project(v, MATRIX, True, SEED)
    np.testing.assert_array_equal(np.ravel(weight), [1, 1, 2, -3])


def test_params_learn_at_the_rates_of_the_hyperparameters():
    rates = EntropyConstrained(step_rate=2.0, prior_rate=5.0).learning_rates(BIAS)
    assert rates == {"log_step": 2.0, "logit": 5.0, "tail_logit": 5.0}
    assert {"row_logits", "column_logits"} < EntropyConstrained().learning_rates(MATRIX).keys()


@pytest.mark.parametrize(
    "wrong",
    [{"step": 0.0}, {"step_rate": -1.0}, {"prior_rate": 0.0}, {"freeze": 1.5}, {"settle": 1.5}],
)
def test_hyperparameters_out_of_range_are_refused(wrong):
    with pytest.raises(CompressionError, match=r"dense/kernel: all of these are above 0"):
        EntropyConstrained(**wrong).check(MATRIX)
