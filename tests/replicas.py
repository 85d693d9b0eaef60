"""Trains one compressed model on one and on two virtual devices, and tells how they went, as JSON.

python tests/replicas.py
"""

import dataclasses
import json

import numpy as np
import tensorflow as tf
import tf_keras

import kwc
from kwc.algorithms import LowRank, Pruning, Quantization
from kwc.compressor import Variables, WeightCompressor
from kwc.schedules import Polynomial

keras = tf_keras.layers


@dataclasses.dataclass(frozen=True)
class Tracked(WeightCompressor):
    """Has a penalty and half the learning rate, remembers the gradient, and clips its param.

    Its replicas disagree on the update, as they might through an operation that is not
    deterministic; the first one's counts.
    """

    def init(self, weight, info, step, statistics):
        return Variables({"weight": weight}, {"gradient": np.zeros(info.shape, np.float32)})

    def penalty(self, v, info, seed):
        return tf.reduce_sum(v.params["weight"] ** 2)

    def learning_rates(self, info):
        return {"weight": 0.5}

    def update(self, v, info, step, gradients):
        clipped = tf.clip_by_value(v.params["weight"], -0.4, 0.4)
        wrong = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        return Variables({"weight": clipped + wrong}, {"gradient": gradients["weight"] + wrong})


SPEC = kwc.Spec(
    [
        ("dense/kernel", Tracked()),
        ("dense_1/kernel", Pruning(Polynomial(final=0.5), interval=2) >> Quantization(4)),
        ("dense_2/kernel", LowRank(2)),
        (".*", None),
    ]
)


def train(replicas: int) -> dict:
    """Losses, the largest difference between replicas, and every variable after training."""
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    with strategy.scope():
        tf_keras.utils.set_random_seed(0)
        model = tf_keras.Sequential(
            [keras.Input((4,)), *(keras.Dense(4, kernel_regularizer="l2") for _ in range(3))]
        )
        model.compile(tf_keras.optimizers.SGD(0.1), "mse")
    # Outside the scope: the variables belong to the strategy of the model all the same.
    handle = kwc.compress(model, SPEC, total_steps=6, rate_weight=0.1)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(16, 4)), rng.normal(size=(16, 4))
    history = model.fit(*data, batch_size=8, epochs=3, shuffle=False, verbose=0)
    variables = {"clock": handle.clock} | {
        f"{r.info.path}/{name}": v
        for r in handle.reparameterizations
        for name, v in (r.params | r.state).items()
    }
    copies = {
        name: [copy.numpy().astype(float) for copy in strategy.experimental_local_results(v)]
        for name, v in variables.items()
    }
    apart = [np.max(np.abs(values[0] - values[-1])) for values in copies.values()]
    return {
        "copies": min(len(strategy.experimental_local_results(v)) for v in variables.values()),
        "losses": history.history["loss"],
        "apart": max(apart),
        "variables": {name: values[0].tolist() for name, values in copies.items()},
    }


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    print(json.dumps([train(1), train(2)]))
