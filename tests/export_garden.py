"""Tiny experiments of Model Garden that are exported: their models, inputs and artifacts."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import base_task
from official.core.config_definitions import ExperimentConfig
from official.modeling import hyperparams

import kwc
from experiments import registry_imports, runner, signatures  # noqa: F401  (registers)
from experiments.coverage import small
from experiments.coverage.records import text, vision, whole
from kwc import task as kwc_task
from kwc.algorithms import Quantization
from kwc.exports import ExportReport, Signature

KERNELS = r".*/(kernel|depthwise_kernel|embeddings|embedding_table|recurrent_kernel)"
EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model that is exported.

    Attributes:
        model: the model.
        inputs: what it is given.
        artifact: of the model with its kernels in 4 bits.
        params: the experiment that it is of, if it is of one.
        task: its task.
    """

    model: tf_keras.Model
    inputs: Any
    artifact: pathlib.Path
    params: ExperimentConfig | None = None
    task: base_task.Task | None = None

    def signatures(self, wanted: str) -> dict[str, Signature]:
        """Signatures of the task's exports."""
        return signatures.of(self.params, self.model, self.inputs, wanted)

    def export(self, path: pathlib.Path, **options: Any) -> ExportReport:
        """Exports the artifact."""
        return kwc.export(self.artifact, self.model, path, **options)


@functools.cache
def _data(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    for make in (vision.classification, vision.segmentation, vision.detection):
        whole.records(folder / f"{make.__name__}.tfrecord", make(np.random.default_rng(0)))
    whole.once(folder / "detection.json", lambda path: path.write_text("{}"))
    text.write(folder)
    return folder


def subject(name: str, folder: pathlib.Path, overrides: dict[str, Any] | None = None) -> Subject:
    """Builds an experiment at small sizes, and writes its artifact."""
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(0)
    data = _data(folder.parent / "data")
    own = json.dumps({"task": overrides or {}}).replace("{data}", str(data))
    params = hyperparams.override_params_dict(small.params(name, data), own, is_strict=True)
    params, _, task, model = runner.built(params, None)
    _disturb(model)
    batch = next(iter(task.build_inputs(params.task.validation_data)))
    inputs, _ = kwc_task.call_of(task, model, batch)
    inputs = tf.nest.map_structure(lambda tensor: tensor[:EXAMPLES].numpy(), inputs)
    folder.mkdir(parents=True)
    made = compressed(model, inputs, folder)
    return dataclasses.replace(made, params=params, task=task)


def compressed(model: tf_keras.Model, inputs: Any, folder: pathlib.Path) -> Subject:
    """Writes the artifact of a built model."""
    kwc.compress(model, kwc.Spec([(KERNELS, Quantization(4)), (".*", None)]))
    path = folder / "model.kwc"
    kwc.save(model, path, preset="fast")
    return Subject(kwc.decompress(model), inputs, path)


def _disturb(model: tf_keras.Model) -> None:
    """Moves biases and batch norms away from where they begin."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            around = float("gamma" in weight.name or "variance" in weight.name)
            weight.assign(rng.uniform(around - 0.5, around + 0.5, weight.shape))
