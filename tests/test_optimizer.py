"""What joins an optimizer's step: the rate at its present weight, learning rates of params."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import dense

import kwc
from kwc.compressor import Variables, WeightCompressor, WeightInfo
from kwc.model import handle_of
from kwc.schedules import PiecewiseLinear


@dataclasses.dataclass(frozen=True)
class Scaled(WeightCompressor):
    """A weight times a number, which learns at a rate of its own; expects their sum in bits."""

    multiple: float = 1.0

    def param_shapes(self, info):
        return {"weight": info.shape, "scale": ()}

    def init(self, weight, info, step, statistics):
        return Variables({"weight": weight, "scale": np.float32(1)})

    def project(self, v, info, training, seed):
        return v.params["weight"] * v.params["scale"]

    def penalty(self, v, info, seed):
        return tf.reduce_sum(v.params["weight"]) + v.params["scale"]

    def learning_rates(self, info):
        return {"scale": self.multiple}

    def compress(self, v, info):
        return {"weight": self.project(v, info, False, None).numpy()}


def compressed(compressor, **kwargs):
    """A model of 15 weights, 12 of which are compressed, and its one reparameterization."""
    model = dense()
    handle = kwc.compress(model, kwc.Spec([(".*kernel", compressor), (".*", None)]), **kwargs)
    return model, handle.reparameterizations[0]


def steps(model, optimizer, gradients, count=1):
    """Applies the same gradients of the kernel's params some times."""
    model.compile(optimizer, "mse")
    params = handle_of(model).reparameterizations[0].params
    for _ in range(count):
        optimizer.apply_gradients([(tf.constant(gradients[k]), v) for k, v in params.items()])


def test_a_param_moves_a_multiple_of_what_the_optimizer_moves_it():
    model, r = compressed(Scaled(multiple=10.0))
    before = r.params["weight"].numpy()
    steps(model, tf_keras.optimizers.SGD(0.5), {"weight": np.ones((4, 3), "f"), "scale": 0.02})
    # SGD alone would go 0.5 * 0.02 down.
    np.testing.assert_allclose(r.params["scale"], 1 - 10 * 0.01, rtol=1e-6)
    np.testing.assert_allclose(r.params["weight"], before - 0.5, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "adagrad"])
@pytest.mark.parametrize("is_scaled", [False, True])
def test_any_optimizer_is_multiplied(name, is_scaled):
    moves = []
    for multiple in (1.0, 3.0):
        model, r = compressed(Scaled(multiple=multiple))
        optimizer = tf_keras.optimizers.get(name)
        if is_scaled:
            optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
            gradient = float(optimizer.loss_scale)
        else:
            gradient = 1.0
        steps(model, optimizer, {"weight": np.zeros((4, 3), "f"), "scale": gradient}, count=2)
        moves.append(1 - r.params["scale"].numpy())
    assert moves[0] > 0
    assert moves[1] == pytest.approx(3 * moves[0], rel=1e-3)


def test_a_step_that_loss_scaling_skips_moves_nothing():
    model, r = compressed(Scaled(multiple=3.0))
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(tf_keras.optimizers.SGD(1.0))
    steps(model, optimizer, {"weight": np.zeros((4, 3), "f"), "scale": np.inf})
    assert r.params["scale"].numpy() == 1


def test_a_chain_multiplies_the_rates_of_its_links():
    chain = Scaled(multiple=2.0) >> Scaled(multiple=3.0)
    info = WeightInfo("dense/kernel", (4, 3))
    assert chain.learning_rates(info) == {
        "weight/weight": 1.0,
        "weight/scale": 3.0,
        "scale/weight": 2.0,
        "scale/scale": 6.0,
    }
    assert chain.param_shapes(info).keys() == chain.learning_rates(info).keys()


def test_the_rate_s_weight_follows_its_schedule():
    rate = PiecewiseLinear([(0.0, 0.0), (0.5, 1.0), (0.5, 0.2)], scale=15.0)
    model, r = compressed(Scaled(), total_steps=4, rate_weight=rate)
    zeros = {"weight": np.zeros((4, 3), "f"), "scale": 0.0}
    model.compile(tf_keras.optimizers.SGD(1.0), "mse")
    moves, params = [], r.params
    for _ in range(4):
        before = params["scale"].numpy()
        model.optimizer.apply_gradients([(tf.constant(zeros[k]), v) for k, v in params.items()])
        moves.append(before - params["scale"].numpy())
    # One bit of 15 weights: at steps 0 to 3 of 4 a loss of 0, 0.5, 0.2 and 0.2.
    np.testing.assert_allclose(moves, [0, 0.5, 0.2, 0.2], atol=1e-6)
