"""What decides a trial's result beside its config: versions, the data, the defaults of code."""

import functools
import importlib.metadata
import json
import pathlib
from typing import Any

from launch import layout
from launch.defaults import Defaults
from launch.errors import LaunchError
from launch.gin_merge import MergedConfig

# Packages whose version stands for their defaults; those of all others are read from source.
_VERSIONED = {"official": "tf-models-official"}
_EXPERIMENTS = "experiments.registry_imports"
_EXPERIMENT = "experiments.trial.Experiment"


class Identity:
    """Reads the values that join a config's text in the hash that names a trial.

    Attributes:
        unprepared: Folders of data sets that some config asks for and that are not there yet. Their
            checksum is unknown, so the ids of those trials change once the data is prepared.
    """

    def __init__(self) -> None:
        self.unprepared: set[pathlib.Path] = set()
        self._source = Defaults(_VERSIONED)
        self._version = functools.cache(_version)
        self._checksum = functools.cache(_data_checksum)
        self._defaults = functools.cache(self._read_defaults)

    def __call__(self, config: MergedConfig) -> dict[str, Any]:
        """Returns the extra values of one trial.

        Returns:
            The versions of kwc and of Model Garden, the checksum of the data set if the config
            names one (None if it is not prepared), and the defaults that the config falls back on.

        Raises:
            LaunchError: If kwc or Model Garden is not installed, or the data's manifest or a module
                cannot be read.
        """
        identity = {name: self._version(name) for name in ("kwc", *_VERSIONED.values())}
        dataset = config.get(f"{_EXPERIMENT}.data")
        if isinstance(dataset, str):
            folder = pathlib.Path(config.get(f"{_EXPERIMENT}.data_dir", "data")) / dataset
            identity["data_checksum"] = self._checksum(folder)
            if identity["data_checksum"] is None:
                self.unprepared.add(folder)
        experiment = str(config.get(f"{_EXPERIMENT}.name"))
        names = config.configurables, config.bound, config.modules
        return identity | {"defaults": self._defaults(experiment, *names)}

    def mend(self) -> str:
        """Returns the sentence that says which data to prepare, and how."""
        commands = "".join(
            f"\n  python -m experiments.prepare_data --dataset={folder.name}"
            f" --data_dir={folder.parent}"
            for folder in sorted(self.unprepared)
        )
        return f"data is not prepared; run{commands}"

    def _read_defaults(
        self,
        experiment: str,
        configurables: frozenset[str],
        bound: frozenset[tuple[str, str]],
        modules: frozenset[str],
    ) -> dict[str, str]:
        defaults = self._source.of(configurables, bound)
        modules |= self._source.imported_by(_EXPERIMENTS)
        return defaults | self._source.of_experiment(experiment, modules)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise LaunchError(
            f"{package} is not installed; run `pip install -e .` in the folder of kwc"
        ) from error


def _data_checksum(folder: pathlib.Path) -> str | None:
    manifest = folder / layout.MANIFEST
    if not manifest.is_file():
        return None
    try:
        return json.loads(manifest.read_text(encoding="utf-8"))["checksum"]
    except (ValueError, KeyError, TypeError) as error:
        raise LaunchError(
            f"{manifest} is not a manifest; "
            f"run `python -m experiments.prepare_data --dataset={folder.name} --force`"
        ) from error
