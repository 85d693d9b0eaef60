"""Sets up a process for a job before it imports TensorFlow."""

import os
import pathlib
import signal
import socket

from experiments import threads
from launch.executors import ExecutorError, Resources


def prepare(resources: Resources, directory: pathlib.Path) -> None:
    """Enters the working directory and tells TensorFlow what it may use.

    Args:
        resources: What the job may use.
        directory: The launcher's working directory, which relative paths are meant from.

    Raises:
        ExecutorError: If the working directory cannot be seen from this machine.
    """
    if not directory.is_dir():
        raise ExecutorError(
            f"{directory} is not there on {socket.gethostname()}: the working directory and the "
            "data must have the same path on every machine of the cluster"
        )
    # Ray's handler would raise SystemExit in the job, as if the job had failed by itself.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(directory)
    threads.limit(max(1, int(resources.cpus)))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
