"""What decides a trial's result beside its config: the version of kwc and the data."""

import importlib.metadata
import json
import pathlib

from launch import layout
from launch.errors import LaunchError
from launch.gin_merge import MergedConfig


class Identity:
    """Reads the values that join a config's text in the hash that names a trial.

    Attributes:
        unprepared: Folders of data sets that some config asks for and that are not there yet. Their
            checksum is unknown, so the ids of those trials change once the data is prepared.
    """

    def __init__(self) -> None:
        self.unprepared: set[pathlib.Path] = set()

    def __call__(self, config: MergedConfig) -> dict[str, str | None]:
        """Returns the extra values of one trial: the version of kwc and its data's checksum."""
        dataset = config.get("experiments.trial.Experiment.data")
        if not isinstance(dataset, str):
            return {"kwc": _kwc_version()}
        data_dir = config.get("experiments.trial.Experiment.data_dir", "data")
        folder = pathlib.Path(data_dir) / dataset
        if not (folder / layout.MANIFEST).is_file():
            self.unprepared.add(folder)
        return {"kwc": _kwc_version(), "data_checksum": _data_checksum(folder)}

    def mend(self) -> str:
        """Returns the sentence that says which data to prepare, and how."""
        commands = "".join(
            f"\n  python -m experiments.prepare_data --dataset={folder.name}"
            f" --data_dir={folder.parent}"
            for folder in sorted(self.unprepared)
        )
        return f"data is not prepared; run{commands}"


def _kwc_version() -> str:
    try:
        return importlib.metadata.version("kwc")
    except importlib.metadata.PackageNotFoundError as error:
        raise LaunchError("kwc is not installed; run `pip install -e .` in its folder") from error


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
