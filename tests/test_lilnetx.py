"""LilNetX on numbers that are worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kwc.algorithms import LilNetX
from kwc.algorithms.lilnetx import principal_axes
from kwc.compressor import CompressionError, Variables, WeightInfo
from kwc.ops import NumpyOps
from kwc.schedules import Step

SEED = tf.constant([0, 0], tf.int32)
KERNEL = WeightInfo("conv2d/kernel", (2, 1, 4, 4))
SMALL = WeightInfo("conv2d/kernel", (2, 2, 1, 3))
MATRIX = WeightInfo("dense/kernel", (2, 2))


def initial(weight, info):
    weight = np.array(weight, np.float32).reshape(info.shape)
    v = LilNetX().init(weight, info, Step(0, 0), {})
    return Variables({key: tf.constant(x, tf.float32) for key, x in v.params.items()})


def test_windows_along_one_direction_are_one_latent():
    # Windows (3, 4) times 1 and -2: their axis is (0.6, 0.8), rounded to 38 / 64 and 51 / 64.
    windows = np.array([[3.0], [4.0]]) * np.tile([1, -2], 8)
    v = initial(windows, KERNEL)
    latents = v.params["latents"].numpy().reshape(2, 16)
    np.testing.assert_allclose(latents[0], np.tile([5, -10], 8), rtol=1e-2)
    np.testing.assert_allclose(latents[1], 0, atol=0.1)
    np.testing.assert_allclose(v.params["decoder"], [[0.6, 0.8], [0.8, -0.6]], atol=1e-6)


def test_axes_are_orthonormal_and_in_order_of_energy():
    values = np.random.default_rng(0).normal(size=(6, 40)) * np.arange(1, 7)[:, None]
    axes = principal_axes(values.astype(np.float32))
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-6)
    energy = np.sum(np.square(axes.T @ values), axis=1)
    assert list(energy) == sorted(energy, reverse=True)


def test_a_decoder_times_the_steps_times_the_levels():
    params = {
        "latents": tf.reshape(tf.constant([[1.1, -0.4] * 8, [0.2, 0.9] * 8]), KERNEL.shape),
        "log_step": tf.math.log([[0.5], [1.0]]),
        "log_scale": tf.zeros([2, 1]),
        "decoder": tf.constant([[0.5, 0.25], [1.001, -1.0]]),
    }
    packed = LilNetX().compress(Variables(params), KERNEL)
    assert packed["levels"].reshape(2, 16)[:, :2].tolist() == [[2, -1], [0, 1]]
    assert packed["exponents"].tolist() == [-8, 0]
    assert packed["decoder"].tolist() == [[32, 16], [64, -64]]
    assert {array.dtype for array in packed.values()} == {np.dtype(np.int8)}
    weight = LilNetX().decompress(NumpyOps, packed, KERNEL)
    assert weight.reshape(2, 16)[:, :2].tolist() == [[0.5, 0.0], [1.0, -1.5]]
    projected = LilNetX().project(Variables(params), KERNEL, True, SEED)
    np.testing.assert_array_equal(projected, weight)


@pytest.mark.parametrize("info", [SMALL, MATRIX, WeightInfo("bias", (4,))])
def test_only_a_large_kernel_has_a_decoder(info):
    assert "decoder" in LilNetX().param_shapes(KERNEL)
    assert "decoder" not in LilNetX().param_shapes(info)
    assert LilNetX().param_shapes(info)["log_step"] == (1, 1)


def by_the_prior(latents, info, step):
    """The gradient that the prior adds to the latents."""
    gradients = []
    for slices in (0.0, 2.0):
        v = initial(np.ones(info.shape), info).params | {
            "latents": tf.Variable(np.reshape(latents, info.shape), dtype=tf.float32),
            "log_step": tf.math.log([[step]]),
        }
        with tf.GradientTape() as tape:
            bits = LilNetX(slices=slices).penalty(Variables(v), info, SEED)
        gradients.append(tape.gradient(bits, v["latents"]).numpy())
    return gradients[1] - gradients[0]


def test_the_prior_pulls_a_row_along_its_direction():
    # 2 bits times sqrt(2) latents times the direction (0.6, 0.8), per step of a half.
    pull = by_the_prior([[3, 4], [0, 0]], MATRIX, step=0.5)
    expected = 4 * np.sqrt(2) * np.array([[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(pull, expected, rtol=1e-4, atol=1e-5)


def test_the_prior_pulls_a_window_as_a_whole():
    pull = by_the_prior([[3, 0, 0], [0, 0, 0], [0, 0, 0], [4, 5, 0]], SMALL, step=1.0)
    expected = 4 * np.array([[0.6, 0, 0], [0, 0, 0], [0, 0, 0], [0.8, 1, 0]])
    np.testing.assert_allclose(pull.reshape(4, 3), expected, rtol=1e-4, atol=1e-5)


def test_a_bias_has_no_slices():
    assert np.all(by_the_prior([1, 2, 3, 4], WeightInfo("bias", (4,)), step=1.0) == 0)


def test_steps_settle():
    compressor = LilNetX(settle=0.5)
    v = compressor.init(np.ones([2, 2], np.float32), MATRIX, Step(0, 4), {})
    v = Variables(v.params | {"log_step": tf.constant([[0.04]])}, v.state)
    np.testing.assert_allclose(
        compressor.project(v, MATRIX, True, SEED), np.full([2, 2], np.exp(0.04)), rtol=1e-6
    )
    v = compressor.update(v, MATRIX, Step(tf.constant(2, tf.int64), 4), {})
    assert v.params["log_step"] == 0.0
    np.testing.assert_array_equal(compressor.project(v, MATRIX, True, SEED), np.ones([2, 2]))
    assert LilNetX(settle=1.0).init(np.ones([2, 2]), MATRIX, Step(0, 4), {}).state == {}


def test_the_prior_is_not_told_as_bits():
    v = initial([1, 2, 3, 4], MATRIX)
    told = [float(LilNetX(slices=x).penalty(v, MATRIX, SEED)) for x in (0.0, 100.0)]
    assert told[0] == pytest.approx(told[1])


@pytest.mark.parametrize("change", [{"step": 0.0}, {"slices": -1.0}, {"settle": 1.5}])
def test_hyperparameters_out_of_range_are_refused(change):
    with pytest.raises(CompressionError, match="above"):
        LilNetX(**change).check(MATRIX)
