"""`result.json`: what a trial measured, and where it came from."""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import pathlib
import platform
import subprocess
import sys
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
import tf_keras

from experiments import threads
from kwc import paths
from kwc.files import write_atomically
from kwc.report import Report

SCHEMA = 1
FILENAME = "result.json"
_PACKAGES = (
    "kwc",
    "tensorflow",
    "tf-keras",
    "tf-models-official",
    "numpy",
    "gin-config",
    "ml-dtypes",
    "constriction",
    "zstandard",
)
_DEFLATE_LEVEL = 9


def sizes(
    report: Report, artifact: pathlib.Path, nonzeros: Mapping[str, int], macs: int | None
) -> dict[str, int | float | None]:
    """Returns the lengths, in bytes, of the dense weights and of the written artifact.

    Args:
        report: of every weight.
        artifact: the written file; not read if the report says that none was written.
        nonzeros: the number of elements that are not zero, by weight.
        macs: multiply-adds of one example.
    """
    written = report.sizes
    return {
        "weights": sum(row.size for row in report),
        "nonzeros": sum(nonzeros.values()),
        "macs": macs,
        "dense_bytes": report.dense_bytes,
        "file_bytes": written.file_bytes if written else None,
        "payload_bytes": written.payload_bytes if written else None,
        "zipped_bytes": _deflated_bytes([artifact.read_bytes()]) if written else None,
        "bits_estimated": report.bits_estimated,
    }


def dense_zipped_bytes(model: tf_keras.Model) -> int:
    """Returns the length of a plain model's weights, one after another, deflated."""
    return _deflated_bytes(weight.variable.numpy() for weight in paths.weights(model))


def nonzeros(model: tf_keras.Model) -> dict[str, int]:
    """Counts the elements of each weight of a plain model that are not zero."""
    return {w.path: int(np.count_nonzero(w.variable.numpy())) for w in paths.weights(model)}


def _deflated_bytes(parts: Iterable[bytes | np.ndarray]) -> int:
    deflate = zlib.compressobj(_DEFLATE_LEVEL)
    return sum(len(deflate.compress(part)) for part in parts) + len(deflate.flush())


def provenance(data_checksum: str | None, initial: str | None) -> dict[str, Any]:
    """Returns what somebody needs to reproduce a result.

    Args:
        data_checksum: checksum of the prepared data set, None if the data is the user's own.
        initial: the checkpoint that the trial started from, or the folder of it; empty or None if
            from random weights.
    """
    return {
        "command": " ".join(sys.argv),
        "git_sha": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": f"{platform.node()} {platform.machine()}",
        "hardware": _hardware(),
        "data_checksum": data_checksum,
        "initial_checkpoint_sha256": _checkpoint_sha256(initial) if initial else None,
    }


def write(folder: pathlib.Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Writes `result.json`, whole or not at all: its presence says that the trial is done.

    Returns:
        What was written: the result and the schema's version.

    Raises:
        FloatingPointError: a metric is not finite; nothing is written.
    """
    for stage, metrics in result["metrics"].items():
        for name, value in (metrics or {}).items():
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"{stage} {name} is {value}: training diverged; lower the learning rate, or "
                    "compress less"
                )
    content = {"schema": SCHEMA} | dict(result)
    write_atomically(folder / FILENAME, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def _hardware() -> dict[str, Any]:
    """What the trial ran on: processor, logical cores, threads, memory in 10^9 bytes, GPUs."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return {
        "cpu": _processor(),
        "cores": psutil.cpu_count(),
        "threads": threads.count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": [detail.get("device_name", "unknown") for detail in details],
    }


def _processor() -> str:
    """The processor's name; Python itself knows none on Linux."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """Output of a git command on the source that is running; None outside a checkout."""
    here = pathlib.Path(__file__).parent
    done = subprocess.run(
        ["git", "-C", here, *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _checkpoint_sha256(initial: str) -> str:
    prefix = tf.train.latest_checkpoint(initial) if tf.io.gfile.isdir(initial) else initial
    digest = hashlib.sha256()
    for path in sorted(tf.io.gfile.glob(f"{prefix}.data-*")):
        with tf.io.gfile.GFile(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
