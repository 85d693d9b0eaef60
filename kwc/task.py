"""Compresses whatever model a TF Model Garden task builds, from a gin file alone.

    train_utils.create_trainer.trainer_cls = @task.CompressionTrainer
    task.CompressionTrainer.spec = @spec.Spec()

The trainer is the one place that every Model Garden driver passes through with the built model and
the optimizer in hand, before moving averages and checkpoints exist. No task and no architecture
is touched.
"""

from __future__ import annotations

import gin
import tensorflow as tf
import tf_keras
from absl import logging
from official.core import base_trainer
from official.modeling import optimization

from kwc import model as kwc_model
from kwc.compressor import CompressionError
from kwc.spec import Spec


@gin.configurable
class CompressionTrainer(base_trainer.Trainer):
    """Model Garden's trainer over a compressed model.

    Attributes:
        compression: the handle of the compressed model.
        dense: the checkpoint that the whole model started from; may be empty.

    Args:
        config: the experiment's parameters; `trainer.train_steps` is the length of the schedules.
        task: the task.
        model: the built model; compressed in place.
        optimizer: the optimizer, not yet built.
        *args: passed on.
        spec: the rules.
        dense: a checkpoint, or a folder of checkpoints, that a dense run of the same experiment
            wrote: the whole model starts from it. By default the task initializes the model, from
            its own `init_checkpoint` if it has one.
        rate_weight: loss per expected bit per weight, for algorithms with a penalty.
        **kwargs: passed on.

    Raises:
        CompressionError: the spec does not fit the model, or there is no checkpoint in `dense`.
    """

    def __init__(
        self,
        config,
        task,
        model: tf_keras.Model,
        optimizer,
        *args,
        spec: Spec = gin.REQUIRED,
        dense: str = "",
        rate_weight: float = 0.0,
        **kwargs,
    ):
        self.dense = dense
        initialize(task, model, dense)
        self.compression = kwc_model.compress(
            model, spec, total_steps=config.trainer.train_steps, rate_weight=rate_weight
        )
        for row in self.compression.report():
            logging.info("kwc: %s %s %s %s", row.path, row.shape, row.algorithm, row.reason)
        self.compression.attach(optimizer)
        super().__init__(config, task, model, optimizer, *args, **kwargs)

    def initialize(self) -> None:
        """Does nothing: the dense weights were loaded before they were compressed."""


def initialize(task, model: tf_keras.Model, dense: str = "") -> None:
    """Loads the weights that a dense run wrote, or lets the task initialize the model.

    Raises:
        CompressionError: there is no checkpoint at `dense`, or it is of another model.
    """
    if not dense:
        task.initialize(model)
        return
    path = tf.train.latest_checkpoint(dense) if tf.io.gfile.isdir(dense) else dense
    if path is None:
        raise CompressionError(f"There is no checkpoint in {dense}; train the dense model first.")
    try:
        status = tf.train.Checkpoint(model=model).read(path).expect_partial()
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.NotFoundError) as error:
        raise CompressionError(
            f"The checkpoint {path} is not one of this experiment's dense model: {error}"
        ) from error


def adopt_average(trainer: base_trainer.Trainer) -> None:
    """Makes moving averages, if the optimizer keeps them, the weights of the model for good.

    Evaluation and the artifact then see the same numbers; call it after the last checkpoint.
    """
    if isinstance(trainer.optimizer, optimization.ExponentialMovingAverage):
        with trainer.strategy.scope():
            trainer.optimizer.assign_average_vars(trainer.model.trainable_variables)
