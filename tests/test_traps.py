"""What Model Garden's optimizers read off a variable: its name, its group, its norm."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import Same, Squares, dense
from official.modeling import optimization
from official.projects.yolo.optimization.sgd_torch import SGDTorch

import kwc
from kwc import task as kwc_task
from kwc.algorithms import Clustering, LowRank, Quantization
from kwc.model import handle_of

keras = tf_keras.layers
X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
RATE = 0.125


def make_optimizer(kind, **config):
    """An optimizer as Model Garden makes it from the parameters of an experiment."""
    ema = config.pop("ema", None)
    factory = optimization.OptimizerFactory(
        optimization.OptimizationConfig(
            {
                "optimizer": {"type": kind, kind: config},
                "learning_rate": {"type": "constant", "constant": {"learning_rate": RATE}},
                "ema": ema,
            }
        )
    )
    return factory.build_optimizer(factory.build_learning_rate())


def network():
    """A regularized Dense layer with a bias that is not zero, and batch normalization."""
    model = dense(kernel_regularizer="l2", bias_initializer="ones", name="dense")
    model.add(keras.BatchNormalization(name="batch_normalization"))
    return model


def compressed(model, compressor, pattern=".*", **kwargs):
    rules = [(pattern, compressor)] if pattern == ".*" else [(pattern, compressor), (".*", None)]
    return kwc.compress(model, kwc.Spec(rules), **kwargs)


def train(model, optimizer, steps=3, loss_weight=1.0):
    """Model Garden's training step: the task's loss and all that the model adds to it."""
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X, training=True) - Y) ** 2) + tf.add_n(model.losses)
            loss *= loss_weight
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))


def decay_only(model, optimizer):
    """A step without gradients: what moves was decayed. Returns each weight's factor."""
    before = {v.name: v.numpy() for v in model.trainable_variables}
    zeros = [(tf.zeros_like(v), v) for v in model.trainable_variables]
    optimizer.apply_gradients(zeros)
    return {
        v.name.split(":")[0]: np.mean(v.numpy() / before[v.name])
        for v in model.trainable_variables
        if np.all(before[v.name] != 0)
    }


OPTIMIZERS = {
    "sgd": {"momentum": 0.9, "global_clipnorm": 0.1},
    "sgd_experimental": {"momentum": 0.9, "clipvalue": 0.01},
    "adam": {"clipnorm": 0.1},
    "adam_experimental": {},
    "adamw": {"weight_decay_rate": 0.1, "exclude_from_weight_decay": ["bias", "beta"]},
    "adamw_experimental": {"weight_decay": 0.1},
    "lamb": {"weight_decay_rate": 0.1, "exclude_from_weight_decay": ["bias", "beta"]},
    "lars": {"weight_decay_rate": 0.1, "exclude_from_weight_decay": ["bias", "beta"]},
    "adafactor_keras": {},
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_weight_that_stands_for_itself_trains_as_it_did(kind):
    """By name, norm or factors: no optimizer can tell the variable of `Same` from the weight."""
    plain, model = network(), network()
    compressed(model, Same())
    first = make_optimizer(kind, **OPTIMIZERS[kind])
    train(plain, first)
    second = make_optimizer(kind, **OPTIMIZERS[kind])
    handle_of(model).attach(second)
    train(model, second)
    kwc.decompress(model)
    for v, expected in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(v, expected, rtol=1e-5, atol=1e-7, err_msg=v.name)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "lamb", "lars"])
def test_a_factorized_weight_of_zeros_trains(kind):
    """Two factors of zeros would be a saddle for ever; a norm of zero would be divided by."""
    model = dense(kernel_initializer="zeros")
    handle = compressed(model, LowRank(2), ".*kernel")
    optimizer = make_optimizer(kind, **OPTIMIZERS[kind])
    handle.attach(optimizer)
    np.testing.assert_array_equal(model.layers[0].kernel, np.zeros([4, 3]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(X) - Y) ** 2)
    assert np.any(tape.gradient(loss, handle.reparameterizations[0].params["u"]) != 0)
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(X) - Y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
    assert np.all(model.layers[0].kernel != 0)
    assert np.all(np.isfinite(model.layers[0].kernel))


@pytest.mark.parametrize("kind", ["adamw", "lamb", "lars"])
def test_an_exclusion_by_name_still_excludes(kind):
    model = network()
    handle = compressed(model, Quantization(8))
    optimizer = make_optimizer(kind, **OPTIMIZERS[kind])
    handle.attach(optimizer)
    factors = decay_only(model, optimizer)
    assert factors["dense/kernel"] < 1
    assert factors["dense/bias"] == 1


def test_factors_are_decayed_as_their_weight_would_be():
    model = network()
    handle = compressed(model, LowRank(2), ".*kernel")
    optimizer = make_optimizer("adamw", **OPTIMIZERS["adamw"])
    handle.attach(optimizer)
    factors = decay_only(model, optimizer)
    assert factors["dense/kernel/kwc_u"] == pytest.approx(1 - RATE * 0.1)
    assert factors["dense/kernel/kwc_v"] == pytest.approx(1 - RATE * 0.1)


@pytest.mark.parametrize("averaged", [False, True])
def test_groups_of_variables_follow_the_weights(averaged):
    """YOLO's optimizer takes variables into groups before there is anything to compress."""
    model = network()
    groups = SGDTorch(weight_decay=0.1, learning_rate=RATE, momentum=0.9, warmup_steps=1)
    groups.search_and_set_variable_groups(model.trainable_variables)
    optimizer = optimization.ExponentialMovingAverage(groups) if averaged else groups
    handle = compressed(model, Quantization(8))
    handle.attach(optimizer)
    kwc_task.regroup(optimizer, model)
    if averaged:
        optimizer.shadow_copy(model)
    factors = decay_only(model, optimizer)
    assert factors["dense/kernel"] == pytest.approx(1 - RATE * 0.1)
    assert factors["dense/bias"] == factors["batch_normalization/gamma"] == 1


@pytest.mark.parametrize(
    ("kind", "config"),
    [("sgd", {"global_clipnorm": 0.01}), ("sgd_experimental", {"global_clipnorm": 0.01})],
)
@pytest.mark.parametrize("compressor", [Squares(), Clustering(2), LowRank(2)], ids=repr)
def test_a_clipped_step_counts_the_params_and_the_penalty(kind, config, compressor):
    """The global norm is over what is trained: factors, centroids and the rate's gradient."""
    model = dense()
    handle = compressed(model, compressor, ".*kernel", rate_weight=100.0)
    optimizer = make_optimizer(kind, **config)
    handle.attach(optimizer)
    before = [v.numpy() for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = 100 * tf.reduce_mean((model(X) - Y) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
    moved = [v.numpy() - old for v, old in zip(model.trainable_variables, before, strict=True)]
    assert all(np.any(change != 0) for change in moved)
    length = np.sqrt(sum(np.sum(change**2) for change in moved))
    np.testing.assert_allclose(length, RATE * 0.01, rtol=1e-3)


def test_a_moving_average_is_of_the_params():
    model = dense()
    handle = compressed(model, LowRank(2), ".*kernel")
    optimizer = make_optimizer("sgd", ema={"average_decay": 0.5, "dynamic_decay": False})
    handle.attach(optimizer)
    optimizer.shadow_copy(model)
    u = handle.reparameterizations[0].params["u"]
    before = u.numpy()
    zeros = [(tf.zeros_like(v), v) for v in model.trainable_variables if v is not u]
    optimizer.apply_gradients([(tf.ones_like(u), u), *zeros])
    np.testing.assert_allclose(u, before - RATE, rtol=1e-6)
    # The average starts at zero.
    np.testing.assert_allclose(optimizer.get_slot(u, "average"), (before - RATE) / 2, rtol=1e-5)
