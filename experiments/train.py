"""Model Garden's training driver, with the artifact at the end.

Takes the flags of `python -m official.vision.train`. Every training mode goes on to write
`model.kwc`, reads it into a new model and evaluates that; `result.json` holds the figures.

    python -m experiments.train --experiment=lenet5_mnist --mode=train_and_eval \
      --model_dir=runs/lenet5 --gin_file=gin_configs/specs/quantization.gin --gin_params="RATE=4" \
      --params_override="task.train_data.input_path=data/mnist_5k/train.tfrecord,..."

Two modes are added: `compress` compresses the initial weights without a training step, and `export`
turns the `model.kwc` in --model_dir into a SavedModel beside it.
"""

import pathlib

import gin
import tensorflow as tf
import tf_keras
from absl import app, flags, logging
from official.common import flags as tfm_flags
from official.core import task_factory, train_utils

import kwc
from experiments import registry_imports, runner  # noqa: F401  (registers the experiments)
from kwc.compressor import CompressionError

FLAGS = flags.FLAGS

EXPORT = "export"
_UNSUPPORTED = ("continuous_train_and_eval", "train_and_validate")


def main(argv: list[str]) -> None:
    """Runs the mode that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments {argv[1:]}; options start with --.")
    folder = pathlib.Path(FLAGS.model_dir)
    gin.parse_config_files_and_bindings(FLAGS.gin_file, FLAGS.gin_params)
    params = train_utils.parse_configuration(FLAGS, lock_return=False)
    if FLAGS.mode == runner.COMPRESS:
        params.trainer.train_steps = 0
    params.lock()
    if FLAGS.mode == EXPORT:
        print(export(params, folder))
        return
    if FLAGS.mode in _UNSUPPORTED:
        raise app.UsageError(f"--mode={FLAGS.mode} has a loop of its own; use train_and_eval.")
    tf_keras.utils.set_random_seed(FLAGS.seed)
    content = runner.run(params, FLAGS.mode, folder, seed=FLAGS.seed)
    train_utils.save_gin_config(FLAGS.mode, str(folder))
    print(runner.summary(content, folder))


def export(params, folder: pathlib.Path) -> pathlib.Path:
    """Decodes the folder's artifact and writes it as a SavedModel.

    Returns:
        The SavedModel's folder.

    Raises:
        FileNotFoundError: there is no artifact in the folder.
        CompressionError: the SavedModel does not compute what the decoded model computes.
    """
    task = task_factory.get_task(params.task, logging_dir=str(folder))
    model = task.build_model()
    kwc.load(folder / runner.ARTIFACT, into=model)
    path = folder / "saved_model"
    model.save(path)
    inputs = tf.nest.map_structure(
        lambda spec: tf.zeros([1, *spec.shape[1:]], spec.dtype), model.input
    )
    outputs = [m(inputs, training=False) for m in (model, tf_keras.models.load_model(path))]
    for ours, theirs in zip(*map(tf.nest.flatten, outputs), strict=True):
        if not tf.reduce_all(tf.abs(ours - theirs) <= 1e-5):
            raise CompressionError(f"{path} does not compute what the artifact computes.")
    return path


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
