"""Reads an artifact for a command: what is wrong with it becomes one line."""

import contextlib
import os
from collections.abc import Iterator

from kwc import artifact
from launch.errors import LaunchError


def read(path: str | os.PathLike, max_bytes: int = artifact.MAX_BYTES) -> artifact.Artifact:
    """Reads and checks an artifact; its weights are decoded when they are asked for.

    Args:
        path: A `.kwc` file.
        max_bytes: The most bytes that it may decode to.

    Raises:
        LaunchError: If it cannot be read, or is no sound artifact.
    """
    with errors_told(path):
        return artifact.read(path, max_bytes=max_bytes)


@contextlib.contextmanager
def errors_told(path: str | os.PathLike) -> Iterator[None]:
    """Turns the errors of reading or decoding an artifact into a LaunchError."""
    try:
        yield
    except artifact.ArtifactError as error:
        raise LaunchError(str(error)) from error
    except OSError as error:
        raise LaunchError(f"{path} cannot be read: {error.strerror}") from error
