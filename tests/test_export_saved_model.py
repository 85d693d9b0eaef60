"""The routes to SavedModel: what is on disk, what loaders make of it, what is refused."""

import gc

import algorithms
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from export_models import artifact, built, convolutional, export, inputs, recurrent, separable, text
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import kwc
from kwc.algorithms import Pruning, Quantization
from kwc.exports import ExportError, ProofError, saved_model, storage
from kwc.exports.loaded import SIGNATURE

FOUR_BITS = Quantization(4)
ROUTES = {"at_load": "before", "at_call": "during"}


def saved(build, compressor, folder, route, name="model", **options):
    options = {"to": "saved_model", "route": route, "decompress": ROUTES.get(route, "before")}
    return export(build, compressor, folder, name, **options)


def expected(build, folder):
    """What the artifact's own model computes."""
    model = built(build)
    kwc.load(folder / "model.kwc", into=model)
    return model(inputs(build), training=False).numpy()


def served(path, x):
    """What the loader of TensorFlow 1 makes of it, which is TensorFlow Serving's."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def[
            SIGNATURE
        ]
        fetch = signature.outputs["outputs"].name
        return [session.run(fetch, {signature.inputs["inputs"].name: x}) for _ in range(2)]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("build", [convolutional, separable, text, recurrent])
def test_both_loaders_compute_what_the_model_computes(build, route, tmp_path):
    report = saved(build, FOUR_BITS, tmp_path, route)
    assert report.proof.error < 1e-6
    assert report.proof.weight_error < 1e-6
    assert all(weight.form != "float32" for weight in report)
    moved = report.path.rename(tmp_path / "moved")
    x, want = inputs(build), expected(build, tmp_path)
    signature = tf.saved_model.load(moved).signatures[SIGNATURE]
    np.testing.assert_allclose(signature(inputs=tf.constant(x))["outputs"], want, rtol=1e-5)
    for outputs in served(moved, x):
        np.testing.assert_allclose(outputs, want, rtol=1e-5)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("row", algorithms.ROWS, ids=str)
def test_each_algorithm_is_held_or_a_reason_named(row, route, tmp_path):
    try:
        report = saved(text, row.compressor, tmp_path, route)
    except ExportError as error:
        assert route == "at_call"
        assert "its arrays take" in str(error)
        return
    for weight in report:
        assert (weight.form == "float32") == bool(weight.reason)
        assert weight.nbytes <= weight.dense_bytes


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_dense_is_on_disk(route, tmp_path):
    report = saved(convolutional, FOUR_BITS, tmp_path, route)
    kernels = [w.numpy() for w in built(convolutional).weights if "kernel" in w.name]
    dense = sum(kernel.nbytes for kernel in kernels)
    data = sum(file.stat().st_size for file in report.path.glob("*/*.data*"))
    assert data < dense / 4
    files = {str(file.relative_to(report.path)) for file in report.path.rglob("*.*")}
    packed = {"assets/packed.index", "assets/packed.data-00000-of-00001"}
    assert files == {
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    } | (packed if route == "at_load" else set())


def test_a_plain_one_is_written_to_compare_with(tmp_path):
    report = saved(convolutional, FOUR_BITS, tmp_path, "float32")
    assert report.proof.error < 1e-6
    assert {weight.form for weight in report} == {"float32"}


def test_only_what_serving_needs_is_in_the_graph(tmp_path):
    report = saved(convolutional, FOUR_BITS, tmp_path, "at_load")
    content = (report.path / "saved_model.pb").read_bytes()
    for word in (b"keras", b"Adam", b"traced_save", b"_output_shapes"):
        assert word not in content
    assert b"traced_restore" in content


def test_loaded_models_do_not_share_their_weights(tmp_path):
    x = tf.constant(inputs(text))
    outputs = {}
    loaded = {}
    for name, compressor in {"a": FOUR_BITS, "b": Quantization(2)}.items():
        path = saved(text, compressor, tmp_path, "at_load", name).path
        outputs[name] = expected(text, tmp_path)
        loaded[name] = tf.saved_model.load(path)
    again = tf.saved_model.load(tmp_path / "b")
    for name, model in loaded.items():
        np.testing.assert_allclose(
            model.signatures[SIGNATURE](inputs=x)["outputs"], outputs[name], rtol=1e-5
        )
    del loaded, model
    gc.collect()
    np.testing.assert_allclose(
        again.signatures[SIGNATURE](inputs=x)["outputs"], outputs["b"], rtol=1e-5
    )


def test_named_inputs_and_outputs_are_those_of_the_signature(tmp_path):
    first, second = tf_keras.layers.Input((3,), name="a"), tf_keras.layers.Input((3,), name="b")
    merged = tf_keras.layers.Concatenate()([first, second])
    model = tf_keras.Model(
        {"a": first, "b": second}, {"sum": tf_keras.layers.Dense(2)(merged), "same": merged}
    )
    kwc.save(model, tmp_path / "m.kwc")
    x = {"a": np.ones((4, 3), np.float32), "b": np.zeros((4, 3), np.float32)}
    report = kwc.export(tmp_path / "m.kwc", model, tmp_path / "m", to="saved_model", inputs=x)
    signature = tf.saved_model.load(report.path).signatures[SIGNATURE]
    assert sorted(signature.structured_input_signature[1]) == ["a", "b"]
    assert sorted(signature.structured_outputs) == ["same", "sum"]


def test_the_model_is_as_it_was(tmp_path):
    path = artifact(convolutional, FOUR_BITS, tmp_path)
    model = built(convolutional)
    kind, names = type(model), [weight.name for weight in model.weights]
    kwc.export(
        path, model, tmp_path / "m", to="saved_model", inputs=inputs(convolutional), route="at_load"
    )
    assert type(model) is kind
    assert [weight.name for weight in model.weights] == names
    np.testing.assert_array_equal(
        model(inputs(convolutional), training=False), expected(convolutional, tmp_path)
    )


class Odd(Quantization):
    """Decodes with what a graph does not have."""

    name = "odd"

    def decompress(self, ops, packed, info):
        return super().decompress(ops, {k: np.asarray(x) for k, x in packed.items()}, info)


@pytest.mark.parametrize("route", ROUTES)
def test_an_algorithm_that_tensorflow_cannot_decode_is_named(route, tmp_path, monkeypatch):
    monkeypatch.setitem(kwc.algorithms._registry, "odd", Odd)
    with pytest.raises(
        ExportError, match=r"cannot hold .*, odd\(bits=4\): its decompress does not run in a Tensor"
    ):
        saved(text, Odd(4), tmp_path, route)
    assert not (tmp_path / "model").exists()


def test_pruned_floats_are_refused_at_call_and_held_at_load(tmp_path):
    with pytest.raises(ExportError, match="its arrays take 4,000 bytes, the weight 3,200"):
        saved(text, Pruning(0.8), tmp_path, "at_call")
    assert {weight.form for weight in saved(text, Pruning(0.8), tmp_path, "at_load")} == {
        "deflated"
    }


def test_a_wrong_decoder_is_caught(tmp_path, monkeypatch):
    decode = saved_model._decode
    monkeypatch.setattr(saved_model, "_decode", lambda *given: decode(*given) * 1.001)
    with pytest.raises(ProofError, match="decoded weights: embedding/embeddings decodes to"):
        saved(text, FOUR_BITS, tmp_path, "at_load")
    assert not (tmp_path / "model").exists()


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    mine = tmp_path / "model"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="holds other things than a SavedModel"):
        saved(text, FOUR_BITS, tmp_path, "at_load")
    assert (mine / "thesis.txt").read_text() == "years of work"
    (mine / "thesis.txt").unlink()
    for _ in range(2):
        saved(text, FOUR_BITS, tmp_path, "at_load")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.kwc"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(ExportError, match="is a file, and a SavedModel a folder"):
        saved(text, FOUR_BITS, tmp_path, "at_load")
    assert (tmp_path / "model").read_text() == "a file"


integers = st.sampled_from(["bool", "int8", "uint8", "int16", "int32", "int64", "uint16"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_stored_arrays_are_read_back(data):
    dtype = np.dtype(data.draw(integers | st.sampled_from(["float16", "float32"])))
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=9))
    elements = {}
    if dtype.kind in "iu":
        low = data.draw(st.integers(max(np.iinfo(dtype).min, -300), 50))
        elements = {"elements": st.integers(low, low + data.draw(st.sampled_from([1, 3, 15, 70])))}
    array = data.draw(arrays.arrays(dtype, shape, **elements))
    deflated = storage.Deflated.of(array)
    whole = storage.inflated([deflated], tf.constant([deflated.code]))
    for read in (*whole, storage.Bits(array).read()):
        assert read.dtype == array.dtype
        assert read.numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize(("bits", "nbytes"), [(1, 2), (2, 3), (4, 5), (5, 10)])
def test_small_integers_share_bytes(bits, nbytes):
    array = np.array([-7, *range(8), -7 + 2**bits - 1], np.int8).clip(-7, -7 + 2**bits - 1)
    assert storage.Bits(array).stored.nbytes == nbytes
