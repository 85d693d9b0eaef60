"""Routes to TensorFlow Lite whose weights are decoded at load: what they hold, and how exactly."""

import numpy as np
import pytest
from algorithms import INFOS
from export_models import (
    convert_once,
    convolutional,
    export,
    inputs,
    operations,
    packed,
    recurrent,
    separable,
    text,
    used,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kwc.algorithms import EPR, Clustering, EntropyConstrained, LowRank, Pruning, Quantization
from kwc.artifact import pack
from kwc.compressor import WeightInfo
from kwc.exports import ExportError, ProofError, constants, forms, native, tflite
from kwc.exports.flatbuffer import Constant
from kwc.exports.layout import Layout

FOUR_BITS = Quantization(4)
SPARSE = Pruning(0.8) >> Quantization(8)


@pytest.fixture(autouse=True)
def conversions(monkeypatch):
    """Converts a model with the same weights once."""
    monkeypatch.setattr(tflite, "convert", convert_once)


def run(report, build):
    return tflite.Converted(_Batch(), report.path)({"inputs": inputs(build)})["outputs"]


class _Batch:
    def batch(self, size):
        return {}


@pytest.mark.parametrize("compressor", [FOUR_BITS, EntropyConstrained(), SPARSE], ids=str)
@pytest.mark.parametrize("build", [convolutional, separable, text, recurrent])
def test_integers_of_8_bits_are_exact(build, compressor, tmp_path):
    report = export(build, compressor, tmp_path, route="int8")
    assert {weight.form for weight in report} == {"int8"}
    assert report.proof.found >= len(report.weights)
    assert report.proof.weight_error < 1e-6  # A folded batch norm is rounded once more.
    assert report.proof.error < 1e-6
    assert all(weight.nbytes * 4 == weight.dense_bytes for weight in report)
    plain = export(build, compressor, tmp_path, "plain.tflite", route="float32")
    if build is not separable:
        assert report.proof.weight_error == 0
        np.testing.assert_array_equal(run(report, build), run(plain, build))


@pytest.mark.parametrize("route", ["int8", "int4", "hybrid"])
def test_rows_of_a_table_are_looked_up_before_they_are_decoded(route, tmp_path):
    report = export(text, FOUR_BITS, tmp_path, route=route)
    names = operations(report)
    assert names[names.index("GATHER") + 1] == "DEQUANTIZE"
    assert "float32" not in {dtype for dtype, shape in used(report) if 50 in shape}


def test_gates_of_a_recurrent_kernel_are_integers(tmp_path):
    report = export(recurrent, FOUR_BITS, tmp_path, route="int8")
    # Embedding, four gates of two kernels, and the last layer.
    assert report.proof.found == 1 + 4 + 4 + 1


@pytest.mark.parametrize("build", [convolutional, separable, text, recurrent])
def test_integers_of_4_bits_are_exact_and_half_as_large(build, tmp_path):
    report = export(build, FOUR_BITS, tmp_path, route="int4")
    assert {weight.form for weight in report} == {"int4"}
    assert report.proof.error < 1e-6
    assert all(weight.nbytes * 8 == pytest.approx(weight.dense_bytes, abs=8) for weight in report)


@pytest.mark.parametrize("build", [convolutional, separable, text, recurrent])
def test_hybrid_products_take_integers(build, tmp_path):
    report = export(build, FOUR_BITS, tmp_path, route="hybrid")
    assert {weight.form for weight in report} == {"int8"}
    assert 1e-6 < report.proof.error < 5e-2
    exact = export(build, FOUR_BITS, tmp_path, "exact.tflite", route="int8")
    assert operations(report).count("DEQUANTIZE") < operations(exact).count("DEQUANTIZE")


@pytest.mark.parametrize("build", [convolutional, separable, text, recurrent])
def test_floats_of_16_bits_hold_whatever_made_the_weights(build, tmp_path):
    report = export(build, Clustering(16), tmp_path, route="float16")
    assert {weight.form for weight in report} == {"float16"}
    assert 1e-6 < report.proof.error < 5e-3
    assert all(weight.nbytes * 2 == weight.dense_bytes for weight in report)


@pytest.mark.parametrize(("compressor", "form"), [(Pruning(0.8), "float32"), (SPARSE, "int8")])
@pytest.mark.parametrize("build", [convolutional, separable, text])
def test_pruned_weights_are_sparse_and_exact(build, compressor, form, tmp_path):
    report = export(build, compressor, tmp_path, route="sparse")
    held = [weight for weight in report if not weight.reason]
    assert {weight.form for weight in held} == {f"{form} sparse"}
    assert report.proof.error < 1e-6
    assert all(weight.nbytes < 0.25 * weight.dense_bytes for weight in held)


def test_a_sparse_weight_of_a_recurrent_layer_stays_plain(tmp_path):
    report = export(recurrent, SPARSE, tmp_path, route="sparse")
    reasons = {weight.path: weight.reason for weight in report}
    assert reasons["lstm/cell/kernel"] == "UNIDIRECTIONAL_SEQUENCE_LSTM takes no sparse weight"
    assert not reasons["embedding/embeddings"]


def test_a_weight_of_zeros_is_no_sparse_constant():
    info = WeightInfo("dense/kernel", (8, 4))
    weight = pack(
        Pruning(0.5),
        {"mask": np.zeros(info.shape, bool), "weight": np.ones(info.shape, np.float32)},
        info,
    )
    assert native.SPARSE.why_not(weight).startswith("it is all zeros")


def test_weights_that_a_route_cannot_hold_are_named_and_stay_plain(tmp_path):
    report = export(convolutional, EPR(), tmp_path, route="int8")
    reasons = {weight.path: weight.reason for weight in report}
    assert "not integers times a scale" in reasons["conv2d/kernel"]
    assert not reasons["dense/kernel"]
    assert [w.form for w in report] == ["float32", "float32", "int8", "int8"]


@pytest.mark.parametrize(
    ("route", "compressor", "message"),
    [
        ("int8", Clustering(16), r"clustering\(clusters=16\): its arrays are not integers"),
        ("int8", LowRank(0.5), "low_rank.*its arrays are not integers"),
        ("int4", Quantization(8), "its integers, -127 to 127, need more than 4 bits"),
        ("sparse", Quantization(8), "zeros, indices take more than zeros save"),
    ],
)
def test_a_route_that_holds_nothing_names_weight_and_algorithm(
    route, compressor, message, tmp_path
):
    with pytest.raises(ExportError, match=f"route {route} cannot hold conv2d/kernel.*{message}"):
        export(convolutional, compressor, tmp_path, route=route)
    assert [path.name for path in tmp_path.iterdir()] == ["model.kwc"]


def test_a_wrong_decoder_is_caught_and_the_weight_named(tmp_path, monkeypatch):
    right = constants.int8

    def wrong(form, lies):
        constant = right(form, lies)
        if lies.shape == (10, 40):
            constant.scale[3] *= 1.01
        return constant

    monkeypatch.setattr(constants, "int8", wrong)
    with pytest.raises(ProofError, match=r"route int8 failed.*decoded weights: dense_1/kernel"):
        export(convolutional, FOUR_BITS, tmp_path, route="int8")
    assert [path.name for path in tmp_path.iterdir()] == ["model.kwc"]


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.path)
@pytest.mark.parametrize(
    "compressor", [FOUR_BITS, SPARSE, EntropyConstrained(), Pruning(0.5) >> EntropyConstrained()]
)
def test_integers_and_scales_are_found_in_whatever_an_algorithm_packs(compressor, info):
    weight = packed(compressor, info)
    form = forms.scaled(weight)
    np.testing.assert_array_equal(form.levels * form.scale, weight.decompress())
    assert np.all(form.scale > 0)


@pytest.mark.parametrize("compressor", [Clustering(4), LowRank(0.5), Pruning(0.5), EPR()])
def test_other_arrays_are_no_integers_with_scales(compressor):
    assert forms.scaled(packed(compressor, WeightInfo("conv/kernel", (3, 3, 4, 8)))) is None


@pytest.mark.parametrize(("levels", "bits"), [([0], 1), ([-1], 1), ([1, 0], 2), ([-8, 7], 4)])
def test_bits_of_integers(levels, bits):
    assert forms.Scaled(np.array(levels, np.int8), np.ones(1, np.float32)).bits == bits


def test_a_channel_that_batch_norm_turns_around_has_its_integers_turned():
    form = forms.Scaled(np.array([[1, -2], [3, 4]], np.int8), np.full((1, 2), 0.5, np.float32))
    factor = np.array([[-2.0, 0.0]], np.float32)
    constant = constants.int8(form, Layout((1, 0), (2, 2), factor))
    np.testing.assert_array_equal(constant.data[0], [-1, -3])
    assert constant.scale.tolist() == [1.0]
    np.testing.assert_array_equal(constant.data[1], [0, 0])
    assert constant.axis == 0


def test_integers_that_do_not_fit_when_turned_around_are_refused():
    form = forms.Scaled(np.array([[-128]], np.int8), np.ones((1, 1), np.float32))
    assert constants.int8(form, Layout((0, 1), (1, 1))) is not None
    assert constants.int8(form, Layout((0, 1), (1, 1), np.full((1, 1), -1, np.float32))) is None


def dense(constant):
    """Reads a sparse constant as the schema's description says."""
    sparsity = constant.sparsity
    order = sparsity.traversalOrder
    lengths = [axis.denseSize for axis in sparsity.dimMetadata[:-1]]
    last = sparsity.dimMetadata[-1]
    starts, indices = last.arraySegments.values, last.arrayIndices.values
    rows = np.zeros((len(starts) - 1, constant.shape[order[-1]]), constant.data.dtype)
    for row in range(len(rows)):
        part = slice(int(starts[row]), int(starts[row + 1]))
        rows[row, indices[part]] = constant.data[part]
    moved = rows.reshape([*lengths, constant.shape[order[-1]]])
    return np.transpose(moved, np.argsort(order))


@settings(deadline=None)
@given(arrays(np.int8, array_shapes(min_dims=2, max_dims=4, max_side=6)))
def test_a_sparse_constant_is_the_dense_one(array):
    constant = constants.sparse(Constant("INT8", array.shape, array))
    np.testing.assert_array_equal(dense(constant), array)


@settings(deadline=None)
@given(arrays(np.int8, array_shapes(min_dims=2, max_dims=3), elements=st.integers(-8, 7)))
def test_integers_of_4_bits_lie_in_pairs(array):
    form = forms.Scaled(array, np.ones([1] * array.ndim, np.float32))
    constant = constants.int4(form, Layout(tuple(range(array.ndim)), array.shape))
    halves = np.stack([constant.data & 15, constant.data >> 4], axis=1).reshape(-1)[: array.size]
    np.testing.assert_array_equal(
        np.where(halves > 7, halves.astype(int) - 16, halves), array.ravel()
    )
