"""Drivers in processes of their own, forked from one that has imported TensorFlow already."""

import multiprocessing
import os
import pathlib
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["experiments.runner", "experiments.registry_imports"])


def start(module: str, arguments: Sequence[str], log: pathlib.Path, **options):
    """Starts `python -m module`; returns the process.

    Args:
        module: a driver.
        arguments: its command line.
        log: the file that its output is appended to.
        **options: `killed_at` is the training step at whose end the process gets SIGKILL, before it
            can save anything; `replicas` is the number of virtual devices that stand for as many
            GPUs; `environment` holds more environment variables.
    """
    process = CONTEXT.Process(
        target=_become, args=(module, arguments, log), kwargs=options, daemon=True
    )
    process.start()
    return process


def run(module: str, arguments: Sequence[str], log: pathlib.Path, **options) -> int:
    """Runs `python -m module` to its end; returns its exit code, negative if a signal ended it."""
    process = start(module, arguments, log, **options)
    process.join()
    return process.exitcode


def _become(
    module: str,
    arguments: Sequence[str],
    log: pathlib.Path,
    killed_at: int | None = None,
    replicas: int = 1,
    environment: Mapping[str, str] | None = None,
) -> None:
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3"} | (environment or {})
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    if killed_at is not None:
        _kill_at(killed_at)
    if replicas > 1:
        _replicate(replicas)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _kill_at(step: int) -> None:
    from kwc.task import CompressionTrainer

    end = CompressionTrainer.train_loop_end

    def train_loop_end(self):
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return end(self)

    CompressionTrainer.train_loop_end = train_loop_end


def _replicate(replicas: int) -> None:
    """Lets virtual CPUs stand for the GPUs that a config asks for."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(cpu, devices)

    class Mirrored(tf.distribute.MirroredStrategy):
        def __init__(self, devices, **kwargs):
            super().__init__([name.replace("GPU", "CPU") for name in devices], **kwargs)

    tf.distribute.MirroredStrategy = Mirrored
