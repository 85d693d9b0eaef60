"""A run that is killed and resumed goes on from its checkpoint, and ends as if it never was."""

import json
import random
import signal
import time

import gin
import model_garden
import numpy as np
import processes
import pytest
import tensorflow as tf
import tf_keras
from official.core import task_factory, train_utils

from experiments import runner, trial

STEPS = 24
INTERVAL = 6
EXPERIMENT = "lenet_300_100_mnist"
SPECS = {
    "pruning": ["RATE=0.5", "algorithms.Pruning.interval=4"],
    "clustering": ["RATE=8"],
    "quantization": ["RATE=4"],
    "low_rank": ["RATE=0.5"],
    "prune_cluster": ["RATE=4"],
}
STOCK = "official.vision.train"
STOCK_STEPS = 80
specs = pytest.mark.parametrize(
    "spec", ["pruning", *(pytest.param(s, marks=pytest.mark.slow) for s in list(SPECS)[1:])]
)


def overrides(images):
    """Three epochs of the shuffled digits, with a checkpoint every few steps."""
    task = model_garden.images_task(images)
    task["train_data"] |= {"global_batch_size": 128}
    trainer = model_garden.trainer(
        STEPS, steps_per_loop=1, summary_interval=1, checkpoint_interval=INTERVAL
    )
    return task, trainer


def train(spec, images, folder, replay=True, runtime=None, **options):
    """Runs our driver; returns its exit code."""
    folder.mkdir(exist_ok=True)
    task, trainer = overrides(images)
    override = json.dumps({"task": task, "trainer": trainer, "runtime": runtime or {}})
    bindings = [*SPECS[spec], f"task.CompressionTrainer.replay_input={replay}"]
    arguments = [
        *model_garden.flags(EXPERIMENT, "train", folder, task, trainer, params_override=override),
        f"--gin_file={model_garden.SPECS / spec}.gin",
        *(f"--gin_params={binding}" for binding in bindings),
    ]
    return processes.run("experiments.train", arguments, folder / "log.txt", **options)


def killed_and_whole(spec, images, folder, **options):
    """Kills a run at some step, and runs another to its end; returns both folders."""
    killed, whole = folder / "killed", folder / "whole"
    step = random.Random(spec).randrange(INTERVAL + 1, STEPS)
    code = train(spec, images, killed, killed_at=step, **options)
    assert code == -signal.SIGKILL, (killed / "log.txt").read_text()
    assert step - INTERVAL <= saved(killed) < step
    assert not (killed / "result.json").exists()
    assert train(spec, images, whole, **options) == 0, (whole / "log.txt").read_text()
    return killed, whole


def saved(folder):
    """The step of the last checkpoint."""
    return int(tf.train.latest_checkpoint(folder).rpartition("-")[2])


def values(checkpoint):
    """All that a checkpoint holds, by name."""
    reader = tf.train.load_checkpoint(str(checkpoint))
    keys = reader.get_variable_to_shape_map().keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {key: reader.get_tensor(key) for key in keys}


def assert_same(actual, desired):
    assert actual.keys() == desired.keys()
    for name, value in desired.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def artifact(folder):
    return (folder / runner.ARTIFACT).read_bytes()


def compressed(values):
    """What is there before the first step: not the optimizer's variables, nor the counter."""
    return {key: x for key, x in values.items() if "/_kwc_" in key and ".OPTIMIZER_SLOT" not in key}


def restored(spec, images, checkpoint):
    """The checkpoint that a trainer writes which began with other weights and was restored."""
    gin.clear_config()
    gin.parse_config_files_and_bindings([str(model_garden.SPECS / f"{spec}.gin")], SPECS[spec])
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(1)
    task, trainer = overrides(images)
    params = trial.Experiment(EXPERIMENT, task=task, trainer=trainer).params()
    trainer = train_utils.create_trainer(
        params, task_factory.get_task(params.task), train=False, evaluate=True
    )
    gin.clear_config()
    trainer.checkpoint.restore(str(checkpoint)).expect_partial()
    return trainer.checkpoint.write(f"{checkpoint}-again")


@specs
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(spec, images, tmp_path):
    killed, whole = killed_and_whole(spec, images, tmp_path)
    step = saved(killed)
    last = killed / f"ckpt-{step}"
    assert_same(values(last), values(whole / last.name))
    state = compressed(values(last))
    assert state
    assert_same(compressed(values(restored(spec, images, last))), state)

    assert train(spec, images, killed) == 0, (killed / "log.txt").read_text()
    assert f"reading the {step} batches" in (killed / "log.txt").read_text()
    assert_same(values(killed / f"ckpt-{STEPS}"), values(whole / f"ckpt-{STEPS}"))
    assert artifact(killed) == artifact(whole)


@pytest.mark.slow
def test_without_replay_the_first_batches_come_again(images, tmp_path):
    """As in Model Garden: the run loses nothing, but it ends elsewhere."""
    killed, whole = killed_and_whole("quantization", images, tmp_path)
    assert train("quantization", images, killed, replay=False) == 0
    assert saved(killed) == STEPS
    assert artifact(killed) != artifact(whole)


@pytest.mark.slow
def test_replicas_read_their_batches_again(images, tmp_path):
    given = {"runtime": {"distribution_strategy": "mirrored", "num_gpus": 2}, "replicas": 2}
    killed, whole = killed_and_whole("quantization", images, tmp_path, **given)
    assert train("quantization", images, killed, **given) == 0
    assert "Using MirroredStrategy with devices" in (killed / "log.txt").read_text()
    assert artifact(killed) == artifact(whole)


def stock_arguments(images, folder, spec=None, bindings=()):
    """The command line of Model Garden's own driver, for a narrow ResNet on shuffled digits."""
    task = model_garden.resnet(images)
    task["train_data"] |= {"seed": 1}
    trainer = model_garden.trainer(
        STOCK_STEPS, steps_per_loop=5, summary_interval=5, checkpoint_interval=10
    )
    folder.mkdir(exist_ok=True)
    flags = model_garden.flags("resnet_imagenet", "train", folder, task, trainer, spec)
    return [*flags, *(f"--gin_params=task.CompressionTrainer.{binding}" for binding in bindings)]


@pytest.mark.slow
def test_model_gardens_own_driver_killed_at_any_moment(images, tmp_path):
    """It has no seed for the weights: both runs start from those of a dense one."""
    dense, killed, whole = (tmp_path / name for name in ("dense", "killed", "whole"))
    assert processes.run(STOCK, stock_arguments(images, dense), dense / "log.txt") == 0
    bindings = [f"dense={str(dense)!r}", "replay_input=True"]

    arguments = stock_arguments(images, killed, "pruning", bindings)
    process = processes.start(STOCK, arguments, killed / "log.txt")
    while process.is_alive() and not (killed / "checkpoint").exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, (killed / "log.txt").read_text()
    step = saved(killed)
    assert 0 < step < STOCK_STEPS
    assert processes.run(STOCK, arguments, killed / "log.txt") == 0
    assert f"reading the {step} batches" in (killed / "log.txt").read_text()

    given = stock_arguments(images, whole, "pruning", bindings)
    assert processes.run(STOCK, given, whole / "log.txt") == 0
    last = f"ckpt-{STOCK_STEPS}"
    assert_same(values(killed / last), values(whole / last))
