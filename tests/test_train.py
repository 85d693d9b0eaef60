"""The drivers as a user starts them: Model Garden's own, then ours, on the same folder."""

import json
import os

import model_garden
import pytest
import tensorflow as tf

import kwc
from experiments import runner
from kwc import artifact

STEPS = 4
VISION = "resnet_imagenet"
BERT = "bert/sentence_prediction"


def read_kwc(checkpoint, name):
    """Returns the values in a checkpoint of one of the arrays that kwc put into the model."""
    reader = tf.train.load_checkpoint(checkpoint)
    end = f"/{name}/.ATTRIBUTES/VARIABLE_VALUE"
    keys = reader.get_variable_to_shape_map()
    return [reader.get_tensor(key) for key in keys if "/_kwc_" in key and key.endswith(end)]


def check_drivers(stock, experiment, task, folder):
    """Trains by the stock driver, goes on by ours, exports; returns the loaded SavedModel."""
    arguments = model_garden.flags(
        experiment, "train_and_eval", folder, task, model_garden.trainer(STEPS), "quantization"
    )
    code, output = model_garden.run(stock, arguments)
    assert code == 0, output
    last = tf.train.latest_checkpoint(folder)
    assert last == str(folder / f"ckpt-{STEPS}")
    trained = read_kwc(last, "params/weight")
    assert len(trained) == len(read_kwc(last, "state/ratio"))
    assert "Quantization.bits" in (folder / "operative_config.train_and_eval.gin").read_text()
    written = os.path.getmtime(f"{last}.index")

    code, output = model_garden.run("experiments.train", arguments)
    assert code == 0, output
    assert f"restored from checkpoint: {last}" in output
    assert "steps/sec" not in output  # Nothing was left to train.
    assert os.path.getmtime(f"{last}.index") == written
    content = json.loads((folder / "result.json").read_text())
    model_garden.assert_same_metrics(content)
    assert content["sizes"]["file_bytes"] == os.path.getsize(folder / runner.ARTIFACT)
    assert f"{content['sizes']['file_bytes']:,} bytes" in output
    packed = artifact.read(folder / runner.ARTIFACT).weights.values()
    quantized = [p for p in packed if p.compressor.name == "quantization"]
    assert len(quantized) == len(trained)
    for weight in quantized:  # Each is the checkpoint's, rounded to one of its levels.
        value, scale = weight.decompress(), weight.arrays["scale"].max()
        assert any(w.shape == value.shape and abs(w - value).mean() < scale for w in trained)

    export = model_garden.flags(experiment, "export", folder, task, model_garden.trainer(STEPS))
    code, output = model_garden.run("experiments.train", export)
    assert code == 0, output
    assert output.strip().endswith(str(folder / "saved_model"))
    assert not list(folder.glob(".saved_model*"))
    return tf.saved_model.load(str(folder / "saved_model"))


def decode(experiment, task, folder):
    """Returns the plain model that the artifact in `folder` decodes to."""
    from official.core import exp_factory, task_factory
    from official.modeling import hyperparams

    import experiments.registry_imports  # noqa: F401  (registers the experiments)

    params = hyperparams.override_params_dict(
        exp_factory.get_exp_config(experiment), {"task": task}, is_strict=True
    )
    model = task_factory.get_task(params.task).build_model()
    kwc.load(folder / runner.ARTIFACT, into=model)
    return model


def test_vision_driver_then_ours(images, tmp_path):
    task = model_garden.resnet(images)
    saved = check_drivers("official.vision.train", VISION, task, tmp_path)
    batch = tf.random.stateless_normal([3, 8, 8, 3], seed=(0, 0))
    model = decode(VISION, task, tmp_path)
    ours, theirs = model(batch, training=False), saved(batch, training=False)
    tf.debugging.assert_near(ours, theirs, rtol=1e-4, atol=1e-5)
    assert tf.reduce_max(tf.abs(ours[0] - ours[1])) > 1e-3  # The output depends on the input.


def test_nlp_driver_then_ours(sentences, tmp_path):
    task = model_garden.bert(sentences)
    saved = check_drivers("official.nlp.train", BERT, task, tmp_path)
    ids = tf.random.stateless_uniform([3, 12], (0, 0), 1, 50, tf.int32)
    batch = {
        "input_word_ids": ids,
        "input_mask": tf.cast(ids > 5, tf.int32),
        "input_type_ids": tf.zeros_like(ids),
    }
    model = decode(BERT, task, tmp_path)
    ours = model(batch, training=False)
    (theirs,) = saved.signatures["serving_default"](**batch).values()
    tf.debugging.assert_near(ours, theirs, rtol=1e-4, atol=1e-5)
    assert tf.reduce_max(tf.abs(ours[0] - ours[1])) > 1e-4


def lenet(images, folder, mode="train_and_eval", trainer=None, task=None, **more):
    task = model_garden.images_task(images) | (task or {})
    return model_garden.flags(
        "lenet_300_100_mnist", mode, folder, task, trainer or model_garden.trainer(STEPS), **more
    )


def test_compress_takes_no_step(images, tmp_path):
    code, output = model_garden.run(
        "experiments.train", lenet(images, tmp_path, "compress", spec="low_rank", seed=3)
    )
    assert code == 0, output
    content = json.loads((tmp_path / "result.json").read_text())
    assert (content["mode"], content["seed"], content["steps"]) == ("compress", 3, 0)
    assert "LowRank.rank" in (tmp_path / "operative_config.compress.gin").read_text()
    assert not list(tmp_path.glob("ckpt-*"))
    assert output.strip().endswith(f"kwc inspect {tmp_path / runner.ARTIFACT}")


def test_help_lists_our_modes_and_where_they_differ():
    code, output = model_garden.run("experiments.train", ["--help"])
    assert "Traceback" not in output
    assert "<train|eval|" in output.replace("\n    ", "")
    assert "compress" in output and "export" in output and "--seed" in output
    assert "--gin_file=gin_configs/specs/quantization.gin" in output
    assert code == 1  # absl's own exit code after --help.


MISTAKES = {
    "flag": ({"nope": 1}, "Unknown command line flag 'nope'"),
    "experiment": ({"experiment": "lenet9"}, "collection path lenet9"),
    "parameter": ({"params_override": "task.nope=1"}, "The key 'nope' does not exist"),
    "data": ({}, "task.train_data.input_path=data/nowhere.tfrecord matches no file"),
    "gin name": (
        {"gin_params": "algorithms.Quantisation.bits = 4"},
        "No configurable matching 'algorithms.Quantisation'",
    ),
    "gin parameter": (
        {"gin_params": "algorithms.Quantization.bitz = 4"},
        "doesn't have a parameter named 'bitz'",
    ),
    "gin macro": ({"gin_params": "RTE = 4"}, "nothing uses RTE. The gin files use RATE."),
    "gin trainer": (
        {"gin_params": "train_utils.create_trainer.trainer_cls = None"},
        "nothing makes it the trainer: the run would be dense",
    ),
    "dead rule": (
        {"gin_params": "spec.Spec.rules = [('.*/filters', None), ('.*', None)]"},
        "The rule '.*/filters' matches no weight",
    ),
    "uncovered weight": (
        {"gin_params": "spec.Spec.rules = [('.*kernel', None)]"},
        "No rule matches",
    ),
    "export": ({"mode": "export"}, "run a training mode or `compress` first"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_message(mistake, images, tmp_path):
    """No traceback, a failing exit code, and nothing that looks like a result."""
    change, message = MISTAKES[mistake]
    given = lenet(images, tmp_path, spec="quantization")
    if mistake == "data":
        task = {"train_data": {"input_path": "data/nowhere.tfrecord"}}
        given = lenet(images, tmp_path, task=task, spec="quantization")
    given += [f"--{name}={value}" for name, value in change.items()]
    code, output = model_garden.run("experiments.train", given)
    assert code != 0
    assert "Traceback" not in output
    assert output.count(message) == 1
    assert message in "\n".join(output.strip().splitlines()[-5:])
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / runner.ARTIFACT).exists()
