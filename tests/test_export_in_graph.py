"""The route to TensorFlow Lite that decodes weights in every inference."""

import numpy as np
import pytest
from export_models import convolutional, export, recurrent, separable, text, used

from kwc import ops
from kwc.algorithms import EPR, Clustering, EntropyConstrained, Pruning, Quantization
from kwc.exports import ExportError, ProofError
from kwc.exports.flatbuffer import Graph


def during(build, compressor, folder, **options):
    options = {"decompress": "during"} | options
    return export(build, compressor, folder, **options)


@pytest.mark.parametrize(
    ("build", "compressor"),
    [
        (convolutional, EPR()),
        (separable, EntropyConstrained()),
        (text, Clustering(16)),
        (recurrent, Quantization(4)),
    ],
)
def test_weights_are_decoded_from_the_arrays_of_the_algorithm(build, compressor, tmp_path):
    report = during(build, compressor, tmp_path)
    assert report.route == "in_graph"
    assert {weight.form for weight in report} == {"decoded"}
    assert report.proof.error < 1e-5
    assert report.proof.weight_error < 1e-6
    assert all(weight.nbytes < weight.dense_bytes for weight in report)


def test_rows_of_a_table_are_looked_up_in_the_arrays(tmp_path):
    report = during(text, Clustering(16), tmp_path)
    assert "float32" not in {dtype for dtype, shape in used(report) if 50 in shape}
    assert ("uint8", (50, 16)) in used(report)


def test_more_clusters_than_a_byte_counts_are_looked_up_by_16_bits(tmp_path):
    report = during(text, Clustering(300), tmp_path)
    assert report.weights[0].form == "decoded"
    constants = list(Graph(report.path.read_bytes()).constants())
    assert [array.shape for array in constants if array.dtype == np.int16] == [(50, 16)]


def test_gates_of_a_recurrent_kernel_are_decoded_from_one_copy(tmp_path):
    report = during(recurrent, Quantization(4), tmp_path)
    constants = list(Graph(report.path.read_bytes()).constants())
    assert sorted(a.shape for a in constants if a.dtype == np.int8) == [
        (8, 48),
        (12, 3),
        (12, 48),
        (50, 8),
    ]


def test_arrays_that_are_as_large_as_the_weight_are_refused(tmp_path):
    with pytest.raises(ExportError, match=r"hold conv2d/kernel.*arrays take 270 bytes"):
        during(convolutional, Pruning(0.5), tmp_path)


def test_a_wrong_decoder_is_caught_and_the_weight_named(tmp_path, monkeypatch):
    right = ops.TensorFlowOps.gather

    def wrong(table, indices):
        return right(table, indices) * np.float32(1.01)

    monkeypatch.setattr(ops.TensorFlowOps, "gather", wrong)
    with pytest.raises(ProofError, match="decoded weights: conv2d/kernel decodes to values"):
        during(convolutional, Clustering(16), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.kwc"]
