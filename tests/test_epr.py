"""Entropy-penalized reparameterization on numbers that are worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import dense

import kwc
from kwc.algorithms import EPR
from kwc.compressor import CompressionError, Variables, WeightInfo
from kwc.fourier import fourier
from kwc.ops import NumpyOps
from kwc.schedules import Step

SEED = tf.constant([0, 0], tf.int32)
KERNEL = WeightInfo("conv2d/kernel", (2, 2, 1, 3))
ROW = WeightInfo("dense/kernel", (4, 1))


def initial(weight, info):
    weight = np.array(weight, np.float32).reshape(info.shape)
    v = EPR().init(weight, info, Step(0, 0), {})
    return Variables({key: tf.constant(x, tf.float32) for key, x in v.params.items()})


def test_waves_of_four_positions():
    root = np.sqrt(0.5)
    expected = [[0.5] * 4, [root, 0, -root, 0], [0.5, -0.5, 0.5, -0.5], [0, -root, 0, root]]
    np.testing.assert_allclose(fourier((4,)), expected, atol=1e-7)


@pytest.mark.parametrize("window", [(1,), (2,), (7,), (5, 5), (4, 6), (3, 2, 3)])
def test_the_transform_is_orthonormal(window):
    waves = fourier(window)
    np.testing.assert_allclose(waves @ waves.T, np.eye(len(waves)), atol=1e-6)


def test_a_pair_of_waves_has_the_energy_of_its_complex_frequency():
    kernel = np.random.default_rng(0).normal(size=(5, 4))
    ours = np.square(fourier((5, 4)) @ kernel.ravel()).reshape(5, 4)
    theirs = np.square(np.abs(np.fft.fft2(kernel, norm="ortho")))
    opposite = np.ix_(-np.arange(5) % 5, -np.arange(4) % 4)
    np.testing.assert_allclose(ours + ours[opposite], theirs + theirs[opposite], atol=1e-6)


def test_a_constant_window_is_one_latent():
    v = initial([[1, 2, 0]] * 4, KERNEL)
    latents = v.params["latents"].numpy().reshape(4, 3)
    np.testing.assert_allclose(latents, [[2, 4, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], atol=1e-6)


def test_each_frequency_has_a_step_and_a_scale_of_its_own():
    shapes = {"latents": (2, 2, 1, 3), "log_step": (4, 1), "log_scale": (4, 1)}
    assert EPR().param_shapes(KERNEL) == shapes
    packed = EPR().compress(initial(np.ones(12), KERNEL), KERNEL)
    assert packed["levels"].shape == KERNEL.shape
    assert packed["exponents"].shape == (4,)


@pytest.mark.parametrize(
    "info", [ROW, WeightInfo("bias", (4,)), WeightInfo("patches/kernel", (40, 40, 1, 1))]
)
def test_other_weights_and_large_windows_are_one_group(info):
    assert EPR().param_shapes(info)["log_step"] == (1, 1)


def test_levels_times_the_step():
    v = initial([0.4, 0.6, -1.7, 2.0], ROW)
    v = Variables(v.params | {"log_step": tf.math.log([[0.5]])})
    packed = EPR().compress(v, ROW)
    assert packed["levels"].ravel().tolist() == [1, 1, -3, 4]
    assert packed["levels"].dtype == packed["exponents"].dtype == np.int8
    assert packed["exponents"].tolist() == [-8]
    assert EPR().decompress(NumpyOps, packed, ROW).ravel().tolist() == [0.5, 0.5, -1.5, 2.0]


def test_a_weight_of_zeros_has_a_step_to_move_by():
    v = initial([0, 0, 0, 0], ROW)
    assert np.exp(v.params["log_step"]) == pytest.approx(2.0**-6)
    assert np.all(np.isfinite(v.params["log_scale"]))


@pytest.mark.parametrize(
    "wrong", [{"step_rate": 0.0}, {"freeze": 0.0}, {"freeze": 1.5}, {"settle": 1.5}]
)
def test_hyperparameters_out_of_range_are_refused(wrong):
    with pytest.raises(CompressionError, match="above 0, settle and freeze at most 1"):
        EPR(**wrong).check(ROW)


def test_from_the_freeze_on_zero_latents_stay():
    compressor, one = EPR(freeze=0.5), tf.constant(1, tf.int64)
    v = compressor.init(np.float32([[3], [0], [0], [-4]]), ROW, Step(0, 4), {})
    params = v.params | {"log_step": tf.zeros([1, 1])}
    v = compressor.update(Variables(params, v.state), ROW, Step(one, 4), {})
    assert np.all(v.state["keep"])
    v = compressor.update(v, ROW, Step(2 * one, 4), {})
    np.testing.assert_array_equal(v.state["keep"], [[True, False, False, True]])
    v = Variables(v.params | {"latents": tf.constant([[0.4], [2.0], [0.0], [-5.0]])}, v.state)
    v = compressor.update(v, ROW, Step(3 * one, 4), {})
    with tf.GradientTape() as tape:
        tape.watch(v.params["latents"])
        weight = compressor.project(v, ROW, True, SEED)
    np.testing.assert_array_equal(weight, [[0], [0], [0], [-5]])
    gradient = tape.gradient(weight, v.params["latents"])
    np.testing.assert_array_equal(gradient, [[1], [0], [0], [1]])
    assert compressor.compress(v, ROW)["levels"].ravel().tolist() == [0, 0, 0, -5]


def test_steps_are_exact_until_they_settle():
    """From half of the training on a step of 1.04 is 1; the level of 0.51 was 0, and becomes 1."""
    compressor = EPR(settle=0.5)
    v = compressor.init(np.float32([[0.51], [1], [2], [-3]]), ROW, Step(0, 4), {})
    v = Variables(v.params | {"log_step": tf.constant([[0.04]])}, v.state)
    for index in (1, 2):
        weight = compressor.project(v, ROW, True, SEED)
        expected = np.multiply([0, 1, 2, -3], np.exp(0.04))
        np.testing.assert_allclose(np.ravel(weight), expected, rtol=1e-6)
        assert np.ravel(compressor.project(v, ROW, False, SEED)).tolist() == [1, 1, 2, -3]
        assert compressor.compress(v, ROW)["levels"].ravel().tolist() == [1, 1, 2, -3]
        v = compressor.update(v, ROW, Step(tf.constant(index, tf.int64), 4), {})
    np.testing.assert_array_equal(v.params["log_step"], [[0]])
    moved = Variables(v.params | {"log_step": tf.constant([[0.003]])}, v.state)
    v = compressor.update(moved, ROW, Step(tf.constant(3, tf.int64), 4), {})
    np.testing.assert_array_equal(v.params["log_step"], [[0]])
    assert np.ravel(compressor.project(v, ROW, True, SEED)).tolist() == [1, 1, 2, -3]


@pytest.mark.parametrize("freeze", [0.25, 1.0])
def test_steps_settle_no_later_than_zeros_freeze(freeze):
    compressor = EPR(settle=0.75, freeze=freeze)
    v = compressor.init(np.ones([4, 1], np.float32), ROW, Step(0, 4), {})
    v = compressor.update(v, ROW, Step(tf.constant(1, tf.int64), 4), {})
    assert bool(v.state["settled"]) == (freeze == 0.25)


def test_steps_of_a_training_without_end_are_settled():
    v = EPR().init(np.ones([4, 1], np.float32), ROW, Step(0, 0), {})
    v = Variables(v.params | {"log_step": tf.constant([[0.04]])}, v.state)
    assert np.ravel(EPR().project(v, ROW, True, SEED)).tolist() == [1, 1, 1, 1]


def test_without_a_freeze_and_settled_steps_there_is_no_state():
    compressor = EPR(settle=1.0)
    v = compressor.init(np.ones([4, 1], np.float32), ROW, Step(0, 4), {})
    assert compressor.update(v, ROW, Step(tf.constant(2, tf.int64), 4), {}).state == {}


def test_the_rate_makes_the_file_smaller_and_foretells_its_bytes(tmp_path):
    sizes = []
    x = np.random.default_rng(0).normal(size=(256, 400)).astype(np.float32)
    for rate_weight in (0.01, 1.0):
        model = dense(inputs=400)
        kwc.compress(model, kwc.Spec([(".*", EPR())]), total_steps=64, rate_weight=rate_weight)
        model.compile(tf_keras.optimizers.Adam(0.005), "mse")
        model.fit(x, x[:, :3], batch_size=32, epochs=8, verbose=0)
        report = kwc.save(model, tmp_path / "model.kwc")
        expected = sum(row.bits_estimated for row in report.weights) / 8
        assert report.sizes.payload_bytes == pytest.approx(expected, rel=0.1, abs=40)
        sizes.append(report.sizes.file_bytes)
    assert sizes[1] < 0.7 * sizes[0]
