"""Compresses whatever model a TF Model Garden task builds, from a gin file alone.

    train_utils.create_trainer.trainer_cls = @task.CompressionTrainer
    task.CompressionTrainer.spec = @spec.Spec()

The trainer is the one place that every Model Garden driver passes through with the built model and
the optimizer in hand, before moving averages and checkpoints exist. No task and no architecture
is touched.
"""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import gin
import tensorflow as tf
import tf_keras
from absl import logging
from official.core import base_trainer
from official.modeling import optimization

from kwc import algorithms, artifact, paths, summaries
from kwc import model as kwc_model
from kwc import spec as kwc_spec
from kwc.calibration import Calibration, ModelCalled
from kwc.compressor import CompressionError
from kwc.reparameterize import intercepted, swap_class
from kwc.report import Report
from kwc.schedules import Schedule
from kwc.spec import Spec


@gin.configurable
class CompressionTrainer(base_trainer.Trainer):
    """Model Garden's trainer over a compressed model.

    Attributes:
        compression: the handle of the compressed model.
        dense: the checkpoint that the whole model started from; may be empty.
        preset: how hard the coders of the artifact try.

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
        rate_weight: loss per expected bit per weight, for algorithms with a penalty: a number, or a
            schedule such as `@schedules.PiecewiseLinear()`.
        replay_input: whether a run that is resumed at step n first reads the n batches that it had
            trained on, so that it goes on with the next one; by default it starts with the first
            ones again, as Model Garden's own trainer does. It costs what reading them costs. The
            input must be seeded, by `task.train_data.seed` or `experiments.train --seed`.
        preset: `small` for the smallest artifact, `fast` for one that is written and read several
            times faster.
        calibration: settings of `kwc.calibration.Calibration` but its data and step, for algorithms
            that need statistics: they are taken from the first batches of `task.train_data`.
        **kwargs: passed on.

    Raises:
        CompressionError: the spec does not fit the model, an algorithm is not registered, there is
            no checkpoint in `dense`, or no such preset.
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
        rate_weight: float | Schedule = 0.0,
        replay_input: bool = False,
        preset: str = artifact.DEFAULT_PRESET,
        calibration: Mapping[str, Any] | None = None,
        **kwargs,
    ):
        artifact.check_preset(preset)
        for rule in kwc_spec.checked(spec).rules:
            if rule.compressor is not None:
                algorithms.check_registered(rule.compressor)
        self.dense = dense
        self.preset = preset
        self._replay_input = replay_input
        complete(task, model, config)
        initialize(task, model, dense)
        self.compression = kwc_model.compress(
            model,
            spec,
            total_steps=config.trainer.train_steps,
            rate_weight=rate_weight,
            calibration=Calibration(
                data=_batches(task, config.task.train_data),
                step=functools.partial(_infer, task, model),
                **calibration or {},
            ),
        )
        report = self.compression.report()
        for row in report:
            logging.info("kwc: %s %s %s %s", row.path, row.shape, row.algorithm, row.reason)
        self.compression.attach(optimizer)
        regroup(optimizer, model)
        if isinstance(optimizer, optimization.ExponentialMovingAverage):
            optimizer.shadow_copy(_Averaged(self.compression))
        super().__init__(config, task, model, optimizer, *args, **kwargs)
        # Made anew: what is attached to one later is not in what it saves asynchronously.
        self._checkpoint = tf.train.Checkpoint(
            global_step=self.global_step,
            model=self.model,
            optimizer=self.optimizer,
            kwc_spec=tf.Variable(_fingerprint(report), dtype=tf.int64, trainable=False),
            **getattr(model, "checkpoint_items", {}),
        )
        swap_class(self.checkpoint, {"restore": _restore})
        self._live = summaries.Live(self.compression)

    def create_train_loop_fn(self):
        """Returns the training loop, once the step that it begins at is restored."""
        step = self.global_step.numpy()
        if self._replay_input and step:
            logging.info("kwc: reading the %d batches before step %d again", step, step)
            self.train_dataset = tf.nest.map_structure(
                lambda dataset: _Remainder(dataset, step), self.train_dataset
            )
        return super().create_train_loop_fn()

    def train_loop_end(self) -> dict[str, Any]:
        """Returns what the training loop logs, and how far the compression is."""
        return super().train_loop_end() | self._live()

    def initialize(self) -> None:
        """Does nothing: the dense weights were loaded before they were compressed."""


def complete(task, model: tf_keras.Model, config) -> None:
    """Makes the weights that a model makes only when it is first called.

    Some heads of Model Garden do so. One validation step of the task is traced, on what its own
    input pipeline yields; nothing runs.
    """
    layers = [x for x in paths.layers(model).values() if isinstance(x, tf_keras.layers.Layer)]
    if model.built and model.weights and all(layer.built for layer in layers):
        return
    inputs = task.build_inputs(config.task.validation_data).element_spec
    metrics = task.build_metrics(training=False)
    strategy = tf.distribute.get_strategy()

    @tf.function
    def step(inputs):
        strategy.run(task.validation_step, (_copied(inputs), model, metrics))

    step.get_concrete_function(inputs)


def _batches(task, data) -> Iterator[Any]:
    """What a task's input pipeline yields; it is built when the first batch is asked for.

    Raises:
        CompressionError: its files are not there.
    """
    try:
        yield from task.build_inputs(data)
    except (tf.errors.NotFoundError, FileNotFoundError, ValueError) as error:
        raise CompressionError(
            f"The statistics that an algorithm needs are taken from task.train_data, which cannot "
            f"be read: {error}"
        ) from error


def _infer(task, model: tf_keras.Model, batch: Any) -> None:
    """Calls the model on a batch of training data as a step of its task does.

    That is the validation step, unless it asks for more than training data has.

    Raises:
        ModelCalled: the model was called.
        Exception: the training step's own error.
    """
    try:
        task.validation_step(_copied(batch), model=model, metrics=[])
    except ModelCalled:
        raise
    # Tasks fail in ways of their own where a feature is missing.
    except Exception:
        task.train_step(_copied(batch), model=model, optimizer=None, metrics=[])


def inputs_of(task, model: tf_keras.Model, batch: Any) -> Any:
    """Returns what the task's validation step calls its model with, given one of its batches.

    Raises:
        CompressionError: it calls it with more than its inputs, or not at all.
    """
    inputs, more = call_of(task, model, batch)
    if more:
        raise CompressionError(
            f"The task calls its model with more than its inputs: {', '.join(more)}. Wrap it in a "
            "model that takes nothing else, and call kwc.export in Python."
        )
    return inputs


def call_of(task, model: tf_keras.Model, batch: Any) -> tuple[Any, list[str]]:
    """Returns the inputs that a validation step hands its model, and what it gives it besides.

    Raises:
        CompressionError: the step does not call the model.
    """
    recorded = []

    def record(call, inputs, *args, **kwargs):
        recorded.append((inputs, args, kwargs))
        raise ModelCalled

    with intercepted(model, record), contextlib.suppress(ModelCalled):
        task.validation_step(_copied(batch), model=model, metrics=[])
    if not recorded:
        raise CompressionError(
            f"The validation step of {type(task).__name__} does not call its model, so that its "
            "inputs are not known. Call kwc.export in Python, which takes them as `inputs`."
        )
    inputs, args, kwargs = recorded[0]
    # A functional model warns of what it does not take, such as labels.
    taken = getattr(model, "input_names", None) or ()
    if isinstance(inputs, Mapping) and taken and set(taken) <= inputs.keys():
        inputs = {name: inputs[name] for name in taken}
    return inputs, [*map(str, args), *(kwargs.keys() - {"training"})]


def _copied(batch: Any) -> Any:
    """The same tensors: some tasks take features out of what they are given."""
    return tf.nest.map_structure(lambda feature: feature, batch)


def initialize(task, model: tf_keras.Model, dense: str = "") -> None:
    """Loads the weights that a dense run wrote, or lets the task initialize the model.

    Raises:
        CompressionError: there is no checkpoint at `dense`, or the checkpoint that is loaded is of
            another model.
    """
    if not dense:
        try:
            task.initialize(model)
        except _MISMATCH as error:
            raise CompressionError(
                f"task.init_checkpoint does not fit the model: {error}"
            ) from error
        return
    path = tf.train.latest_checkpoint(dense) if tf.io.gfile.isdir(dense) else dense
    if path is None:
        raise CompressionError(f"There is no checkpoint in {dense}; train the dense model first.")
    try:
        _read(model, path)
    except _MISMATCH as error:
        raise CompressionError(
            f"The checkpoint {path} is not one of this experiment's dense model: {error}"
        ) from error


def regroup(optimizer, model: tf_keras.Model) -> None:
    """Lets an optimizer that put the variables into groups by their names do so again.

    YOLO's does when it is created, before the variables are replaced; it would take new ones for
    neither weights nor biases.
    """
    while optimizer is not None:
        if hasattr(optimizer, "search_and_set_variable_groups"):
            optimizer.search_and_set_variable_groups(model.trainable_variables)
        optimizer = vars(optimizer).get("_optimizer")


def adopt_average(trainer: base_trainer.Trainer) -> None:
    """Makes moving averages, if the optimizer keeps them, the weights of the model for good.

    Evaluation and the artifact then see the same numbers; call it once, after the last checkpoint.
    """
    if isinstance(trainer.optimizer, optimization.ExponentialMovingAverage):
        with contextlib.ExitStack() as scopes:
            scopes.enter_context(trainer.strategy.scope())
            if not tf.distribute.has_strategy():
                # Averages are swapped in the scope of a strategy only.
                scopes.enter_context(tf.distribute.OneDeviceStrategy("/cpu:0").scope())
            trainer.optimizer.swap_weights()


class _Remainder:
    """A dataset, also a distributed one, without its first batches.

    `tf.data.Dataset.skip` would be evaluated before the step is restored, and a distributed dataset
    has no such method.
    """

    def __init__(self, dataset: tf.data.Dataset | tf.distribute.DistributedDataset, batches: int):
        self._dataset = dataset
        self._batches = batches

    def __iter__(self):
        iterator = iter(self._dataset)

        @tf.function
        def read(batches):
            for _ in tf.range(batches):
                next(iterator)

        read(tf.constant(self._batches))
        return iterator


class _Averaged:
    """What a moving average may average: all of a model but the algorithms' state and clock."""

    def __init__(self, compression: kwc_model.Compression):
        state = {id(v) for r in compression.reparameterizations for v in r.state.values()}
        state.add(id(compression.clock))
        self.trainable_variables = compression.model.trainable_variables
        self.variables = [v for v in compression.model.variables if id(v) not in state]


_MISMATCH = (AssertionError, ValueError, tf.errors.NotFoundError, tf.errors.DataLossError)


def _read(model: tf_keras.Model, path: str) -> None:
    """Reads all weights of a model from a checkpoint; raises one of `_MISMATCH`."""
    status = tf.train.Checkpoint(model=model).read(path)
    status.expect_partial().assert_existing_objects_matched()


def _fingerprint(report: Report) -> int:
    """A number that stands for what every weight is compressed by."""
    return zlib.crc32(repr([(row.path, row.algorithm) for row in report]).encode())


def _restore(checkpoint: tf.train.Checkpoint, path: str, *args, **kwargs):
    """`Checkpoint.restore` that refuses what a run with another spec left in the folder.

    The stock one would silently leave the variables that the file lacks at their initial values, or
    take those that another rate has made.
    """
    expected = checkpoint.kwc_spec.numpy()
    try:
        _read(checkpoint.model, path)
        status = tf.train.Checkpoint.restore(checkpoint, path, *args, **kwargs)
        if checkpoint.kwc_spec.numpy() != expected:
            raise ValueError("Its weights are compressed by other algorithms or rates.")
    except _MISMATCH as error:
        raise CompressionError(
            f"The checkpoint {path} is of another model or spec; give this run a model_dir of its "
            f"own. {error}"
        ) from error
    # A run that has nothing left to train never makes the optimizer's variables.
    return status.expect_partial()
