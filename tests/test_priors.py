"""The bits of latent integers under a logistic density, and the gradient of their relaxation."""

import math

import numpy as np
import pytest
import tensorflow as tf

from kwc import priors

SEED = tf.constant([1, 2], tf.int32)
# With steps of 1, half of the mass is within the middle bin: tanh(log(3) / 2) = 1/2.
LOG_SCALE = -math.log(2 * math.log(3))


def bits(latents, step=1.0, log_scale=LOG_SCALE):
    """The bits of one group."""
    logs = tf.math.log([[step]]), tf.constant([[log_scale]])
    return priors.logistic_bits(tf.constant([latents], tf.float32), *logs, SEED).numpy()


def test_bits_are_those_of_the_mass_in_a_bin():
    # sigmoid(x / scale) is 3/4, 27/28 and 243/244 at x = 1/2, 3/2 and 5/2.
    one, two = 27 / 28 - 3 / 4, 243 / 244 - 27 / 28
    assert bits([0.2]) == pytest.approx(1)
    assert bits([0.4, -1.4, 0.9, 2.4]) == pytest.approx(1 - 2 * math.log2(one) - math.log2(two))


def test_a_step_and_a_scale_grow_together():
    expected = bits([0, -1, 1, 2])
    assert bits([0, -0.25, 0.25, 0.5], 0.25, LOG_SCALE + math.log(0.25)) == pytest.approx(expected)


@pytest.mark.parametrize("log_scale", [-3.0, -0.7, 0.0, 1.0, 3.0])
def test_probabilities_sum_to_one(log_scale):
    total = sum(2.0 ** -bits([level], log_scale=log_scale) for level in range(-300, 301))
    assert total == pytest.approx(1, abs=1e-4)


def relaxed(latents, log_step, log_scale):
    """The bits with noise in place of rounding, by the difference of two sigmoids."""
    noise = tf.random.stateless_uniform([1, latents.shape[1]], SEED, -0.5, 0.5)
    steps = tf.exp(log_step)
    x = latents + steps * tf.cast(noise, latents.dtype)
    upper, lower = ((x + sign * steps / 2) / tf.exp(log_scale) for sign in (1, -1))
    return -tf.reduce_sum(tf.math.log(tf.sigmoid(upper) - tf.sigmoid(lower))) / math.log(2)


def test_the_gradient_is_that_of_the_relaxation():
    latents = np.random.default_rng(0).normal(size=(3, 50))
    values = [latents, np.log([[0.3], [2.0], [0.01]]), np.array([[-0.5], [-1.0], [0.5]])]
    gradients = []
    for function, dtype in (priors.logistic_bits, tf.float32), (relaxed, tf.float64):
        variables = [tf.Variable(value, dtype=dtype) for value in values]
        extra = [SEED] if dtype == tf.float32 else []
        with tf.GradientTape() as tape:
            total = 2.0 * function(*variables, *extra)
        gradients.append(tape.gradient(total, variables))
    for ours, reference in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-4)


def test_a_group_of_zeros_costs_nothing_and_stays_finite():
    variables = [tf.zeros([1, 100]), tf.constant([[0.0]]), tf.constant([[-50.0]])]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        total = priors.logistic_bits(*variables, SEED)
    assert total.numpy() == pytest.approx(0, abs=1e-4)
    for gradient in tape.gradient(total, variables):
        assert np.all(np.isfinite(gradient))


def test_a_scale_starts_with_the_mean_square_of_its_group():
    groups = np.array([[3.0, -3.0], [0.0, 0.0]])
    expected = np.log(np.array([[3.0], [0.5]]) * math.sqrt(3) / math.pi)
    np.testing.assert_allclose(priors.logistic_log_scale(groups, 0.5), expected)


@pytest.mark.parametrize("log_scale", [-20.0, 0.0, 20.0])
@pytest.mark.parametrize("latent", [0.0, 1e6])
def test_gradients_are_finite_however_wide_or_narrow_a_bin_is(latent, log_scale):
    variables = [tf.fill([1, 3], latent), tf.constant([[0.0]]), tf.constant([[log_scale]])]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        total = priors.logistic_bits(*variables, SEED)
    assert np.isfinite(total)
    for gradient in tape.gradient(total, variables):
        assert np.all(np.isfinite(gradient))
