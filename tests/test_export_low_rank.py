"""Low-rank weights in TensorFlow Lite: two products, and no weight."""

import numpy as np
import pytest
from algorithms import INFOS
from export_models import (
    convolutional,
    export,
    operations,
    packed,
    recurrent,
    separable,
    text,
    used,
)

from kwc.algorithms import EPR, Clustering, LilNetX, LowRank, Pruning, Quantization
from kwc.compressor import WeightInfo
from kwc.exports import ExportError, forms
from kwc.ops import NumpyOps, to_matrix

RANK = LowRank(2)
INTEGERS = RANK >> Quantization(4)
SPARSE = RANK >> Pruning(0.9) >> Quantization(8)
PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")


@pytest.mark.parametrize(
    ("compressor", "options", "form", "error"),
    [
        (RANK, {"decompress": "during"}, "float32", 1e-5),
        (RANK >> Clustering(16), {"decompress": "during"}, "decoded", 1e-5),
        (RANK, {"route": "float16"}, "float16", 5e-3),
        (INTEGERS, {"route": "int8"}, "int8", 1e-5),
        (INTEGERS, {"route": "int4"}, "int4", 1e-5),
        (INTEGERS, {"route": "hybrid"}, "int8", 5e-2),
    ],
)
@pytest.mark.parametrize("build", [convolutional, separable])
def test_low_rank_is_two_products(build, compressor, options, form, error, tmp_path):
    report = export(build, compressor, tmp_path, **options)
    split = {weight.path: weight for weight in report if weight.form.endswith(" factors")}
    assert split["conv2d_1/kernel"].form == split["dense/kernel"].form == f"{form} factors"
    assert all(weight.nbytes < weight.dense_bytes for weight in split.values())
    assert report.proof.error < error
    count = sum(name in PRODUCTS for name in operations(report))
    assert count == len(report.weights) + len(split)


@pytest.mark.parametrize(
    ("compressor", "options"),
    [
        (RANK, {"decompress": "during"}),
        (RANK, {"route": "float16"}),
        (INTEGERS, {"route": "int8"}),
        (INTEGERS, {"route": "int4"}),
    ],
)
def test_rows_of_a_low_rank_table_are_a_product_of_looked_up_rows(compressor, options, tmp_path):
    report = export(text, compressor, tmp_path, **options)
    assert report.weights[0].path == "embedding/embeddings"
    assert report.weights[0].form.endswith(" factors")
    assert (50, 16) not in {shape for dtype, shape in used(report)}


def test_factors_without_many_zeros_are_not_sparse(tmp_path):
    report = export(convolutional, SPARSE, tmp_path, route="sparse")
    forms = {weight.path: weight.form for weight in report}
    assert forms["dense/kernel"] == "int8 sparse factors"


def test_what_takes_no_factors_is_named(tmp_path):
    report = export(recurrent, INTEGERS, tmp_path, route="int8")
    reasons = {weight.path: weight.reason for weight in report}
    assert reasons["lstm/cell/kernel"] == "UNIDIRECTIONAL_SEQUENCE_LSTM takes no factors"
    assert not reasons["dense/kernel"]


def test_factors_that_a_route_cannot_hold_are_named(tmp_path):
    message = "cannot hold conv2d/kernel, low_rank.*of its factor u, its arrays are not integers"
    with pytest.raises(ExportError, match=f"{message}.*--decompress=during holds factors"):
        export(convolutional, RANK, tmp_path, route="int8")


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.path)
@pytest.mark.parametrize("compressor", [LowRank(1), LowRank(1) >> Pruning(0.5) >> Clustering(4)])
def test_factors_are_found_in_whatever_a_chain_packs(compressor, info):
    weight = packed(compressor, info)
    first, second = forms.factors(weight)
    product = first.decompress() @ second.decompress()
    expected = to_matrix(NumpyOps, weight.decompress(), info)
    np.testing.assert_allclose(product, expected, atol=1e-6)


@pytest.mark.parametrize("compressor", [Clustering(4), EPR(), LilNetX(), LowRank(8)], ids=str)
def test_other_weights_have_no_factors_that_are_smaller(compressor):
    assert forms.factors(packed(compressor, WeightInfo("conv/kernel", (3, 3, 4, 8)))) is None
