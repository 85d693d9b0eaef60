"""Model Garden's multitask trainer makes its own loop: the library compresses what it trains."""

import pytest
import tensorflow as tf
import tf_keras
from official.modeling.multitask import base_trainer, multitask, test_utils

import kwc
from kwc.algorithms import Quantization
from kwc.compressor import RefusedError

SPEC = kwc.Spec([(".*kernel", Quantization(4)), (".*", None)])
TASKS = {
    "foo": test_utils.MockFooTask(params=test_utils.FooConfig(), name="foo"),
    "bar": test_utils.MockBarTask(params=test_utils.BarConfig(), name="bar"),
}


class Whole(tf_keras.Model):
    """Holds a multitask model, which is a module of Keras models with a layer in common."""

    def __init__(self):
        super().__init__()
        self.multitask = test_utils.MockMultiTaskModel()

    def call(self, inputs):
        return [model(inputs) for model in self.multitask.sub_tasks.values()]


def test_the_multitask_trainer_trains_a_compressed_model():
    whole = Whole()
    whole({"bar": tf.ones((1, 2))})
    compression = kwc.compress(whole, SPEC, total_steps=3)
    paths = [r.info.path for r in compression.reparameterizations]
    assert paths == [
        "multitask/shared_dense/kernel",
        "multitask/sub_tasks/foo/foo_specific_layer/kernel",
        "multitask/sub_tasks/bar/bar_specific_layer/kernel",
    ]
    optimizer = tf_keras.optimizers.SGD(0.1)
    compression.attach(optimizer)
    tasks = multitask.MultiTask(tasks=list(TASKS.values()), task_weights=dict.fromkeys(TASKS, 1.0))
    trainer = base_trainer.MultiTaskBaseTrainer(tasks, whole.multitask, optimizer)
    logs = trainer.train(tf.constant(3))
    assert set(logs) >= {"foo", "bar"}
    assert compression.clock.numpy() == trainer.global_step.numpy() == 3


def test_a_module_that_is_no_layer_is_refused():
    with pytest.raises(RefusedError, match="MockMultiTaskModel is no tf_keras model or layer"):
        kwc.compress(test_utils.MockMultiTaskModel(), SPEC)
