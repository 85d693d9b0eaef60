"""Exports: what every route must do, what the proof catches, and what is refused."""

import dataclasses
import doctest
import importlib.util
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from export_models import artifact, built, convolutional, export, inputs, recurrent, separable, text

import kwc
from kwc.algorithms import Quantization
from kwc.exports import ProofError, layout, native, routes, source, tflite
from kwc.exports.errors import ExportError
from kwc.exports.routes import Placed

FOUR_BITS = Quantization(4)


def left(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("build", [convolutional, separable, text, recurrent])
def test_a_plain_tflite_file_computes_what_the_model_computes(build, tmp_path):
    report = export(build, FOUR_BITS, tmp_path, route="float32")
    assert report.route == "float32"
    assert report.proof.error < 1e-6
    assert report.proof.nbytes == report.path.stat().st_size
    assert {weight.form for weight in report} == {"float32"}
    assert left(tmp_path) == ["model.kwc", "model.tflite"]


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "folder"])
def test_a_keras_model_comes_back(name, tmp_path):
    report = export(convolutional, FOUR_BITS, tmp_path, name, to="keras")
    assert report.proof.error == 0
    model = built(convolutional)
    kwc.load(tmp_path / "model.kwc", into=model)
    for _ in range(2):  # A folder that is there is replaced.
        loaded = tf_keras.models.load_model(report.path, compile=False)
        np.testing.assert_array_equal(
            loaded(inputs(convolutional)), model(inputs(convolutional), training=False)
        )
        export(convolutional, FOUR_BITS, tmp_path, name, to="keras")
    assert left(tmp_path) == sorted(["model.kwc", name])


def test_a_file_that_is_there_is_replaced(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"before")
    export(text, FOUR_BITS, tmp_path, route="float32")
    assert (tmp_path / "model.tflite").read_bytes()[4:8] == b"TFL3"


def test_inputs_may_be_nested(tmp_path):
    first, second = tf_keras.layers.Input((3,), name="a"), tf_keras.layers.Input((3,), name="b")
    merged = tf_keras.layers.Concatenate()([first, second])
    outputs = {"sum": tf_keras.layers.Dense(2)(merged), "same": merged}
    model = tf_keras.Model({"a": first, "b": second}, outputs)
    kwc.save(model, tmp_path / "m.kwc")
    x = {"a": np.ones((4, 3), np.float32), "b": np.zeros((4, 3), np.float32)}
    path = kwc.export(tmp_path / "m.kwc", model, tmp_path / "m.tflite", to="tflite", inputs=x).path
    interpreter = tflite.litert.Interpreter(str(path))
    signature = interpreter.get_signature_list()[tflite.SIGNATURE]
    assert sorted(signature["inputs"]) == ["a", "b"]
    assert sorted(signature["outputs"]) == ["same", "sum"]


class Optional(tf_keras.Model):
    """Takes a second input that may be missing."""

    def __init__(self):
        super().__init__()
        self.dense = tf_keras.layers.Dense(2)

    def call(self, inputs):
        x = self.dense(inputs["x"])
        return x if inputs["bias"] is None else x + inputs["bias"]


def test_inputs_may_hold_none(tmp_path):
    x = {"bias": None, "x": np.ones((2, 3), np.float32)}
    model = Optional()
    model(x)
    kwc.save(model, tmp_path / "m.kwc")
    content = source.read(tmp_path / "m.kwc", model, x)
    assert list(content.inputs) == ["x"]
    np.testing.assert_array_equal(content.outputs(2)["outputs"], model(x))


def wrong(monkeypatch, change):
    """Lets the converter's output be changed before it is written."""
    convert = tflite.convert
    monkeypatch.setattr(tflite, "convert", lambda content: change(convert(content)))


def test_a_dropped_relu_is_caught(tmp_path, monkeypatch):
    def drop(data):
        graph = tflite.Graph(data)
        dropped = 0
        for operator in graph.model.subgraphs[0].operators:
            if getattr(operator.builtinOptions, "fusedActivationFunction", 0) == 1:
                operator.builtinOptions.fusedActivationFunction = 0
                dropped += 1
        assert dropped
        return graph.pack()

    wrong(monkeypatch, drop)
    with pytest.raises(ProofError, match=r"route float32 failed.*Check of outputs.*batch of 1"):
        export(convolutional, FOUR_BITS, tmp_path, route="float32")
    assert left(tmp_path) == ["model.kwc"]


def fake(monkeypatch, **members):
    """Registers `float32` with other members."""
    route = dataclasses.replace(native.FLOAT32, **members)
    monkeypatch.setitem(routes._registry, ("tflite", "float32"), route)


def test_a_compressed_array_that_is_not_in_the_file_is_caught(tmp_path, monkeypatch):
    def write(content, path):
        placed = native.FLOAT32.write(content, path)
        levels = content.weights["dense/kernel"].arrays["levels"]
        return placed | {"dense/kernel": Placed("int8", (levels,))}

    fake(monkeypatch, write=write)
    with pytest.raises(ProofError, match=r"compressed arrays: an array of dense/kernel, int8 of"):
        export(convolutional, FOUR_BITS, tmp_path, route="float32")
    assert left(tmp_path) == ["model.kwc"]


def test_a_weight_that_is_in_the_file_plainly_as_well_is_caught(tmp_path, monkeypatch):
    def write(content, path):
        placed = native.FLOAT32.write(content, path)
        first = next(iter(tflite.Graph(path.read_bytes()).constants()))
        return placed | {"conv2d_1/kernel": Placed("int8", (first,))}

    fake(monkeypatch, write=write)
    with pytest.raises(ProofError, match="folded weights: conv2d_1/kernel is in the file as 648"):
        export(convolutional, FOUR_BITS, tmp_path, route="float32")


def test_a_route_that_holds_nothing_is_refused_by_name(tmp_path, monkeypatch):
    fake(monkeypatch, why_not=lambda weight: "it is too beautiful.")
    with pytest.raises(
        ExportError,
        match=r"route float32 cannot hold conv2d/kernel, quantization\(bits=4\): it is too.*4 comp",
    ):
        export(convolutional, FOUR_BITS, tmp_path, route="float32")


@pytest.mark.parametrize("route", ["none", "keras"])
def test_an_unknown_route_lists_those_that_there_are(route, tmp_path):
    with pytest.raises(ExportError, match=rf"no route '{route}' to tflite.*float32 \(to=tflite, "):
        export(text, FOUR_BITS, tmp_path, route=route)


@pytest.mark.parametrize("options", [{"to": "onnx"}, {"decompress": "never"}])
def test_an_unknown_target_lists_those_that_there_are(options, tmp_path):
    with pytest.raises(ExportError, match="to is one of tflite, saved_model, keras, decompress"):
        export(text, FOUR_BITS, tmp_path, **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((1, 7), np.float32), "a batch of 2 examples or more"),
        ([], "a batch of 2 examples or more"),
        (np.float32(1), "inputs is float32 of shape"),
        (np.array([["a"], ["b"]]), "takes numbers"),
        (tf.ragged.constant([[1.0], [1.0, 2.0]]), "RaggedTensor, whose shape is dynamic"),
        ({"a": np.ones((2, 7)), "b": np.ones((3, 7))}, "a batch of 2 examples or more"),
    ],
)
def test_inputs_that_prove_nothing_are_refused(given, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        export(text, FOUR_BITS, tmp_path, inputs=given)


class Cube(tf_keras.layers.Layer):
    def call(self, x):
        return tf.raw_ops.Betainc(a=tf.abs(x) + 1.0, b=tf.abs(x) + 1.0, x=tf.sigmoid(x))


def test_a_model_that_needs_flex_ops_is_refused(tmp_path):
    model = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,)), Cube()])
    kwc.save(model, tmp_path / "m.kwc")
    with pytest.raises(ExportError, match="large flex library: Betainc"):
        kwc.export(
            tmp_path / "m.kwc",
            model,
            tmp_path / "m.tflite",
            to="tflite",
            inputs=np.ones((2, 4), np.float32),
        )
    assert left(tmp_path) == ["m.kwc"]


def test_a_layer_that_keras_cannot_save_is_named(tmp_path):
    class NoConfig(tf_keras.layers.Layer):
        def __init__(self, given):
            super().__init__()

    model = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,)), NoConfig(1)])
    kwc.save(model, tmp_path / "m.kwc")
    x = np.ones((2, 4), np.float32)
    with pytest.raises(ExportError, match=r"cannot save the model as m.keras and.*NoConfig"):
        kwc.export(tmp_path / "m.kwc", model, tmp_path / "m.keras", to="keras", inputs=x)
    assert left(tmp_path) == ["m.kwc"]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "litert" in name else find(name)
    )
    with pytest.raises(ExportError, match=r"pip install 'kwc\[tflite\]'"):
        export(text, FOUR_BITS, tmp_path)


def test_a_damaged_artifact_is_refused(tmp_path):
    path = artifact(text, FOUR_BITS, tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(kwc.ArtifactError):
        kwc.export(path, built(text), tmp_path / "m.tflite", to="tflite", inputs=inputs(text))
    assert left(tmp_path) == ["model.kwc"]


def test_a_source_has_arrays_algorithm_and_info_of_each_weight(tmp_path):
    path = artifact(convolutional, FOUR_BITS, tmp_path)
    content = source.read(path, built(convolutional), inputs(convolutional))
    assert content.file_bytes == path.stat().st_size
    assert list(content.compressed) == [
        "conv2d/kernel",
        "conv2d_1/kernel",
        "dense/kernel",
        "dense_1/kernel",
    ]
    weight = content.compressed["dense/kernel"]
    assert weight.compressor == FOUR_BITS
    assert weight.arrays["levels"].shape == weight.info.shape
    assert content.examples == 5
    assert content.outputs(2)["outputs"].shape == (2, 10)


@pytest.mark.parametrize("factor", [None, 2.0, np.array([1.0, 3.0, 0.5, 2.0], np.float32)])
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (3, 0, 1, 2)])
def test_a_layout_is_found(axes, factor):
    weight = np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    constant = np.transpose(weight if factor is None else weight * factor, axes)
    found = layout.find(weight, constant)
    np.testing.assert_allclose(found.apply(weight), constant, rtol=1e-6)
    assert (found.factor is None) == (factor is None)
    assert layout.find(weight[::-1], constant) is None


def test_a_depthwise_kernel_has_a_factor_for_each_channel():
    weight = np.random.default_rng(0).normal(size=(3, 3, 8, 1)).astype(np.float32)
    factor = np.arange(1, 9, dtype=np.float32)[:, None]
    found = layout.find(weight, (weight * factor).reshape(1, 3, 3, 8))
    np.testing.assert_allclose(found.factor[0, 0], factor, rtol=1e-6)


def test_gates_of_a_recurrent_kernel_are_found():
    weight = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    found = layout.find(weight, weight[:, 6:9].T, parts=4)
    assert found.part == slice(6, 9)
    np.testing.assert_array_equal(found.apply(weight), weight[:, 6:9].T)


def test_the_example_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = (pathlib.Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_doctest(guide, {}, "export.md", "export.md", 0)
    assert examples.examples
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_the_guide_names_every_route():
    guide = (pathlib.Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
    for route in routes.registered():
        assert f"| `{route.name}` |" in guide
