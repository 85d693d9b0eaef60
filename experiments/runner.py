"""Runs one experiment, from the initial weights to the measured artifact.

train: the task's own loop, with whatever trainer gin chose -> artifact: written, read back into a
new model -> evaluated by the task's own metrics, beside the dense model and the training graph.
"""

import dataclasses
import pathlib
import tempfile
import time
import weakref
from typing import Any

import tensorflow as tf
import tf_keras
from absl import logging
from official.common import distribute_utils
from official.core import base_task, base_trainer, task_factory, train_lib, train_utils
from official.core.config_definitions import ExperimentConfig
from official.modeling import performance
from official.vision.utils import summary_manager

import kwc
from experiments import events, inputs, macs, result
from kwc import summaries
from kwc import task as kwc_task
from kwc.compressor import CompressionError
from kwc.model import ASYNCHRONOUS
from kwc.report import Report

ARTIFACT = "model.kwc"
COMPRESS = "compress"


def run(
    params: ExperimentConfig,
    mode: str,
    folder: pathlib.Path,
    *,
    name: str,
    seed: int = 0,
    test_path: str | None = None,
    data_checksum: str | None = None,
    is_one_of_many: bool = False,
) -> dict[str, Any]:
    """Runs an experiment; resumes from the last checkpoint in its folder.

    Args:
        params: Model Garden's parameters of the experiment. For `compress`, `train_steps` is 0.
        mode: one of Model Garden's training modes, or `compress` for compression without training.
        folder: for checkpoints, summaries, `params.yaml`, `model.kwc` and, last, `result.json`.
        name: name under which the experiment is registered; recorded.
        seed: what Python, NumPy and TensorFlow were seeded with; recorded.
        test_path: file pattern of the data for the final figures; the validation data if None.
        data_checksum: checksum of the prepared data; recorded.
        is_one_of_many: whether other trials will follow in this process.

    Returns:
        The content of `result.json`.

    Raises:
        CompressionError: the spec does not fit the model, a weight is not finite, or the strategy
            is `parameter_server`.
        FileNotFoundError: the data or the initial checkpoint is not there.
    """
    start = time.monotonic()
    if params.runtime.distribution_strategy == "parameter_server":
        raise CompressionError(ASYNCHRONOUS)
    _check_inputs(params, "train" in mode)
    _check_checkpoint(params)
    folder.mkdir(parents=True, exist_ok=True)
    train_utils.serialize_config(params, str(folder))
    strategy = _strategy(params)
    with strategy.scope():
        task = task_factory.get_task(params.task, logging_dir=str(folder))
        if is_one_of_many:
            inputs.without_autotune(task)
        trainer = train_utils.create_trainer(
            params,
            task,
            train="train" in mode,
            evaluate=True,
            checkpoint_exporter=train_utils.maybe_create_best_ckpt_exporter(params, str(folder)),
        )
    if mode != COMPRESS:
        train_lib.run_experiment(
            strategy,
            task,
            mode,
            params,
            str(folder),
            trainer=trainer,
            eval_summary_manager=summary_manager.maybe_build_eval_summary_manager(
                params=params, model_dir=str(folder)
            ),
        )
        kwc_task.adopt_average(trainer)
    train_seconds = time.monotonic() - start

    final = _final(params, test_path)
    dense = getattr(trainer, "dense", "")
    pretrained = getattr(params.task, "init_checkpoint", "")
    # A checkpoint of the backbone or encoder alone makes no dense model: its head is random.
    is_whole = pretrained and getattr(params.task, "init_checkpoint_modules", "") == "all"
    metrics: dict[str, Any] = {"dense": None, "training_graph": None, "artifact": None}
    trained = evaluate(final, task, trainer.model, strategy)
    if isinstance(trainer, kwc_task.CompressionTrainer):
        metrics["training_graph"] = trained
        report = trainer.compression.save(folder / ARTIFACT, preset=trainer.preset)
        summaries.histograms(trainer.compression, folder / "train", params.trainer.train_steps)
        with strategy.scope():
            model = task.build_model()
            kwc_task.complete(task, model, params)
            if dense or is_whole:
                kwc_task.initialize(task, model, dense)
                metrics["dense"] = evaluate(final, task, model, strategy)
            kwc.load(folder / ARTIFACT, into=model)
        metrics["artifact"] = evaluate(final, task, model, strategy)
    else:
        model = trainer.model
        metrics["dense"] = trained
        report = kwc.compress(model, kwc.Spec([(".*", None)])).report()
        kwc.decompress(model)
    logging.info("kwc: %s", metrics)

    primary = primary_metric(trained, params)
    nonzeros = result.nonzeros(model)
    best, last = _validation(params, folder, primary)
    if mode == COMPRESS and test_path is not None:
        # The test data reports, the validation data selects.
        best = last = {"step": 0, "value": evaluate(params, task, model, strategy)[primary]}
    batch = task.build_inputs(params.task.validation_data).element_spec
    sizes = result.sizes(report, folder / ARTIFACT, nonzeros, macs.count(model, batch))
    if report.sizes is None:
        sizes["dense_zipped_bytes"] = result.dense_zipped_bytes(model)
    content = {
        "experiment": name,
        "mode": mode,
        "seed": seed,
        "steps": params.trainer.train_steps,
        "train_batch_size": getattr(params.task.train_data, "global_batch_size", None),
        "primary_metric": primary,
        "checkpoint": "final",
        "metrics": metrics,
        "best_validation": best,
        "last_validation": last,
        "sizes": sizes,
        "timings": {
            "train_seconds": train_seconds,
            "total_seconds": time.monotonic() - start,
        },
        "artifact": ARTIFACT if report.sizes else None,
        "weights": [dataclasses.asdict(row) | {"nonzeros": nonzeros[row.path]} for row in report],
        "provenance": result.provenance(data_checksum, dense or pretrained),
    }
    return result.write(folder, content)


def measure(
    params: ExperimentConfig, artifact: pathlib.Path, test_path: str | None = None
) -> tuple[dict[str, float], Report]:
    """Evaluates the model that an artifact decodes to; nothing is written.

    Args:
        params: Model Garden's parameters of the experiment. Neither its training data nor the
            checkpoint that it starts from is needed.
        artifact: the `.kwc` file.
        test_path: file pattern of the data; the validation data if None.

    Returns:
        The task's own metrics, the primary one first, and what the file holds.

    Raises:
        ArtifactError: the file is damaged, forged, or of another model.
        FileNotFoundError: the data is not there.
    """
    params, strategy, task, model = built(params, test_path)
    with strategy.scope():
        report = kwc.load(artifact, into=model)
    metrics = evaluate(params, task, model, strategy)
    primary = primary_metric(metrics, params)
    return {primary: metrics[primary]} | metrics, report


def model_and_inputs(
    params: ExperimentConfig, examples: int, test_path: str | None = None
) -> tuple[tf_keras.Model, Any]:
    """Builds the model of an experiment, and reads what its task gives it.

    Args:
        params: as `measure` takes them.
        examples: how many examples of the first batch.
        test_path: as `measure` takes it.

    Returns:
        The model with initial weights, and its inputs, arrays in the structure in which the task's
        validation step hands them over.

    Raises:
        CompressionError: the step gives the model more than its inputs, or does not call it.
        FileNotFoundError: the data is not there.
    """
    params, strategy, task, model = built(params, test_path)
    batch = next(iter(task.build_inputs(params.task.validation_data)))
    with strategy.scope():
        inputs = kwc_task.inputs_of(task, model, batch)
    return model, tf.nest.map_structure(lambda tensor: tensor[:examples].numpy(), inputs)


def evaluate(
    params: ExperimentConfig,
    task,
    model: tf_keras.Model,
    strategy: tf.distribute.Strategy,
    batches: tf.data.Dataset | None = None,
) -> dict[str, float]:
    """Returns the task's own validation metrics of a model, by the stock evaluation loop.

    Args:
        params: Model Garden's parameters of the experiment.
        task: its task.
        model: the model.
        strategy: in whose scope the model was built.
        batches: what it is evaluated on; the data that `params` name if None.
    """
    with strategy.scope():
        evaluator = base_trainer.Trainer(
            params,
            task,
            model,
            optimizer=tf_keras.optimizers.SGD(),
            train=False,
            validation_dataset=batches and strategy.experimental_distribute_dataset(batches),
        )
        logs = evaluator.evaluate(tf.constant(params.trainer.validation_steps))
    return {name: float(value) for name, value in logs.items() if tf.rank(value) == 0}


def summary(content: dict[str, Any], folder: pathlib.Path) -> str:
    """Returns the figures of a result as a few lines of text."""
    name = content["primary_metric"]
    lines = [
        f"{stage.replace('_', ' '):15} {name} {metrics[name]:.4f}"
        for stage, metrics in content["metrics"].items()
        if metrics
    ]
    sizes = content["sizes"]
    lines.append(f"{'dense weights':15} {sizes['dense_bytes']:,} bytes")
    if sizes["file_bytes"]:
        ratio = sizes["dense_bytes"] / sizes["file_bytes"]
        lines.append(f"{'artifact':15} {sizes['file_bytes']:,} bytes, {ratio:.1f}x smaller")
        lines.append(f"See it by weight: kwc inspect {folder / ARTIFACT}")
    return "\n".join(lines)


def built(
    params: ExperimentConfig, test_path: str | None
) -> tuple[ExperimentConfig, tf.distribute.Strategy, base_task.Task, tf_keras.Model]:
    """Returns the parameters of the final evaluation, its strategy, its task and a new model."""
    params = _final(params, test_path)
    _check_inputs(params, trains=False)
    strategy = _strategy(params)
    # Question answering writes there what it reads of its texts.
    scratch = tempfile.TemporaryDirectory()
    with strategy.scope():
        task = task_factory.get_task(params.task, logging_dir=scratch.name)
        weakref.finalize(task, scratch.cleanup)
        model = task.build_model()
        kwc_task.complete(task, model, params)
    return params, strategy, task, model


def _strategy(params: ExperimentConfig) -> tf.distribute.Strategy:
    """The strategy that the parameters ask for; sets their precision."""
    if params.runtime.mixed_precision_dtype:
        performance.set_mixed_precision_policy(params.runtime.mixed_precision_dtype)
    return distribute_utils.get_distribution_strategy(
        distribution_strategy=params.runtime.distribution_strategy,
        all_reduce_alg=params.runtime.all_reduce_alg,
        num_gpus=params.runtime.num_gpus,
        tpu_address=params.runtime.tpu,
    )


def _check_inputs(params: ExperimentConfig, trains: bool) -> None:
    """Looks for every input file before anything is built."""
    reads = {"validation_data": params.task.validation_data}
    if trains:
        reads["train_data"] = params.task.train_data
    for name, data in reads.items():
        patterns = getattr(data, "input_path", "")
        for pattern in patterns.split(",") if isinstance(patterns, str) else ():
            if pattern not in ("", "dummy") and not tf.io.gfile.glob(pattern.strip()):
                raise FileNotFoundError(
                    f"task.{name}.input_path={pattern} matches no file. Mend the path, or make the "
                    "data: python -m experiments.prepare_data --help"
                )


def _check_checkpoint(params: ExperimentConfig) -> None:
    checkpoint = getattr(params.task, "init_checkpoint", "")
    if tf.io.gfile.isdir(checkpoint or ""):
        checkpoint = tf.train.latest_checkpoint(checkpoint) or f"{checkpoint}/ckpt-*"
    if checkpoint and not tf.io.gfile.glob(f"{checkpoint}.index"):
        raise FileNotFoundError(f"task.init_checkpoint: there is no checkpoint {checkpoint}.")


def _final(params: ExperimentConfig, test_path: str | None) -> ExperimentConfig:
    """The parameters of the final evaluation: on all of the test data where there is such."""
    if test_path is None:
        return params
    return params.replace(
        task={"validation_data": {"input_path": test_path}}, trainer={"validation_steps": -1}
    )


def _validation(
    params: ExperimentConfig, folder: pathlib.Path, metric: str
) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """The best and the last value of a metric on the validation data while training, with steps."""
    history = events.scalars(folder / params.trainer.validation_summary_subdir).get(metric)
    if not history:
        return None, None
    pick = min if params.trainer.best_checkpoint_metric_comp == "lower" else max
    points = pick(history, key=lambda point: point[1]), history[-1]
    best, last = ({"step": step, "value": value} for step, value in points)
    return best, last


def primary_metric(metrics: dict[str, float], params: ExperimentConfig) -> str:
    """Returns what tables show: the task's best-checkpoint metric, an accuracy, or the first."""
    wanted = [params.trainer.best_checkpoint_eval_metric, "accuracy", "cls_accuracy"]
    return next(name for name in [*wanted, *metrics] if name in metrics)
