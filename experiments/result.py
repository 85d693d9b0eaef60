"""`result.json`: what a trial measured, and where it came from."""

import hashlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from kwc.files import write_atomically
from kwc.report import Report

SCHEMA = 1
FILENAME = "result.json"
_PACKAGES = ("kwc", "tensorflow", "tf-keras", "tf-models-official", "numpy", "constriction")


def sizes(report: Report) -> dict[str, Any]:
    """Returns the lengths, in bytes, of the dense weights and of the written artifact."""
    written = report.sizes
    return {
        "weights": sum(row.size for row in report),
        "dense_bytes": report.dense_bytes,
        "file_bytes": written.file_bytes if written else None,
        "payload_bytes": written.payload_bytes if written else None,
        "bits_estimated": report.bits_estimated,
    }


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
        "data_checksum": data_checksum,
        "initial_checkpoint_sha256": _checkpoint_sha256(initial) if initial else None,
    }


def write(folder: pathlib.Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Writes `result.json`, whole or not at all: its presence says that the trial is done.

    Returns:
        What was written: the result and the schema's version.
    """
    content = {"schema": SCHEMA} | dict(result)
    write_atomically(folder / FILENAME, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


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
