"""The two LeNets through Model Garden's stock image classification task."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.core import exp_factory, task_factory, train_lib
from official.modeling import hyperparams

import experiments.lenet  # noqa: F401  (registers the experiments)
from experiments.data import prepare

WEIGHTS = {"lenet_300_100_mnist": 266_610, "lenet5_mnist": 431_080}


def build(name):
    config = exp_factory.get_exp_config(name)
    config.validate()
    task = task_factory.get_task(config.task)
    return config, task, task.build_model()


@pytest.mark.parametrize(("name", "count"), WEIGHTS.items())
def test_the_number_of_weights_is_the_literature_s(name, count):
    _, _, model = build(name)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == count
    assert not model.non_trainable_weights
    assert model(tf.zeros([2, 28, 28, 3])).shape == (2, 10)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_channels_are_averaged(name):
    _, _, model = build(name)
    images = np.random.default_rng(0).normal(size=(3, 28, 28, 3)).astype(np.float32)
    grey = np.repeat(images.mean(-1, keepdims=True), 3, axis=-1)
    np.testing.assert_allclose(model(images), model(grey), atol=1e-5)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_the_convolutions_of_lenet5_take_an_activation(activation):
    config = exp_factory.get_exp_config("lenet5_mnist")
    backbone = {"lenet5_caffe": {"conv_activation": activation}}
    config.override({"task": {"model": {"backbone": backbone}}})
    layers = task_factory.get_task(config.task).build_model().backbone.layers
    convolutions = [layer for layer in layers if isinstance(layer, tf_keras.layers.Conv2D)]
    assert [layer.activation.__name__ for layer in convolutions] == [activation] * 2


@pytest.mark.parametrize("name", WEIGHTS)
def test_one_official_train_step_moves_every_weight(name):
    config, task, model = build(name)
    optimizer = task.create_optimizer(config.trainer.optimizer_config)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(8, 28, 28, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, 10, 8), tf.int32)
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = task.train_step((images, labels), model, optimizer, metrics=task.build_metrics())
    assert np.isfinite(logs["loss"])
    for old, weight in zip(before, model.trainable_weights, strict=True):
        assert not np.array_equal(old, weight.numpy()), weight.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "accuracy"), {"lenet_300_100_mnist": 0.93, "lenet5_mnist": 0.95}.items()
)
def test_lenet_learns_mnist(name, accuracy, tmp_path):
    manifest = prepare("mnist_5k", tmp_path)
    overrides = {
        "task": {
            "train_data": {"input_path": str(manifest.path("train"))},
            "validation_data": {"input_path": str(manifest.path("validation"))},
        },
        "trainer": {"train_steps": 500},
    }
    config = hyperparams.override_params_dict(
        exp_factory.get_exp_config(name), overrides, is_strict=True
    )
    _, logs = train_lib.run_experiment(
        distribution_strategy=tf.distribute.get_strategy(),
        task=task_factory.get_task(config.task),
        mode="train_and_eval",
        params=config,
        model_dir=str(tmp_path / "model"),
        run_post_eval=True,
    )
    assert logs["accuracy"] > accuracy
