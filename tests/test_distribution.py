"""Model Garden's strategies and compilers, by config alone, through our driver."""

import json

import model_garden
import numpy as np
import processes
import pytest
from parameter_server import free_ports

from experiments import events, runner
from kwc.model import ASYNCHRONOUS

STEPS = 6
SPECS = ["quantization", "pruning", "clustering", "low_rank"]
specs = pytest.mark.parametrize(
    "spec", [SPECS[0], *(pytest.param(spec, marks=pytest.mark.slow) for spec in SPECS[1:])]
)


def trainer():
    """Plain gradient descent: Adam would blow up the rounding of gradients that are almost zero."""
    fields = model_garden.trainer(STEPS, steps_per_loop=1, summary_interval=1)
    fields["optimizer_config"]["optimizer"] = {"type": "sgd"}
    return fields


def resnet(images):
    """A ResNet whose statistics are those of the global batch."""
    task = model_garden.resnet(images)
    task["model"]["norm_activation"]["use_sync_bn"] = True
    return "resnet_imagenet", task


def arguments(experiment, task, spec, folder, **runtime):
    folder.mkdir()
    override = json.dumps({"task": task, "trainer": trainer(), "runtime": runtime})
    flags = model_garden.flags(
        experiment, "train", folder, task, trainer(), spec, params_override=override
    )
    return "experiments.train", flags, folder / "log.txt"


def losses(folder):
    steps, values = zip(*events.scalars(folder / "train")["training_loss"], strict=True)
    assert steps == tuple(range(1, STEPS + 1))
    assert len(set(values)) == STEPS
    return values


def log(folder):
    return (folder / "log.txt").read_text()


def artifact(folder):
    return (folder / runner.ARTIFACT).read_bytes()


@specs
def test_two_replicas_have_the_losses_of_one(spec, images, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert processes.run(*arguments(*resnet(images), spec, one)) == 0, log(one)
    # The experiment compiles for GPUs, in which Model Garden cannot merge virtual CPUs.
    runtime = {"distribution_strategy": "mirrored", "num_gpus": 2, "enable_xla": False}
    given = arguments(*resnet(images), spec, two, **runtime)
    assert processes.run(*given, replicas=2) == 0, log(two)
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(images, tmp_path):
    experiment, task = resnet(images)
    # Each reads every other example; together they read those of one, if nothing shuffles.
    task["train_data"] |= {"shuffle_buffer_size": 1}
    one = tmp_path / "one"
    assert processes.run(*arguments(experiment, task, "pruning", one)) == 0, log(one)

    folders = [tmp_path / "worker0", tmp_path / "worker1"]
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    workers = []
    for index, folder in enumerate(folders):
        given = arguments(
            experiment, task, "pruning", folder, distribution_strategy="multi_worker_mirrored"
        )
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {"TF_CONFIG": json.dumps(cluster)}
        workers.append(processes.start(*given, environment=environment))
    for worker, folder in zip(workers, folders, strict=True):
        worker.join()
        assert worker.exitcode == 0, log(folder)
    assert "num_workers = 2" in log(folders[0])
    for folder in folders:
        np.testing.assert_allclose(losses(folder), losses(one), rtol=1e-4)
    assert artifact(folders[0]) == artifact(folders[1])


def test_parameter_server_is_refused_by_our_driver(images, tmp_path):
    given = arguments(
        *resnet(images), "pruning", tmp_path / "run", distribution_strategy="parameter_server"
    )
    assert processes.run(*given) == 1
    assert log(tmp_path / "run").strip().endswith(ASYNCHRONOUS)


@pytest.mark.slow
def test_parameter_server_is_refused_by_model_gardens_driver(images, tmp_path):
    _, flags, _ = arguments(
        *resnet(images), "pruning", tmp_path / "run", distribution_strategy="parameter_server"
    )
    code, output = model_garden.run("tests.parameter_server", flags)
    assert code == 1
    assert f"CompressionError: {ASYNCHRONOUS}" in output
    assert not list((tmp_path / "run").glob("ckpt-*"))
