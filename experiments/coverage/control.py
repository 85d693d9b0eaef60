"""Stock Model Garden alone: does it build an experiment here, train and evaluate it?"""

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_task, task_factory, train_utils
from official.core.config_definitions import ExperimentConfig
from official.modeling import optimization

STEPS = 2


def run(
    params: ExperimentConfig, folder: str | None = None
) -> tuple[tf_keras.Model, dict[int, float]]:
    """Builds the model, trains it by the task's own step, and evaluates one batch.

    Args:
        params: the experiment's parameters, at small sizes.
        folder: for files that the task makes of its data; some tasks make such.

    Returns:
        The model, and how far training moves its variables, as `train` returns it.

    Raises:
        Exception: whatever keeps Model Garden from it.
    """
    task = task_factory.get_task(params.task, logging_dir=folder)
    model = task.build_model()
    optimizer = train_utils.create_optimizer(task, params)
    if isinstance(optimizer, optimization.ExponentialMovingAverage):
        optimizer.shadow_copy(model)
    moved = train(task, model, optimizer, params)
    validate(task, model, params)
    return model, moved


def train(
    task: base_task.Task,
    model: tf_keras.Model,
    optimizer: tf_keras.optimizers.Optimizer,
    params: ExperimentConfig,
) -> dict[int, float]:
    """Takes two training steps on the task's own input.

    Returns:
        By id, the variables that the second step moved (at the first, the learning rate may be 0):
        the largest change of an element as a share of the largest element.

    Raises:
        ValueError: a loss is not finite.
    """
    metrics = task.build_metrics(training=True)
    batches = iter(task.build_inputs(params.task.train_data))
    step = tf.function(lambda: task.train_step(next(batches), model, optimizer, metrics))
    losses = [float(tf.reduce_mean(step()[task.loss])) for _ in range(STEPS - 1)]
    # Not sooner: some models make their weights at the first step.
    before = [(v, v.numpy()) for v in model.trainable_variables]
    losses.append(float(tf.reduce_mean(step()[task.loss])))
    if not np.all(np.isfinite(losses)):
        raise ValueError(f"the losses of the training steps are {losses}")
    changes = {id(v): _change(value, v.numpy()) for v, value in before}
    return {key: change for key, change in changes.items() if change > 0}


def validate(task: base_task.Task, model: tf_keras.Model, params: ExperimentConfig) -> dict:
    """Returns the logs of the task's own validation step on the first batch of its input."""
    metrics = task.build_metrics(training=False)
    batches = iter(task.build_inputs(params.task.validation_data))
    return tf.function(lambda: task.validation_step(next(batches), model, metrics))()


def _change(before: np.ndarray, after: np.ndarray) -> float:
    change, scale = (float(np.max(np.abs(x), initial=0.0)) for x in (after - before, before))
    if not scale:
        return np.inf if change else 0.0
    return change / scale
