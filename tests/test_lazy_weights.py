"""Models that make weights only when they are first called, as masked-LM pretraining does."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.core import exp_factory, task_factory

import kwc
from experiments import registry_imports  # noqa: F401  (registers the experiments)
from kwc import paths
from kwc import task as kwc_task
from kwc.algorithms import Quantization


def pretraining():
    params = exp_factory.get_exp_config("bert/pretraining")
    data = {
        "input_path": "dummy",
        "seq_length": 16,
        "global_batch_size": 2,
        "max_predictions_per_seq": 3,
    }
    encoder = {
        "vocab_size": 50,
        "num_layers": 1,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 16,
    }
    params.override(
        {
            "task": {
                "model": {"encoder": {"type": "bert", "bert": encoder}},
                "train_data": data,
                "validation_data": data,
            }
        }
    )
    return params, task_factory.get_task(params.task)


# The task hands the whole batch, targets included, to its encoder.
@pytest.mark.filterwarnings("ignore:Input dict contained keys:UserWarning")
def test_heads_are_made_before_they_are_compressed():
    params, task = pretraining()
    model = task.build_model()
    assert not any(weight.path.startswith("masked_lm/dense") for weight in paths.weights(model))
    kwc_task.complete(task, model, params)
    found = {weight.path: weight for weight in paths.weights(model)}
    assert "masked_lm/dense/kernel" in found
    assert len(found) == len(model.weights)
    tied = found["encoder_network/embedding_layer/embeddings"]
    assert [holder.path for holder in tied.holders[1:]] == ["masked_lm/embedding_table"]
    kwc.compress(model, kwc.Spec([("encoder.*embeddings", Quantization(2)), (".*", None)]))
    table = model.masked_lm.embedding_table
    np.testing.assert_array_equal(table, model.encoder_network.get_embedding_layer().embeddings)
    assert len(np.unique(table[:, 0])) <= 3


def test_a_complete_model_is_left_alone():
    params, _ = pretraining()
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    kwc_task.complete(None, model, params)  # No task is asked.
    assert len(model.weights) == 2


class Taking:
    """A task that takes the ids out of what it is given, as translation and SQuAD do."""

    def build_inputs(self, params):
        return tf.data.Dataset.from_tensors({"x": tf.zeros((1, 3)), "ids": tf.zeros(1)})

    def build_metrics(self, training):
        return []

    def validation_step(self, inputs, model, metrics):
        inputs.pop("ids")
        return model(inputs["x"])


def test_a_step_may_take_features_out_of_its_input():
    params, _ = pretraining()
    model = tf_keras.Sequential([tf_keras.layers.Dense(2)])
    kwc_task.complete(Taking(), model, params)
    assert [tuple(v.shape) for v in model.weights] == [(3, 2), (2,)]


def test_a_model_whose_layers_are_built_is_built_too():
    params = exp_factory.get_exp_config("mock")
    task = task_factory.get_task(params.task)
    model = task.build_model()
    assert model.weights and not model.built
    kwc_task.complete(task, model, params)
    compression = kwc.compress(model, kwc.Spec([(".*kernel", Quantization(2)), (".*", None)]))
    assert [r.info.path for r in compression.reparameterizations] == ["network/dense/kernel"]
