"""What the processes of an experiment have in common: its parameters, its stages, its outputs."""

import pathlib
import re
import resource
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_task
from official.core.config_definitions import ExperimentConfig
from official.modeling import performance

from experiments.coverage import control, registered, rows, small
from kwc.compressor import RefusedError
from kwc.reparameterize import intercepted

_BATCH = "batch"
_KB = 1024
_LONGEST_REASON = 300
_WRAPPERS = ("in user code:", "Exception encountered when calling")


def params(experiment: str, data: pathlib.Path) -> ExperimentConfig:
    """Returns an experiment's parameters at small sizes, its precision set as the drivers do."""
    registered.register()
    config = small.params(experiment, data)
    config.trainer.train_steps = control.STEPS
    if config.runtime.mixed_precision_dtype:
        performance.set_mixed_precision_policy(config.runtime.mixed_precision_dtype)
    return config


class Stages:
    """The outcomes of a process's stages, on disk as soon as each has ended.

    Args:
        path: the file of the outcomes.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._outcomes: dict[str, rows.Outcome] = {}

    def run(self, stage: str, function: Callable[[], dict[str, Any]]) -> bool:
        """Runs a stage, which returns fields of its `Outcome`; returns whether it passed."""
        start = time.monotonic()
        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(0)
        try:
            fields = function()
        except RefusedError as error:
            fields = {"reason": f"{rows.REFUSED}{_lines(error)[0]}"}
        # Every kind of error is an outcome here.
        except Exception as error:
            traceback.print_exc()
            fields = {"reason": _reason(error)}
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._outcomes[stage] = rows.Outcome(
            **fields,
            seconds=time.monotonic() - start,
            peak_mb=round(usage.ru_maxrss * _KB / 1e6),
        )
        rows.write(self._path, self._outcomes)
        return not self._outcomes[stage].reason


def save_batch(task: base_task.Task, params: ExperimentConfig, folder: pathlib.Path) -> None:
    """Writes the first batch of a task's validation input, for other processes."""
    batch = next(iter(task.build_inputs(params.task.validation_data)))
    components = tuple(tf.nest.flatten(batch, expand_composites=True))
    tf.data.Dataset.from_tensors(components).save(str(folder / _BATCH))


def load_batch(task: base_task.Task, params: ExperimentConfig, folder: pathlib.Path) -> Any:
    """Returns the batch that was written, in the structure that the task's input has.

    The file does not keep the order of a mapping's keys, on which some tasks rely.
    """
    structure = task.build_inputs(params.task.validation_data).element_spec
    components = next(iter(tf.data.Dataset.load(str(folder / _BATCH))))
    return tf.nest.pack_sequence_as(structure, components, expand_composites=True)


def outputs(task: base_task.Task, model: tf_keras.Model, batch: Any) -> list[np.ndarray]:
    """Returns what the model answers in the task's own validation step, and any loss.

    The step runs eagerly and is seeded, so that what it draws is the same for equal models.

    Raises:
        ValueError: the step does not call the model.
    """
    answers = []

    def record(call, *args, **kwargs):
        answers.append(call(*args, **kwargs))
        return answers[-1]

    tf_keras.utils.set_random_seed(0)
    with intercepted(model, record):
        logs = task.validation_step(batch, model, task.build_metrics(training=False))
    if not answers:
        raise ValueError("the validation step does not call the model")
    tensors = tf.nest.flatten((answers, logs.get(task.loss, [])), expand_composites=True)
    return [_plain(tf.convert_to_tensor(tensor)) for tensor in tensors]


def _plain(tensor: tf.Tensor) -> np.ndarray:
    """The values in a dtype that NumPy's files know."""
    return (tf.cast(tensor, tf.float32) if tensor.dtype.is_floating else tensor).numpy()


def _reason(error: Exception) -> str:
    """An error in one line: the innermost, where a traced function or layers wrap it."""
    lines = _lines(f"{type(error).__name__}: {error}")
    causes = [
        line
        for line in lines
        if re.match(r"\w+(Error|Exception): ", line) and not any(w in line for w in _WRAPPERS)
    ]
    return (causes or lines)[-1][:_LONGEST_REASON]


def _lines(text: object) -> list[str]:
    return [line.strip() for line in str(text).splitlines() if line.strip()] or [""]
