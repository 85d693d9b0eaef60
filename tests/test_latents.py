"""Steps that a byte stands for, and rounding that lets gradients through."""

import numpy as np
import pytest
import tensorflow as tf

from kwc import latents
from kwc.ops import NumpyOps, TensorFlowOps
from kwc.schedules import Step

EVERY = np.arange(-128, 128).astype(np.int8)


def test_an_eighth_of_an_octave_is_a_step():
    steps = latents.steps(NumpyOps, np.array([0, 8, -8, 4, -128, 127], np.int8))
    assert steps.dtype == np.float32
    np.testing.assert_array_equal(steps, np.float32([1, 2, 0.5, np.sqrt(2), 2.0**-16, 2**15.875]))


def test_every_exponent_decodes_alike_and_comes_back():
    steps = latents.steps(NumpyOps, EVERY)
    np.testing.assert_array_equal(latents.steps(TensorFlowOps, tf.constant(EVERY)), steps)
    np.testing.assert_array_equal(latents.exponents(tf.math.log(steps)), EVERY)
    np.testing.assert_array_equal(latents.learned_steps(tf.math.log(steps)), steps)


def test_a_step_is_the_nearest_one_and_passes_the_gradient_of_the_exponential():
    log_step = tf.Variable([-0.693147 + 0.03, -0.693147 + 0.05, 50.0, -50.0])
    with tf.GradientTape() as tape:
        steps = latents.learned_steps(log_step)
        total = tf.reduce_sum(steps * [1.0, 2.0, 1.0, 1.0])
    expected = np.float32([0.5, 2 ** (-7 / 8), 2**15.875, 2.0**-16])
    np.testing.assert_array_equal(steps, expected)
    np.testing.assert_allclose(tape.gradient(total, log_step), expected * [1, 2, 1, 1])


def test_a_graph_has_the_same_steps():
    log_step = tf.constant(np.random.default_rng(0).normal(-3, 2, 10_000), tf.float32)
    in_graph = tf.function(latents.learned_steps, autograph=False)(log_step)
    np.testing.assert_array_equal(in_graph, latents.learned_steps(log_step))
    stored = latents.exponents(log_step).numpy().astype(np.int8)
    np.testing.assert_array_equal(in_graph, latents.steps(NumpyOps, stored))


def test_rounding_passes_the_gradient_through():
    x = tf.Variable([0.4, 0.5, -1.5, 2.6])
    with tf.GradientTape() as tape:
        y = latents.round_through(x)
        total = tf.reduce_sum(y**2)
    np.testing.assert_array_equal(y, [0, 0, -2, 3])
    np.testing.assert_array_equal(tape.gradient(total, x), [0, 0, -4, 6])


def test_steps_are_exact_in_training_until_they_settle():
    log_step = tf.constant([[0.04]])
    for settled, training in ((None, True), (True, True), (False, False), (False, None)):
        settled = settled if settled is None else tf.constant(settled)
        assert latents.training_steps(log_step, settled, training) == 1.0
    for training in (True, tf.constant(True)):
        steps = latents.training_steps(log_step, tf.constant(False), training)
        np.testing.assert_allclose(steps, [[np.exp(0.04)]], rtol=1e-6)
    assert latents.training_steps(log_step, tf.constant(False), tf.constant(False)) == 1.0


@pytest.mark.parametrize(("index", "total", "expected"), [(1, 4, 0.04), (2, 4, 0.0), (2, 0, 0.04)])
def test_steps_settle_at_a_fraction_of_the_training(index, total, expected):
    step = Step(tf.constant(index, tf.int64), total)
    log_step, settled = latents.settle(tf.constant([[0.04]]), tf.constant(False), 0.5, step)
    np.testing.assert_allclose(log_step, [[expected]])
    assert bool(settled) == (expected == 0.0)


def test_a_step_takes_the_gradient_of_what_rounding_added():
    x = tf.Variable([[0.4, 0.6, -1.7, 2.0]])
    log_step = tf.Variable([[-np.log(2)]], dtype="float32")
    with tf.GradientTape() as tape:
        weight = latents.quantize(x, log_step, tf.exp(log_step))
        total = tf.reduce_sum(weight * [[1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_array_equal(weight, [[0.5, 0.5, -1.5, 2.0]])
    by_latents, by_step = tape.gradient(total, [x, log_step])
    np.testing.assert_array_equal(by_latents, [[1, 2, 3, 4]])
    np.testing.assert_allclose(by_step, [[0.1 - 2 * 0.1 + 3 * 0.2]], rtol=1e-5)


@pytest.mark.parametrize(
    ("levels", "dtype"),
    [([-127, 3], np.int8), ([-128, 0], np.int16), ([40_000], np.int32), ([], np.int8)],
)
def test_levels_are_as_narrow_as_they_fit(levels, dtype):
    packed = latents.as_integers(np.array(levels, np.float32))
    assert packed.dtype == dtype
    np.testing.assert_array_equal(packed, levels)


def test_a_level_beyond_32_bits_is_refused():
    with pytest.raises(OverflowError, match="does not fit"):
        latents.as_integers(np.float32([3e9]))
