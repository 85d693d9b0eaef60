"""Reads an artifact for a command: what is wrong with it becomes one line."""

import contextlib
import importlib
import os
import pathlib
import re
import sys
from collections.abc import Iterator

from kwc import artifact
from kwc.algorithms import UnknownAlgorithmError
from kwc.compressor import CompressionError
from launch.errors import LaunchError
from launch.layout import CONFIG


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


def config_of(file: pathlib.Path, config: pathlib.Path | None) -> pathlib.Path:
    """Returns the gin file of an artifact's trial: the given one, or the one beside it.

    What is wrong with the artifact is found first, before TensorFlow is imported. Where no one has
    registered its algorithm, the modules that the gin file imports may do so.

    Raises:
        LaunchError: If there is none, or the artifact is not sound.
    """
    config = config or file.with_name(CONFIG)
    try:
        # The model will bound what it decodes to.
        artifact.read(file, max_bytes=sys.maxsize)
    except (artifact.ArtifactError, OSError) as error:
        if isinstance(error.__cause__, UnknownAlgorithmError) and config.is_file():
            _import_modules(config)
        read(file, max_bytes=sys.maxsize)
    if not config.is_file():
        raise LaunchError(
            f"There is no {config}, which would say what {file.name} is an artifact of. Pass the "
            "gin file of its trial as --config."
        )
    return config


def _import_modules(config: pathlib.Path) -> None:
    """Imports what a gin file imports, as far as that can be: building the trial tells the rest."""
    lines = re.findall(r"^(?:from (\S+) )?import (\S+)", config.read_text(), re.MULTILINE)
    for package, name in lines:
        if package != "__gin__":
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{package}.{name}" if package else name)


@contextlib.contextmanager
def config_errors_told(config: pathlib.Path, use: str) -> Iterator[None]:
    """Turns the errors of building an artifact's trial into a LaunchError.

    Args:
        config: The gin file of the trial.
        use: What the trial cannot be, such as `evaluated`.
    """
    try:
        yield
    except artifact.ArtifactError as error:
        raise LaunchError(f"{error} ({config} describes the model.)") from error
    except (CompressionError, FileNotFoundError) as error:
        raise LaunchError(str(error)) from error
    # gin and Model Garden raise errors of every kind for what a config says.
    except Exception as error:
        raise LaunchError(
            f"{config} is not the config of a trial that can be {use}: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


@contextlib.contextmanager
def export_errors_told(config: pathlib.Path, out: pathlib.Path) -> Iterator[None]:
    """Turns the errors of an export into a LaunchError.

    Args:
        config: The gin file of the artifact's trial.
        out: What is written.
    """
    try:
        yield
    except artifact.ArtifactError as error:
        raise LaunchError(f"{error} ({config} describes the model.)") from error
    except CompressionError as error:
        raise LaunchError(str(error)) from error
    except OSError as error:
        raise LaunchError(f"{out} cannot be written: {error}") from error


@contextlib.contextmanager
def errors_told(path: str | os.PathLike) -> Iterator[None]:
    """Turns the errors of reading or decoding an artifact into a LaunchError."""
    try:
        yield
    except artifact.ArtifactError as error:
        raise LaunchError(str(error)) from error
    except OSError as error:
        raise LaunchError(f"{path} cannot be read: {error.strerror}") from error
