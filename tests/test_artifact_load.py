"""Loading files into models: what does not fit is named and changes nothing."""

import numpy as np
import pytest
import tf_keras
from artifact_forge import forge_weight, small

import kwc
from kwc import artifact
from kwc.compressor import WeightInfo

layers = tf_keras.layers


def dense(units=4, dtype="float32"):
    model = tf_keras.Sequential([layers.Input((3,)), layers.Dense(units, dtype=dtype, name="d")])
    model.set_weights([np.full_like(w, 7) for w in model.get_weights()])
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.kwc"


def write(path, kernel, bias):
    arrays = {"d/kernel": kernel, "d/bias": bias}
    artifact.write(
        path,
        [
            artifact.pack(None, {"weight": array}, WeightInfo(name, array.shape, array.dtype.name))
            for name, array in arrays.items()
        ],
    )


def refused(path, model, message):
    """Loading raises this, and no weight of the model changes."""
    with pytest.raises(kwc.ArtifactError, match=message):
        kwc.load(path, into=model)
    for weight in model.get_weights():
        np.testing.assert_array_equal(weight, np.full_like(weight, 7))


def test_a_file_fills_the_model(path):
    write(path, small(3, 4), small(4))
    model = dense()
    report = kwc.load(path, into=model)
    np.testing.assert_array_equal(model.get_weights()[0], small(3, 4))
    np.testing.assert_array_equal(model.get_weights()[1], small(4))
    assert report.sizes.file_bytes == path.stat().st_size


def test_another_architecture_is_named_by_paths_and_both_shapes(path):
    write(path, small(3, 4), small(4))
    refused(
        path,
        dense(5),
        r"m\.kwc is for another model: d/kernel has shape \(3, 4\) in the file and \(3, 5\) in the "
        r"model; d/bias has shape \(4,\) in the file and \(5,\) in the model\. Build the arch",
    )


def test_another_dtype_is_named(path):
    write(path, small(3, 4), small(4, dtype=np.float64))
    refused(path, dense(), r"m\.kwc holds d/bias as float64, the model as float32")


def test_a_file_whose_last_weight_is_forged_changes_nothing(path):
    write(path, small(3, 4), small(4))
    good = artifact.read(path)
    path.write_bytes(forge_weight(["lossless", {}], {"weight": small(4)}))
    refused(path, dense(), "w is not in the model")
    bias = artifact.pack(None, {"other": small(4)}, WeightInfo("d/bias", (4,)))
    kernel = good.weights["d/kernel"]
    artifact.write(path, [artifact.pack(None, kernel.arrays, kernel.info), bias])
    refused(path, dense(), "the arrays of d/bias .other. are not those of lossless")


def test_a_damaged_file_changes_nothing(path):
    write(path, small(3, 4), small(4))
    path.write_bytes(path.read_bytes()[:-7])
    refused(path, dense(), "is damaged")


def test_a_preset_chooses_the_coders(path):
    model = dense()
    sizes = {p: kwc.save(model, path, preset=p).sizes.file_bytes for p in ("small", "fast")}
    assert sizes["small"] <= sizes["fast"]
    kwc.load(path, into=model)
    with pytest.raises(kwc.CompressionError, match="no preset 'tiny' of coders, only small and fa"):
        kwc.save(model, path, preset="tiny")


def test_a_model_of_many_bytes_is_loaded_through_a_file(path, monkeypatch):
    monkeypatch.setattr("kwc.model._IN_MEMORY", 16)
    write(path, small(3, 4), small(4))
    model = dense()
    kwc.load(path, into=model)
    np.testing.assert_array_equal(model.get_weights()[0], small(3, 4))
    bias = artifact.pack(None, {"other": small(4)}, WeightInfo("d/bias", (4,)))
    kernel = artifact.pack(None, {"weight": small(3, 4)}, WeightInfo("d/kernel", (3, 4)))
    artifact.write(path, [kernel, bias])
    model = dense()
    refused(path, model, "the arrays of d/bias .other. are not those of lossless")
