"""Entropy-penalized reparameterization under a power law, on numbers worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kwc.algorithms import EPR, FastEPR
from kwc.compressor import CompressionError, Variables, WeightInfo
from kwc.schedules import Step

SEED = tf.constant([0, 0], tf.int32)
KERNEL = WeightInfo("conv2d/kernel", (2, 2, 1, 3))
ROW = WeightInfo("dense/kernel", (4, 1))


def test_bits_of_four_numbers():
    """In steps of 0.5 the magnitudes are 0, 0.75, 1.75 and 7.75; a quarter is added to each."""
    v = Variables({"latents": tf.constant([[0], [-0.375], [0.875], [3.875]])})
    v.params["log_step"] = tf.math.log([[0.5]])
    with tf.GradientTape() as tape:
        tape.watch(v.params)
        bits = FastEPR(offset=0.25).penalty(v, ROW, SEED)
    assert bits.numpy() == pytest.approx(np.log2(1) + np.log2(4) + np.log2(8) + np.log2(32))
    gradients = tape.gradient(bits, v.params)
    # A magnitude m grows by 2 for each unit of its latent, and its bits by 1 / (m + 1/4) nats.
    slopes = np.array([0, -2 / 1, 2 / 2, 2 / 8]) / np.log(2)
    np.testing.assert_allclose(np.ravel(gradients["latents"]), slopes, rtol=1e-6)
    expected = -(0.75 / 1 + 1.75 / 2 + 7.75 / 8) / np.log(2)
    np.testing.assert_allclose(gradients["log_step"], [[expected]], rtol=1e-6)


def test_each_frequency_has_a_step_of_its_own():
    v = Variables(
        {"latents": tf.ones(KERNEL.shape), "log_step": tf.math.log([[1.0], [2], [4], [8]])}
    )
    bits = FastEPR(offset=1.0).penalty(v, KERNEL, SEED)
    assert bits.numpy() == pytest.approx(3 * np.log2(2 * 1.5 * 1.25 * 1.125), rel=1e-6)


def test_its_latents_and_files_are_those_of_epr():
    weight = np.random.default_rng(0).normal(size=KERNEL.shape).astype(np.float32)
    both = [c.init(weight, KERNEL, Step(0, 0), {}) for c in (FastEPR(), EPR())]
    for name, param in both[0].params.items():
        np.testing.assert_array_equal(param, both[1].params[name])
    packed = [
        c.compress(Variables({k: tf.constant(x) for k, x in v.params.items()}), KERNEL)
        for c, v in zip((FastEPR(), EPR()), both, strict=True)
    ]
    np.testing.assert_equal(*packed)


def test_only_an_offset_above_0_is_taken():
    with pytest.raises(CompressionError, match="above 0"):
        FastEPR(offset=0.0).check(ROW)
