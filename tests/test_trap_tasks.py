"""What Model Garden's tasks do in their own ways: load checkpoints, add losses, group variables."""

import importlib

import gin
import model_garden
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import Same, Squares
from official.core import exp_factory, task_factory, train_utils

import experiments.registry_imports  # noqa: F401  (registers the experiments)
import kwc
from experiments.coverage import control, small
from experiments.coverage import records as coverage_records
from kwc import paths
from kwc import task as kwc_task
from kwc.algorithms import LowRank, Quantization

YOLO = "yolo_darknet"

pytestmark = pytest.mark.usefixtures("as_new_process")


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    coverage_records.write(folder)
    return folder


def configure(name, records):
    importlib.import_module("official.projects.yolo.common.registry_imports")
    return small.params(name, records)


def complete(params, folder):
    """A task and its model, with the weights that are made late."""
    task = task_factory.get_task(params.task, logging_dir=str(folder))
    model = task.build_model()
    kwc_task.complete(task, model, params)
    return task, model


# Checkpoints


def whole(model):
    return [model]


def items(model):
    return list(model.checkpoint_items.values())


def backbone(model):
    return [model.backbone]


CHECKPOINTS = [
    ("semantic_segmentation", "all", items),
    ("semantic_segmentation", "backbone", backbone),
    ("retinanet_resnetfpn_coco", "all", items),
    ("retinanet_resnetfpn_coco", "backbone", backbone),
    ("maskrcnn_resnetfpn_coco", "all", whole),
    ("maskrcnn_resnetfpn_coco", "backbone", backbone),
    ("video_classification", "all", whole),
    (YOLO, "all", items),
    (YOLO, "backbone", backbone),
    ("bert/pretraining", None, items),
    ("electra/pretraining", None, items),
    ("bert/squad", None, items),
    ("bert/tagging", None, items),
]


@pytest.mark.slow  # Thirteen models are built twice, and validation is traced: five minutes.
@pytest.mark.filterwarnings("ignore:.*Input dict contained keys:UserWarning")  # By stock tasks.
@pytest.mark.parametrize(("name", "modules", "parts"), CHECKPOINTS)
def test_init_checkpoint_in_the_task_s_own_way(name, modules, parts, records, tmp_path):
    params = configure(name, records)
    _, given = complete(params, tmp_path)
    rng = np.random.default_rng(1)
    given.set_weights([rng.uniform(0.1, 0.3, w.shape) for w in given.get_weights()])
    checkpoint = tf.train.Checkpoint(model=given, **given.checkpoint_items)
    params.task.init_checkpoint = checkpoint.save(str(tmp_path / "ckpt"))
    if modules:
        params.task.init_checkpoint_modules = modules

    task, model = complete(params, tmp_path)
    kwc_task.initialize(task, model)
    inside = {id(v) for part in parts(model) for v in part.variables}
    handle = kwc.compress(model, kwc.Spec([(".*kernel", Quantization(8)), (".*", None)]))
    expected = {w.path: w.variable.numpy() for w in paths.weights(given)}
    loaded = set()
    for entry in handle.entries:
        value, path = entry.weight.variable.numpy(), entry.weight.path
        assert np.array_equal(value, expected[path]) == (id(entry.weight.variable) in inside), path
        if id(entry.weight.variable) in inside:
            loaded.add(path)
            if entry.reparameterization:
                project = entry.reparameterization.project()
                np.testing.assert_allclose(project, value, atol=0.3 / 127)
    assert loaded


# Losses that a model adds


@pytest.mark.slow  # Each takes half a minute to build and trace.
@pytest.mark.parametrize("name", ["wmt_transformer/large", YOLO])
def test_a_penalty_trains_where_the_task_drops_added_losses(name, records, tmp_path):
    """Translation deletes them, YOLO never asks for them."""
    params = configure(name, records)
    task, model = complete(params, tmp_path)
    rate = 1e-6
    size = sum(weight.info.size for weight in paths.weights(model))
    handle = kwc.compress(
        model,
        kwc.Spec([(".*kernel", Squares()), (".*", None)]),
        rate_weight=size * 0.25 / (2 * rate),
    )
    optimizer = tf_keras.optimizers.legacy.SGD(rate)
    handle.attach(optimizer)
    params_before = {r: r.params["weight"].numpy() for r in handle.reparameterizations}
    control.train(task, model, optimizer, params)
    for r, before in params_before.items():
        # Each of the two steps takes a quarter of the weight; the loss adds next to nothing.
        np.testing.assert_allclose(r.params["weight"], 0.75**2 * before, atol=0.01)


@pytest.mark.parametrize("compressor", [Same(), LowRank(0.5)], ids=repr)
def test_the_l2_regularizers_are_those_of_the_decoded_weights(compressor, images):
    config = exp_factory.get_exp_config("resnet_imagenet")
    config.override({"task": model_garden.resnet(images)})
    model = task_factory.get_task(config.task).build_model()
    before = [float(loss) for loss in model.losses]
    assert before
    kwc.compress(model, kwc.Spec([(".*kernel", compressor), (".*", None)]))
    after = [float(loss) for loss in model.losses]
    if compressor == Same():
        np.testing.assert_array_equal(after, before)
    else:
        assert after != before
    kwc.decompress(model)
    np.testing.assert_allclose([float(loss) for loss in model.losses], after, rtol=1e-5)


# Groups of variables


@pytest.mark.slow  # The stock trainer builds the input pipelines too.
def test_yolo_decays_the_compressed_kernels_and_no_bias(records):
    gin.parse_config_files_and_bindings(
        [str(model_garden.SPECS / "quantization.gin")],
        [
            "RATE = 4",
            "train_utils.create_trainer.trainer_cls = @task.CompressionTrainer",
        ],
    )
    params = configure(YOLO, records)
    task = task_factory.get_task(params.task)
    trainer = train_utils.create_trainer(params, task, train=True, evaluate=False)
    groups = getattr(trainer.optimizer, "_optimizer", trainer.optimizer)
    kernels = [r.params["weight"] for r in trainer.compression.reparameterizations]
    assert kernels
    assert all(groups._get_variable_group(v, None) == (True, False, False) for v in kernels)
    biases = [v for v in trainer.model.trainable_variables if "bias" in v.name or "beta" in v.name]
    assert biases
    assert all(groups._get_variable_group(v, None) == (False, True, False) for v in biases)


# Counting


@pytest.mark.slow  # Tracing the validation of a detector takes half a minute.
def test_a_model_that_keras_cannot_count(records):
    params = configure("retinanet_resnetfpn_coco", records)
    task = task_factory.get_task(params.task)
    model = task.build_model()
    with pytest.raises(ValueError, match="isn't built"):
        model.count_params()
    kwc_task.complete(task, model, params)
    handle = kwc.compress(model, kwc.Spec([(".*kernel", Quantization(4)), (".*", None)]))
    sizes = {
        entry.weight.path: int(np.prod(entry.weight.variable.shape)) for entry in handle.entries
    }
    assert {row.path: int(np.prod(row.shape)) for row in handle.report()} == sizes
