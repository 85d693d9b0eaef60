"""Statistics against direct computations, on models of one or two layers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import MODELS, batch, built

import kwc
from kwc import paths
from kwc.algorithms import Quantization, RateQuantization
from kwc.calibration import Calibration, Calibrator
from kwc.compressor import CompressionError, WeightCompressor

keras = tf_keras.layers
BOTH = ("input_moment", "output_moment")


def sequential(shape, *layers):
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([keras.Input(shape), *layers])


def calibrator(model, data, **settings):
    weights = paths.weights(model)
    return Calibrator(model, weights, [w.path for w in weights], Calibration(data, **settings))


def moments(model, x, path, **settings):
    """The weight that is handed on, and both moments."""
    value, known = calibrator(model, [x], **settings).calibrated(path, BOTH)
    return value, known["input_moment"], known["output_moment"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1.0, shape).astype(np.float32)


def moment(rows, centred=False):
    """By NumPy in float64."""
    rows = np.asarray(rows, np.float64)
    rows = rows.reshape(-1, rows.shape[-1])
    return (
        np.cov(rows.T, bias=True).reshape(2 * rows.shape[1:])
        if centred
        else rows.T @ rows / len(rows)
    )


def assert_close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("shape", [(4,), (5, 4)], ids=str)
def test_dense(shape, use_bias):
    x = normal(16, *shape)
    model = sequential(shape, keras.Dense(3, use_bias=use_bias))
    value, inputs, _ = moments(model, x, "dense/kernel")
    # Where a bias follows, it answers for the mean.
    assert_close(inputs, moment(x, centred=use_bias))
    np.testing.assert_array_equal(value, model.layers[0].kernel)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"strides": 2},
        {"padding": "same"},
        {"strides": 2, "padding": "same"},
    ],
    ids=str,
)
def test_convolution(settings):
    x = normal(3, 9, 8, 2)
    layer = keras.Conv2D(4, (3, 2), use_bias=False, **settings)
    model = sequential(x.shape[1:], layer)
    _, inputs, _ = moments(model, x, "conv2d/kernel")
    # What a convolution with one-hot kernels puts out are the patches.
    rows = 3 * 2 * 2
    layer_of_patches = keras.Conv2D(rows, (3, 2), use_bias=False, **settings)
    layer_of_patches.build(x.shape)
    layer_of_patches.kernel.assign(np.eye(rows).reshape(3, 2, 2, rows))
    assert_close(inputs, moment(layer_of_patches(x)))


def test_a_dilated_convolution_also_counts_the_padding_that_is_cut_off_again():
    x = normal(3, 18, 16, 2)
    model = sequential(x.shape[1:], keras.Conv2D(4, (3, 2), dilation_rate=2, use_bias=False))
    _, inputs, _ = moments(model, x, "conv2d/kernel")
    assert inputs.shape == (12, 12)
    assert np.trace(inputs) == pytest.approx(12 * np.mean(x**2), rel=0.2)


def test_a_convolution_along_one_axis():
    x = normal(3, 9, 2)
    _, inputs, _ = moments(
        sequential((9, 2), keras.Conv1D(4, 3, use_bias=False)), x, "conv1d/kernel"
    )
    patches = np.stack([x[:, i : i + 3].reshape(3, -1) for i in range(7)], 1)
    assert_close(inputs, moment(patches))


def test_depthwise_channels_share_their_moment():
    x = normal(3, 5, 5, 2)
    model = sequential(x.shape[1:], keras.DepthwiseConv2D(2, use_bias=False))
    _, inputs, outputs = moments(model, x, "depthwise_conv2d/depthwise_kernel")
    patches = [x[:, i : i + 2, j : j + 2].transpose(0, 3, 1, 2) for i in range(4) for j in range(4)]
    assert_close(inputs, moment(np.stack(patches).reshape(-1, 4)))
    assert outputs.shape == (2, 2)


def test_einsum():
    x = normal(6, 5, 2, 3)
    layer = keras.EinsumDense("abcd,cde->abe", (None, 4), bias_axes="e")
    model = sequential((5, 2, 3), layer)
    _, inputs, outputs = moments(model, x, "einsum_dense/kernel")
    assert_close(inputs, moment(x.reshape(-1, 6), centred=True))
    assert outputs.shape == (4, 4)


@pytest.mark.parametrize(
    ("equation", "shape"), [("abd,dce->abce", (None, 2, 4)), ("...d,de->...e", 8)]
)
def test_einsum_with_several_output_axes_or_an_ellipsis(equation, shape):
    x = normal(6, 5, 3)
    model = sequential((5, 3), keras.EinsumDense(equation, shape))
    _, inputs, outputs = moments(model, x, "einsum_dense/kernel")
    assert_close(inputs, moment(x))
    assert outputs.shape == (8, 8)


def test_an_embedding_counts_its_rows():
    x = np.array([[0, 1, 1], [3, 1, 0]])
    model = sequential((3,), keras.Embedding(4, 2))
    value, inputs, outputs = moments(model, x, "embedding/embeddings")
    assert_close(inputs, np.array([2, 3, 0, 1]) / 6)
    assert outputs.shape == (2, 2)
    np.testing.assert_array_equal(value, model.layers[0].embeddings)


def test_a_shared_layer_sees_all_its_inputs():
    tf_keras.utils.set_random_seed(0)
    inputs, dense = keras.Input((3,)), keras.Dense(3, use_bias=False)
    model = tf_keras.Model(inputs, dense(dense(inputs)))
    x = normal(8, 3)
    _, found, _ = moments(model, x, "dense/kernel")
    assert_close(found, moment(np.concatenate([x, x @ dense.kernel.numpy()])))


# Curvature


def test_the_output_moment_of_logits_is_that_of_their_distribution():
    """For one layer, the expectation of g g^T is diag(p) - p p^T."""
    x = normal(2, 3)
    model = sequential((3,), keras.Dense(4))
    _, _, outputs = moments(model, x, "dense/kernel", probes=4000, temperature=2.0)
    p = tf.nn.softmax(model(x) / 2).numpy()
    expected = np.mean([np.diag(q) - np.outer(q, q) for q in p], axis=0)
    np.testing.assert_allclose(outputs, expected, atol=0.01)


def test_a_softmax_in_the_model_is_seen_through():
    x = normal(4, 3)
    plain = sequential((3,), keras.Dense(4))
    softmax = sequential((3,), keras.Dense(4, "softmax"))
    softmax.set_weights(plain.get_weights())
    assert_close(moments(plain, x, "dense/kernel")[2], moments(softmax, x, "dense/kernel")[2])


def test_outputs_that_are_no_logits_count_alike():
    model = sequential((3,), keras.Dense(2, use_bias=False), keras.Dense(1))
    x = normal(8, 3)
    _, _, outputs = moments(model, x, "dense/kernel")
    last = model.layers[1].kernel.numpy()
    assert_close(outputs, last @ last.T)


def test_boxes_that_are_chosen_do_not_count():
    class Detector(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.Dense(4, use_bias=False)

        def call(self, x):
            boxes = self.dense(x)
            chosen, *_ = tf.image.combined_non_max_suppression(
                boxes[:, :, None], boxes[:, :, :1], 2, 2
            )
            return boxes, chosen

    model, x = Detector(), normal(2, 5, 3)
    model(x)
    _, _, outputs = moments(model, x, "dense/kernel")
    assert_close(np.diagonal(outputs), [5] * 4)


# Layer by layer


def test_a_weight_answers_to_what_its_compressed_inputs_are():
    model = sequential((3,), keras.Dense(3, use_bias=False), keras.Dense(2, use_bias=False))
    first, second = (layer.kernel.numpy() for layer in model.layers)
    x = normal(32, 3)
    collect = calibrator(model, [x], ridge=0.0)
    assert collect.order() == ["dense/kernel", "dense_1/kernel"]
    # What a layer before it loses by a rotation and a scale, it wins back.
    rotation = 0.5 * np.linalg.qr(normal(3, 3))[0]
    collect.replace("dense/kernel", tf.constant(first @ rotation, tf.float32))
    value, _ = collect.calibrated("dense_1/kernel", BOTH)
    np.testing.assert_allclose(value, np.linalg.inv(rotation) @ second, rtol=1e-3, atol=1e-3)


def test_a_bias_keeps_the_mean_of_the_outputs():
    model = sequential((3,), keras.Dense(2))
    x = normal(32, 3)
    collect = calibrator(model, [x])
    kernel = model.layers[0].kernel.numpy()
    collect.replace("dense/kernel", tf.constant(0.5 * kernel))
    value, known = collect.calibrated("dense/bias", BOTH)
    assert_close(value, 0.5 * x.mean(0) @ kernel)
    assert known["input_moment"].tolist() == [[1]]
    # The means that were taken for the kernel say the same, without reading the data again.
    collect.replace("dense/kernel", tf.constant(kernel))
    collect.calibrated("dense/kernel", BOTH)
    collect.replace("dense/kernel", tf.constant(0.5 * kernel))
    assert_close(collect.calibrated("dense/bias", BOTH)[0], value)


def test_a_bias_behind_a_compressed_layer_keeps_the_mean_of_the_outputs():
    model = sequential((3,), keras.Dense(4, use_bias=False), keras.Dense(2))
    first, second = model.layers[0].kernel.numpy(), model.layers[1].kernel.numpy()
    x = normal(32, 3)
    collect = calibrator(model, [x])
    collect.replace("dense/kernel", tf.constant(0.9 * first))
    collect.calibrated("dense_1/kernel", BOTH)
    collect.replace("dense_1/kernel", tf.constant(0.8 * second))
    value, _ = collect.calibrated("dense_1/bias", BOTH)
    assert_close(value, (1 - 0.9 * 0.8) * x.mean(0) @ first @ second)


# Every kind of model


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_calibrated_and_left_as_it_was(name, tmp_path):
    model = built(name)
    x, _ = batch(name)
    before, classes = model(x).numpy(), [type(layer) for layer in model.submodules]
    calibrator(model, [x])
    np.testing.assert_array_equal(model(x), before)
    assert [type(layer) for layer in model.submodules] == classes
    kwc.compress(model, kwc.Spec([(".*", RateQuantization(1e-6))]), calibration=[x])
    expected = model(x)
    assert np.max(np.abs(expected - before)) < 0.05
    report = kwc.save(model, tmp_path / "model.kwc")
    unknown = {row.path: row.uncalibrated for row in report if row.uncalibrated}
    matrices = {path for path in unknown if path.endswith(("kernel", "embeddings", "head"))}
    assert matrices == {path for path in matrices if "cell" in path or "transpose" in path}
    assert len(matrices) == UNKNOWN[name]
    other = built(name)
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_array_equal(other(x), expected)


# Matrices of recurrent cells and of a transposed convolution are quantized without statistics.
UNKNOWN = {"convolutional": 1, "recurrent": 6, "attention": 0, "subclassed": 0}


def test_the_report_names_the_operation_that_is_not_understood():
    model = built("convolutional")
    x, _ = batch("convolutional")
    handle = kwc.compress(model, kwc.Spec([(".*", RateQuantization(1e-6))]), calibration=[x])
    reasons = {row.path: row.uncalibrated for row in handle.report()}
    assert reasons["conv2d_transpose/kernel"] == "Conv2DBackpropInput"


def test_a_convolution_in_groups_is_compressed_without_statistics():
    model = sequential((5, 5, 4), keras.Conv2D(4, 3, groups=2))
    handle = kwc.compress(
        model,
        kwc.Spec([(".*kernel", RateQuantization(1e-6)), (".*", None)]),
        calibration=[normal(2, 5, 5, 4)],
    )
    assert handle.report().weights[0].uncalibrated == "PartitionedCall"


def test_large_moments_are_kept_as_diagonals():
    x = normal(16, 4)
    model = sequential((4,), keras.Dense(3, use_bias=False))
    _, inputs, outputs = moments(model, x, "dense/kernel", largest=2)
    assert_close(inputs, np.mean(x**2, 0))
    assert outputs.shape == (3,)
    kwc.compress(
        model, kwc.Spec([(".*", RateQuantization(1e-6))]), calibration=Calibration([x], largest=2)
    )


def test_positions_are_drawn_where_there_are_many():
    x = normal(2, 40, 40, 1)
    model = sequential(x.shape[1:], keras.Conv2D(2, 3, use_bias=False))
    _, few, _ = moments(model, x, "conv2d/kernel", positions=500)
    _, every, _ = moments(model, x, "conv2d/kernel")
    assert not np.array_equal(few, every)
    np.testing.assert_allclose(few, every, atol=0.3)


def test_batches_are_read_until_there_are_enough_examples():
    def batches():
        yield normal(4, 4)
        yield normal(4, 4)
        raise AssertionError

    calibrator(sequential((4,), keras.Dense(3)), batches(), examples=7)


# Refusals


@dataclasses.dataclass(frozen=True)
class Asking(WeightCompressor):
    """Declares a statistic and uses none."""

    statistics = ("input_moment",)


SPEC = kwc.Spec([(".*kernel", Asking()), (".*", None)])


def test_statistics_without_data_are_refused():
    with pytest.raises(CompressionError, match="dense/kernel needs statistics"):
        kwc.compress(sequential((4,), keras.Dense(3)), SPEC)


def test_other_algorithms_need_no_data():
    model = sequential((4,), keras.Dense(3))
    kwc.compress(model, kwc.Spec([(".*kernel", Quantization(4)), (".*", None)]))


def test_empty_data_is_refused():
    with pytest.raises(CompressionError, match="calibration data is empty"):
        kwc.compress(sequential((4,), keras.Dense(3)), SPEC, calibration=[])


def test_data_that_is_not_finite_is_refused():
    bad = normal(4, 4)
    bad[1, 2] = np.nan
    with pytest.raises(CompressionError, match="Batch 1 of the calibration data holds NaN"):
        kwc.compress(sequential((4,), keras.Dense(3)), SPEC, calibration=[normal(4, 4), bad])


def test_data_of_another_shape_is_refused():
    with pytest.raises(CompressionError, match="cannot be run on the calibration data"):
        kwc.compress(sequential((4,), keras.Dense(3)), SPEC, calibration=[normal(4, 5)])


def test_activations_that_overflow_are_refused():
    x = np.full((4, 4), 1e30, np.float32)
    with pytest.raises(CompressionError, match="of dense/kernel on the calibration data is not"):
        kwc.compress(sequential((4,), keras.Dense(3)), SPEC, calibration=[x])


def test_a_step_that_does_not_call_the_model_is_refused():
    data = Calibration([normal(4, 4)], step=lambda batch: batch)
    with pytest.raises(CompressionError, match="does not call the model"):
        kwc.compress(sequential((4,), keras.Dense(3)), SPEC, calibration=data)
