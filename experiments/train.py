"""Model Garden's training driver, with the artifact at the end.

Takes the flags of `python -m official.vision.train`. Every training mode goes on to write
`model.kwc`, reads it into a new model and evaluates that; `result.json` holds the figures.

    python -m experiments.train --experiment=lenet5_mnist --mode=train_and_eval \
      --model_dir=runs/lenet5 --gin_file=gin_configs/specs/quantization.gin --gin_params="RATE=4" \
      --params_override="task.train_data.input_path=data/mnist_5k/train.tfrecord,..."

`--gin_params="task.CompressionTrainer.preset='fast'"` writes an artifact that is read and written
several times faster than the smallest one, which is the default.

Two modes are added: `compress` compresses the initial weights without a training step, and `export`
turns the `model.kwc` in --model_dir into a SavedModel beside it.
"""

import os
import pathlib
import re
import shutil
import sys
import tempfile

import gin
import numpy as np
import tensorflow as tf
import tf_keras
from absl import app, flags, logging
from official.common import flags as tfm_flags
from official.core import task_factory, train_utils
from official.core.config_definitions import ExperimentConfig

import kwc
from experiments import registry_imports, runner  # noqa: F401  (registers the experiments)
from kwc.compressor import CompressionError
from kwc.task import CompressionTrainer

FLAGS = flags.FLAGS

EXPORT = "export"
SAVED_MODEL = "saved_model"
_UNSUPPORTED = ("continuous_train_and_eval", "train_and_validate")


def main(argv: list[str]) -> None:
    """Runs the mode that the flags ask for; a mistake in them ends in one line, not a traceback."""
    if len(argv) > 1:
        sys.exit(f"Unknown arguments {argv[1:]}; options start with --.")
    if FLAGS.mode in _UNSUPPORTED:
        sys.exit(f"--mode={FLAGS.mode} has a loop of its own; use train_and_eval.")
    folder = pathlib.Path(FLAGS.model_dir)
    try:
        params = configure()
    # gin, YAML and Model Garden raise errors of every kind for what a user wrote.
    except Exception as error:
        sys.exit(f"The experiment is not configured: {_message(error)}")
    try:
        if FLAGS.mode == EXPORT:
            print(export(params, folder))
            return
        tf_keras.utils.set_random_seed(FLAGS.seed)
        content = runner.run(params, FLAGS.mode, folder, name=FLAGS.experiment, seed=FLAGS.seed)
    except (CompressionError, FileNotFoundError) as error:
        sys.exit(f"{FLAGS.experiment} failed: {_message(error)}")
    train_utils.save_gin_config(FLAGS.mode, str(folder))
    print(runner.summary(content, folder))


def configure() -> ExperimentConfig:
    """Returns the experiment's parameters after all flags, locked; parses gin.

    Raises:
        Exception: of the kind that gin, YAML or Model Garden has for the mistake.
    """
    gin.parse_config_files_and_bindings(FLAGS.gin_file, FLAGS.gin_params)
    _check_macros(FLAGS.gin_params)
    # Builds the spec: its mistakes are found at once.
    is_compressed = gin.get_bindings(CompressionTrainer)
    if is_compressed and not gin.get_bindings(train_utils.create_trainer).get("trainer_cls"):
        raise ValueError(
            "task.CompressionTrainer has parameters, and nothing makes it the trainer: the run "
            "would be dense. Add train_utils.create_trainer.trainer_cls = @task.CompressionTrainer."
        )
    params = train_utils.parse_configuration(FLAGS, lock_return=False)
    if FLAGS.mode == runner.COMPRESS:
        params.trainer.train_steps = 0
    params.lock()
    return params


def _check_macros(bindings: list[str] | None) -> None:
    """Refuses a macro, such as RATE, that is given and that no gin file uses: a slip of the pen."""
    used = set(re.findall(r"%(\w+)", gin.config_str()))
    for binding in bindings or ():
        name = binding.partition("=")[0].strip()
        if name.isidentifier() and name not in used:
            raise ValueError(
                f"--gin_params={binding}: nothing uses {name}. The gin files use "
                f"{', '.join(sorted(used)) or 'no macros'}."
            )


def export(params: ExperimentConfig, folder: pathlib.Path) -> pathlib.Path:
    """Decodes the folder's artifact and writes it as a SavedModel, whole or not at all.

    Returns:
        The SavedModel's folder, for `tf.saved_model.load`.

    Raises:
        FileNotFoundError: there is no artifact in the folder.
        CompressionError: the artifact is of another model, or the SavedModel does not compute what
            the decoded model computes.
    """
    artifact = folder / runner.ARTIFACT
    if not artifact.exists():
        raise FileNotFoundError(f"There is no {artifact}; run a training mode or `compress` first.")
    model = task_factory.get_task(params.task, logging_dir=str(folder)).build_model()
    kwc.load(artifact, into=model)
    path = folder / SAVED_MODEL
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{SAVED_MODEL}.") as temporary:
        written = pathlib.Path(temporary) / SAVED_MODEL
        tf.saved_model.save(model, str(written))
        inputs = tf.nest.map_structure(_example, model.input)
        outputs = [m(inputs, training=False) for m in (model, tf.saved_model.load(str(written)))]
        for ours, theirs in zip(*map(tf.nest.flatten, outputs), strict=True):
            if not np.allclose(ours, theirs, rtol=1e-5, atol=1e-5):
                raise CompressionError(f"{path} would not compute what {artifact} computes.")
        shutil.rmtree(path, ignore_errors=True)
        os.replace(written, path)
    return path


def _example(spec) -> tf.Tensor:
    """Returns two examples of ones for a model's symbolic input; free axes have 8 elements."""
    return tf.ones([2, *(axis or 8 for axis in spec.shape[1:])], spec.dtype)


def _message(error: Exception) -> str:
    """The text of an error; a KeyError quotes its own."""
    return str(error.args[0]) if type(error) is KeyError and error.args else str(error)


def define_flags() -> None:
    """Defines Model Garden's flags, two more modes, and the seed."""
    tfm_flags.define_flags()
    official = FLAGS["mode"].parser.enum_values
    flags.DEFINE_enum(
        "mode",
        None,
        [*official, runner.COMPRESS, EXPORT],
        "What to do: Model Garden's modes; `compress` compresses the initial weights without "
        "training; `export` writes model.kwc in --model_dir as a SavedModel.",
        allow_override=True,
    )
    flags.DEFINE_integer("seed", 0, "Seeds initial weights, shuffling and the algorithms.")
    flags.mark_flags_as_required(["experiment", "mode", "model_dir"])


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    define_flags()
    app.run(main)
