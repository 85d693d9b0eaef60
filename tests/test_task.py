"""The trainer between Model Garden's tasks and kwc: what it loads, averages and refuses."""

import importlib

import gin
import model_garden
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.core import exp_factory, task_factory, train_utils
from official.modeling import hyperparams

import experiments.registry_imports  # noqa: F401  (registers the experiments)
from experiments import runner
from kwc import artifact, paths
from kwc import task as kwc_task
from kwc.compressor import CompressionError

VISION = "resnet_imagenet"
BERT = "bert/sentence_prediction"

pytestmark = pytest.mark.usefixtures("as_new_process")


def use(spec, rate=None):
    """Binds a shipped spec, as --gin_file and --gin_params do."""
    rate = model_garden.RATES[spec] if rate is None else rate
    gin.parse_config_files_and_bindings(
        [str(model_garden.SPECS / f"{spec}.gin")], [f"RATE = {rate}"]
    )


def configure(experiment, task, **trainer):
    return hyperparams.override_params_dict(
        exp_factory.get_exp_config(experiment),
        {"task": task, "trainer": model_garden.trainer(2, **trainer)},
        is_strict=True,
    )


def make_trainer(params, train=True):
    task = task_factory.get_task(params.task)
    return train_utils.create_trainer(params, task, train=train, evaluate=True)


def run(params, mode, folder):
    return runner.run(params, mode, folder, name="of this test")


def pretrained(params):
    """Returns a model of the experiment with weights that no initializer makes."""
    model = task_factory.get_task(params.task).build_model()
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 0.3, w.shape) for w in model.get_weights()])
    return model


def values(model):
    return {w.path: w.variable.numpy() for w in paths.weights(model)}


def decoded(folder):
    """Returns the weights in a run's artifact by path."""
    content = artifact.read(folder / runner.ARTIFACT)
    return {path: packed.decompress() for path, packed in content.weights.items()}


def equal(folder, given):
    """Paths of the weights that a run's artifact holds exactly as a model does."""
    result = decoded(folder)
    return {path for path, value in values(given).items() if np.array_equal(result[path], value)}


def inside(part, model):
    """Paths of the weights of a model that belong to one of its parts; not all of them do."""
    variables = {id(v) for v in part.variables}
    found = {w.path for w in paths.weights(model) if id(w.variable) in variables}
    assert found and len(found) < len(paths.weights(model))
    return found


def test_init_checkpoint_of_the_whole_model_is_what_is_compressed(images, tmp_path):
    given = pretrained(configure(VISION, model_garden.resnet(images)))
    path = tf.train.Checkpoint(model=given).save(str(tmp_path / "dense" / "ckpt"))
    params = configure(VISION, model_garden.resnet(images, init_checkpoint=path), train_steps=0)

    use("lossless")
    content = run(params, runner.COMPRESS, tmp_path / "lossless")
    expected = values(given)
    for name, value in decoded(tmp_path / "lossless").items():
        np.testing.assert_array_equal(value, expected[name])
    assert content["metrics"]["dense"] == content["metrics"]["artifact"]
    assert content["provenance"]["initial_checkpoint_sha256"]

    gin.clear_config()
    use("quantization", 8)
    run(params, runner.COMPRESS, tmp_path / "quantized")
    for name, value in decoded(tmp_path / "quantized").items():
        np.testing.assert_allclose(value, expected[name], atol=0.3 / 127)


def test_init_checkpoint_of_the_backbone_leaves_the_head(images, tmp_path):
    given = pretrained(configure(VISION, model_garden.resnet(images)))
    path = tf.train.Checkpoint(backbone=given.backbone).save(str(tmp_path / "dense" / "ckpt"))
    fields = {"init_checkpoint": path, "init_checkpoint_modules": "backbone"}
    params = configure(VISION, model_garden.resnet(images, **fields), train_steps=0)
    use("lossless")
    content = run(params, runner.COMPRESS, tmp_path)
    assert equal(tmp_path, given) == inside(given.backbone, given)
    assert content["metrics"]["dense"] is None  # Its head is random: there is no dense model.


# The stock task passes the labels to the model.
@pytest.mark.filterwarnings("ignore:.*Input dict contained keys:UserWarning")
def test_init_checkpoint_of_an_encoder(sentences, tmp_path):
    given = pretrained(configure(BERT, model_garden.bert(sentences)))
    encoder = given.checkpoint_items["encoder"]
    tf.train.Checkpoint(encoder=encoder).save(str(tmp_path / "encoder" / "ckpt"))
    fields = {"init_checkpoint": str(tmp_path / "encoder")}
    params = configure(BERT, model_garden.bert(sentences, **fields), train_steps=0)
    use("lossless")
    content = run(params, runner.COMPRESS, tmp_path)
    assert equal(tmp_path, given) == inside(encoder, given)
    assert content["metrics"]["dense"] is None


def test_the_checkpoint_is_not_loaded_again_over_compressed_weights(images, tmp_path):
    given = pretrained(configure(VISION, model_garden.resnet(images)))
    path = tf.train.Checkpoint(model=given).save(str(tmp_path / "ckpt"))
    use("pruning")
    trainer = make_trainer(configure(VISION, model_garden.resnet(images, init_checkpoint=path)))
    before = [v.numpy() for v in trainer.model.variables]
    trainer.initialize()
    for v, value in zip(trainer.model.variables, before, strict=True):
        np.testing.assert_array_equal(v.numpy(), value)


def test_an_init_checkpoint_that_does_not_fit_is_refused(images, sentences, tmp_path):
    path = tf.train.Checkpoint(model=tf_keras.Sequential([tf_keras.layers.Dense(1)])).save(
        str(tmp_path / "other" / "ckpt")
    )
    use("lossless")
    with pytest.raises(CompressionError, match=r"task\.init_checkpoint does not fit the model"):
        make_trainer(configure(VISION, model_garden.resnet(images, init_checkpoint=path)))
    with pytest.raises(CompressionError, match=r"task\.init_checkpoint does not fit the model"):
        make_trainer(configure(BERT, model_garden.bert(sentences, init_checkpoint=path)))


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_an_init_checkpoint_that_is_not_there_is_named(name, sentences, tmp_path):
    """Model Garden's NLP tasks would train from random weights instead."""
    (tmp_path / "empty").mkdir()
    task = model_garden.bert(sentences, init_checkpoint=str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match=f"task.init_checkpoint: .*{name}"):
        run(configure(BERT, task), "train", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def averaged(checkpoint):
    """The moving averages in a checkpoint, by the end of the variable's name."""
    reader = tf.train.load_checkpoint(checkpoint)
    slot = "/.OPTIMIZER_SLOT/optimizer/average/"
    return {
        key.split(slot)[0]: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if slot in key
    }


def with_average(**fields):
    config = model_garden.trainer(4)["optimizer_config"]
    return {"train_steps": 4, "optimizer_config": config | {"ema": {"average_decay": 0.5} | fields}}


def test_the_artifact_holds_the_moving_average(images, tmp_path):
    params = configure(VISION, model_garden.resnet(images), **with_average())
    use("lossless")
    content = run(params, "train_and_eval", tmp_path)
    model_garden.assert_same_metrics(content)
    slots = averaged(str(tmp_path / "ckpt-4"))
    reader = tf.train.load_checkpoint(str(tmp_path / "ckpt-4"))
    raw = {key: reader.get_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE") for key in slots}
    kernels = [v for v in decoded(tmp_path).values() if v.ndim == 4]
    for kernel in kernels:
        assert any(
            s.shape == kernel.shape and np.allclose(s, kernel, atol=1e-6) for s in slots.values()
        )
        assert not any(
            s.shape == kernel.shape and np.allclose(s, kernel, atol=1e-6) for s in raw.values()
        )


def test_a_moving_average_is_adopted_without_a_strategy(images):
    """As in a training loop of one's own."""
    use("lossless")
    trainer = make_trainer(configure(VISION, model_garden.resnet(images), **with_average()))
    before = values(trainer.model)
    for average in trainer.optimizer._average_weights:
        average.assign(tf.ones_like(average))
    kwc_task.adopt_average(trainer)
    kernels = {path for path in before if path.endswith("kernel")}
    after = values(trainer.model)
    assert kernels and all(np.allclose(after[path], 1, atol=1e-6) for path in kernels)
    assert not any(np.allclose(before[path], 1, atol=1e-6) for path in kernels)


@pytest.mark.parametrize("spec", ["clustering", "pruning", "quantization"])
def test_a_moving_average_of_all_weights_leaves_the_state_alone(spec, images, tmp_path):
    """Some experiments average batch normalization too; masks and assignments have no average."""
    params = configure(
        VISION, model_garden.resnet(images), **with_average(trainable_weights_only=False)
    )
    use(spec)
    content = run(params, "train_and_eval", tmp_path)
    model_garden.assert_same_metrics(content)
    slots = averaged(str(tmp_path / "ckpt-4"))
    assert not [key for key in slots if "/state/" in key]
    means = [v for name, v in decoded(tmp_path).items() if name.endswith("moving_mean")]
    averages = [v for key, v in slots.items() if key.endswith("moving_mean")]
    assert len(means) > 5
    for mean in means:
        assert any(a.shape == mean.shape and np.allclose(a, mean, atol=1e-6) for a in averages)


def test_training_evaluates_the_average_that_the_artifact_holds(images, tmp_path):
    """The last line of Model Garden's own log is the artifact's accuracy."""
    params = configure(VISION, model_garden.resnet(images), **with_average())
    use("quantization")
    content = run(params, "train_and_eval", tmp_path)
    events = sorted((tmp_path / "validation").glob("events*"))
    logged = {}
    for event in tf.compat.v1.train.summary_iterator(str(events[-1])):
        for value in event.summary.value:
            logged[value.tag] = float(tf.make_ndarray(value.tensor))
    assert logged["accuracy"] == pytest.approx(content["metrics"]["artifact"]["accuracy"])


@pytest.mark.parametrize(("spec", "rate"), [("quantization", 3), ("pruning", 0.5)])
def test_a_checkpoint_of_another_rate_or_algorithm_is_refused(spec, rate, images, tmp_path):
    """Three bits have the variables of four: only the recorded spec tells them apart."""
    params = configure(VISION, model_garden.resnet(images))
    use("quantization", 4)
    run(params, "train", tmp_path)
    before = (tmp_path / runner.ARTIFACT).read_bytes()
    gin.clear_config()
    use(spec, rate)
    with pytest.raises(CompressionError, match=r"of another model or spec.*model_dir of its own"):
        run(params, "train", tmp_path)
    assert (tmp_path / runner.ARTIFACT).read_bytes() == before


def test_a_checkpoint_that_is_saved_asynchronously_records_the_spec(images, tmp_path):
    """Model Garden's own drivers save so."""
    params = configure(VISION, model_garden.resnet(images))
    use("quantization", 4)
    trainer = make_trainer(params)
    options = tf.train.CheckpointOptions(enable_async=True)
    path = trainer.checkpoint.save(str(tmp_path / "ckpt"), options)
    trainer.checkpoint.sync()
    saved = tf.train.load_variable(path, "kwc_spec/.ATTRIBUTES/VARIABLE_VALUE")
    assert saved == trainer.checkpoint.kwc_spec.numpy() != 0


@pytest.mark.slow  # The smallest quantization-aware ResNet has 50 layers.
@pytest.mark.filterwarnings("ignore:distutils Version:DeprecationWarning")  # By tfmot, on import.
def test_quantization_aware_experiments_are_refused(images, tmp_path):
    importlib.import_module("official.projects.qat.vision.registry_imports")
    use("quantization")
    task = model_garden.resnet(images)
    task["model"]["backbone"]["resnet"]["model_id"] = 50  # It has no quantized ResNet-10.
    params = configure("resnet_imagenet_qat", task)
    with pytest.raises(CompressionError, match=r"quantization-aware.*without _qat"):
        run(params, "train_and_eval", tmp_path)
    assert not list(tmp_path.glob("ckpt-*"))


def test_the_rules_alone_are_no_spec():
    with pytest.raises(CompressionError, match=r"kwc\.Spec.*not list"):
        kwc_task.CompressionTrainer(None, None, None, None, spec=[(".*", None)])
