"""One trial from one gin file: the experiment, its parameters, the spec and the seed.

trial.Experiment.name = 'lenet5_mnist'
trial.Experiment.data = 'mnist_5k'
trial.Experiment.trainer = {'train_steps': 500}
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import gin
import tf_keras
from official.core import exp_factory
from official.core.config_definitions import ExperimentConfig
from official.modeling import hyperparams

from experiments import data as prepared_data
from experiments import (  # noqa: F401  (registers the experiments)
    registry_imports,
    runner,
    signatures,
)
from experiments.exported import Evaluation
from kwc.compressor import CompressionError
from kwc.report import Report


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A registered Model Garden experiment and how it is run.

    Attributes:
        name: name under which the experiment is registered.
        task: overrides of its `task` parameters, as in Model Garden's `--params_override`.
        trainer: overrides of its `trainer` parameters.
        runtime: overrides of its `runtime` parameters.
        mode: one of Model Garden's training modes, or `compress` (no training).
        seed: seeds initial weights, shuffling and the algorithms.
        data: name of a data set that `python -m experiments.prepare_data` prepared; it sets the
            input paths, and the final figures are those of its test split. None leaves the paths
            to `task`.
        data_dir: folder of the prepared data sets.
        dense: folder of a finished dense trial to start from, relative to this trial's folder.
    """

    name: str
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trainer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    runtime: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    mode: str = "train_and_eval"
    seed: int = 0
    data: str | None = None
    data_dir: str = "data"
    dense: str | None = None

    def manifest(self) -> prepared_data.Manifest | None:
        """Returns the prepared data set, verified, or None if the experiment names none."""
        return None if self.data is None else prepared_data.load_manifest(self.data_dir, self.data)

    def params(self) -> ExperimentConfig:
        """Returns the experiment's parameters with all overrides, validated and locked.

        Raises:
            KeyError: a parameter is unknown.
            ValueError: no experiment has that name.
        """
        params = exp_factory.get_exp_config(self.name)
        for overrides in (self._paths(), self._own()):
            params = hyperparams.override_params_dict(params, overrides, is_strict=True)
        if self.mode == runner.COMPRESS:
            params.trainer.train_steps = 0
        params.validate()
        params.lock()
        return params

    def _own(self) -> dict[str, Any]:
        own = {"task": self.task, "trainer": self.trainer, "runtime": self.runtime}
        return {key: _plain(value) for key, value in own.items() if value}

    def _paths(self) -> dict[str, Any]:
        manifest = self.manifest()
        if manifest is None:
            return {}
        seeds = {"seed": self.seed}
        return {
            "task": {
                "train_data": {"input_path": str(manifest.path("train"))} | seeds,
                "validation_data": {"input_path": str(manifest.path("validation"))},
            }
        }


def read(config: pathlib.Path) -> Experiment:
    """Reads a trial's gin file, in a process as good as new."""
    gin.clear_config()
    tf_keras.backend.clear_session()
    tf_keras.mixed_precision.set_global_policy("float32")
    gin.parse_config_files_and_bindings([str(config)], [], finalize_config=False)
    return gin.get_configurable(Experiment)()


def run(config: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
    """Runs the trial that a gin file describes; see `experiments.runner.run`.

    Args:
        config: a self-contained gin file.
        folder: the trial's folder; an interrupted trial resumes from the checkpoint in it.

    Returns:
        The content of its `result.json`.
    """
    experiment = read(config)
    if experiment.dense is not None:
        _start_from((folder / experiment.dense).resolve())
    gin.finalize()
    tf_keras.utils.set_random_seed(experiment.seed)
    manifest = experiment.manifest()
    return runner.run(
        experiment.params(),
        experiment.mode,
        folder,
        name=experiment.name,
        seed=experiment.seed,
        test_path=str(manifest.path("test")) if manifest else None,
        data_checksum=manifest.checksum if manifest else None,
        is_one_of_many=True,
    )


def evaluate(config: pathlib.Path, artifact: pathlib.Path) -> tuple[dict[str, float], str, Report]:
    """Evaluates an artifact of the trial that a gin file describes; nothing is written.

    Neither the trial's folder nor the dense trial that it started from is needed.

    Returns:
        The task's own metrics, the primary one first; the split that they are of, `test` or
        `validation`; and what the file holds.

    Raises:
        ArtifactError: the file is damaged, forged, or of another model.
        FileNotFoundError: the data is not there; the message says how to prepare it.
    """
    params, test_path = _evaluated(config)
    metrics, report = runner.measure(params, artifact, test_path)
    return metrics, "test" if test_path else "validation", report


def model_and_inputs(config: pathlib.Path, examples: int) -> tuple[tf_keras.Model, Any]:
    """Builds the model of the trial that a gin file describes; see `runner.model_and_inputs`.

    Neither the trial's folder nor the dense trial that it started from is needed.
    """
    params, test_path = _evaluated(config)
    return runner.model_and_inputs(params, examples, test_path)


def model_and_given(
    config: pathlib.Path, examples: int, signature: str
) -> tuple[tf_keras.Model, dict[str, Any]]:
    """Builds the model of the trial that a gin file describes; see `signatures.model_and_given`.

    Neither the trial's folder nor the dense trial that it started from is needed.
    """
    params, test_path = _evaluated(config)
    return signatures.model_and_given(params, examples, signature, test_path)


def evaluation(config: pathlib.Path, examples: int, data: str | None = None) -> Evaluation:
    """Prepares to evaluate exported files of the trial that a gin file describes.

    Neither the trial's folder nor the dense trial that it started from is needed.

    Args:
        config: a self-contained gin file.
        examples: as `Evaluation` takes it.
        data: file pattern of other data; the test split, or else the validation data, if None.
    """
    params, test_path = _evaluated(config)
    return Evaluation(params, examples, data or test_path)


def _evaluated(config: pathlib.Path) -> tuple[ExperimentConfig, str | None]:
    """The parameters of a trial that is only evaluated, and its test data if it has such."""
    experiment = read(config)
    gin.finalize()
    manifest = experiment.manifest()
    return experiment.params(), str(manifest.path("test")) if manifest else None


def check(text: str) -> None:
    """Reads a trial's gin text as `run` will, and builds its parameters and its spec.

    Raises:
        Exception: whatever `run` would raise before the first step: unknown names or values.
    """
    gin.clear_config()
    gin.parse_config(text)
    gin.get_configurable(Experiment)().params()
    gin.get_bindings("kwc.task.CompressionTrainer")
    gin.clear_config()


def _start_from(dense: pathlib.Path) -> None:
    if not dense.is_dir():
        raise CompressionError(f"The dense trial {dense} is not there; run it first.")
    gin.bind_parameter("kwc.task.CompressionTrainer.dense", str(dense))


def _plain(value: Any) -> Any:
    """Nested dicts and lists without gin's own types."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
