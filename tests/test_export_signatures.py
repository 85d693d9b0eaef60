"""Signatures of Model Garden's own exports over compressed weights, beside those exports."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from export_garden import subject
from export_models import artifact, built, inputs, text
from official.core import exp_factory
from official.nlp.serving import export_savedmodel, export_savedmodel_util
from official.vision.serving import export_saved_model_lib

import kwc
from experiments import signatures
from kwc.algorithms import Quantization
from kwc.exports import ExportError, ProofError
from kwc.exports.signatures import SIGNATURE, Signature

FOUR_BITS = Quantization(4)
ROUTES = {"at_load": "before", "at_call": "during", "float32": "before"}
IMAGES = "resnet_imagenet"
SENTENCES = "bert/sentence_prediction"
ALL = {
    IMAGES: "image_tensor,image_bytes,tf_example,tflite",
    SENTENCES: "serve,serve_examples",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a subject once."""
    folder, there = tmp_path_factory.mktemp("subjects"), {}

    def make(name):
        if name not in there:
            there[name] = subject(name, folder / name.replace("/", "_"))
        return there[name]

    return make


def exported(made, name, wanted, folder, route="at_load"):
    """Exports an experiment; returns the folder."""
    own = made(name)
    options = {"to": "saved_model", "route": route, "decompress": ROUTES[route]}
    report = own.export(folder / route, signatures=own.signatures(wanted), **options)
    assert all((weight.form == "float32") == (route == "float32") for weight in report)
    return report


def stock(made, name, key, folder):
    """What Model Garden's export writes of a new model with the weights of the artifact."""
    own = made(name)
    kwc.load(own.artifact, into=own.model)
    checkpoint = tf.train.Checkpoint(model=own.model).save(str(folder / "weights"))
    path = str(folder / f"stock_{key}")
    if key.startswith("serve"):
        kind = export_savedmodel.lookup_export_module(own.task)
        serving = kind.Params(inputs_only=False, parse_sequence_length=32)
        module = kind(params=serving, model=own.task.build_model())
        export_savedmodel_util.export(module, [key], path, checkpoint, timestamped=False)
    else:
        size = own.params.task.model.input_size[:2]
        export_saved_model_lib.export_inference_graph(key, None, size, own.params, checkpoint, path)
    return tf.saved_model.load(path).signatures[SIGNATURE]


def specs(function):
    """Names, dtypes and shapes of inputs and outputs."""
    taken = {n: (x.dtype, x.shape) for n, x in function.structured_input_signature[1].items()}
    return taken, {name: output.dtype for name, output in function.structured_outputs.items()}


@pytest.mark.parametrize("name", ALL)
def test_each_signature_is_that_of_the_tasks_own_export(name, made, tmp_path):
    report = exported(made, name, ALL[name], tmp_path)
    served = tf.saved_model.load(report.path).signatures
    for number, key in enumerate(ALL[name].split(",")):
        own, theirs = served[key if number else SIGNATURE], stock(made, name, key, tmp_path)
        assert specs(own) == specs(theirs)
        given = made(name).signatures(key)[SIGNATURE]
        tensors = {name: tf.constant(array) for name, array in given.inputs.items()}
        outputs = own(**tensors)
        for output, expected in theirs(**tensors).items():
            np.testing.assert_allclose(outputs[output], expected, rtol=1e-4, atol=1e-5)
            assert np.ptp(expected) > 0


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ALL)
def test_each_route_serves_them(name, route, made, tmp_path):
    report = exported(made, name, "task", tmp_path, route)
    assert report.proof.error < 1e-5
    assert route == "float32" or report.proof.weight_error < 1e-6
    data = sum(file.stat().st_size for file in report.path.glob("*/*.data*"))
    assert (data < 0.7 * report.dense_bytes) == (route != "float32")


STOCK = """
import sys
import numpy as np
import tensorflow as tf

given = dict(np.load(sys.argv[2], allow_pickle=True))
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signatures = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1]).signature_def
    signature = signatures["serving_default"]
    feed = {signature.inputs[name].name: array for name, array in given.items()}
    first = session.run({name: x.name for name, x in signature.outputs.items()}, feed)
loaded = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
second = loaded(**{name: tf.constant(array) for name, array in given.items()})
for name, output in second.items():
    np.testing.assert_allclose(first[name], output, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.parametrize(("name", "key"), [(IMAGES, "tf_example"), (SENTENCES, "serve_examples")])
def test_a_process_with_nothing_but_tensorflow_serves_them(name, key, made, tmp_path):
    report = exported(made, name, key, tmp_path)
    given = made(name).signatures(key)[SIGNATURE].inputs
    np.savez(tmp_path / "inputs.npz", **given)
    subprocess.run(
        [sys.executable, "-c", STOCK, report.path, tmp_path / "inputs.npz"],
        check=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


# Model Garden gives the encoder of a masked LM its labels as well.
@pytest.mark.filterwarnings("ignore:Input dict contained keys:UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("seg_deeplabv3plus_pascal", "image_tensor,tflite"),
        ("retinanet_resnetfpn_coco", "image_tensor,tf_example"),
        ("maskrcnn_resnetfpn_coco", "image_tensor"),
        ("bert/tagging", "serve,serve_examples"),
        ("bert/squad", "serve,serve_examples"),
        ("bert/pretraining", "serve,serve_examples"),
    ],
)
def test_other_tasks_have_them_too(name, wanted, made, tmp_path):
    for route in ("at_load", "at_call"):
        report = exported(made, name, wanted, tmp_path, route)
        assert len(tf.saved_model.load(report.path).signatures) == len(wanted.split(","))


def test_a_signature_that_there_is_not_is_refused(made):
    with pytest.raises(
        ExportError,
        match=r"no export of ImageClassificationTask with the signature serve, but with image_ten",
    ):
        made(IMAGES).signatures("serve")


def test_a_task_without_an_export_is_refused():
    params = exp_factory.get_exp_config("wmt_transformer/large")
    with pytest.raises(ExportError, match=r"of TranslationConfig with the sig.* task\. T"):
        signatures.of(params, None, None)


def twice(model):
    """A signature that calls a model two times, the second time in a loop."""

    def trace():
        @tf.function
        def function(x):
            total = model(x, training=False)
            for _ in tf.range(2):
                total += model(x + 1.0, training=False)
            return {"sum": total}

        return function.get_concrete_function(tf.TensorSpec([None, 7], tf.float32, "x"))

    return Signature(trace, {"x": inputs(text)})


@pytest.mark.parametrize("route", ["at_load", "at_call"])
def test_a_function_that_calls_the_model_twice_decodes_once(route, tmp_path):
    model = built(text)
    report = kwc.export(
        artifact(text, FOUR_BITS, tmp_path),
        model,
        tmp_path / "m",
        to="saved_model",
        route=route,
        decompress=ROUTES[route],
        signatures={SIGNATURE: twice(model)},
    )
    graph = tf.saved_model.load(report.path).served[SIGNATURE].graph.as_graph_def()
    inner = [node for function in graph.library.function for node in function.node_def]
    assert not [node for node in inner if node.op == "BitwiseAnd"]
    assert report.proof.weight_error < 1e-6


def test_a_signature_of_another_model_is_caught(tmp_path):
    model, other = built(text), built(text)
    wrong = dataclasses.replace(twice(model), plain=twice(other).trace())
    path = artifact(text, FOUR_BITS, tmp_path)
    with pytest.raises(ProofError, match="sum of serving_default is"):
        kwc.export(path, model, tmp_path / "m", to="saved_model", signatures={SIGNATURE: wrong})


@pytest.mark.parametrize(
    ("to", "names", "message"),
    [
        ("tflite", [SIGNATURE], "An export to tflite takes no signatures; a SavedModel does"),
        ("saved_model", ["mine"], "must be serving_default.*given were mine"),
    ],
)
def test_signatures_that_cannot_be_served_are_refused(to, names, message, tmp_path):
    model = built(text)
    given = dict.fromkeys(names, twice(model))
    path = artifact(text, FOUR_BITS, tmp_path)
    with pytest.raises(ExportError, match=message):
        kwc.export(path, model, tmp_path / "m", to=to, signatures=given)
    assert not (tmp_path / "m").exists()
