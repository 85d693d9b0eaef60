"""What a user names to be compared: an artifact, a trial's folder, or a sweep."""

import pathlib
from collections.abc import Callable

from launch import grid, layout, results
from launch.errors import LaunchError
from launch.gin_merge import find_file

_TABLES = (".csv", ".jsonl", ".parquet")


def find(name: str, locate: Callable[[str], pathlib.Path]) -> tuple[pathlib.Path, bool]:
    """Finds what a name stands for.

    Args:
        name: A `.kwc` file, a trial's folder, a sweep's folder, file or table.
        locate: Gives the folder of a sweep by its name.

    Returns:
        The path of an artifact, or of a sweep's folder or table; and whether it is a sweep.

    Raises:
        LaunchError: If it is neither.
    """
    path = pathlib.Path(name)
    if path.suffix == ".gin":
        sweep, _ = grid.load(find_file(name))
        path = locate(sweep.name)
        if not path.is_dir():
            raise LaunchError(f"{path} is not there yet: `kwc sweep run {name}` makes it")
        return path, True
    if not path.exists():
        raise LaunchError(f"{name} is not there")
    if path.is_file():
        return path, path.suffix in _TABLES
    if (path / layout.TRIAL_TABLE).exists():
        return path, True
    if (path / layout.RESULT).exists():
        file = results.read(path / layout.RESULT).get("artifact")
        if not file:
            raise LaunchError(f"{name} is a dense trial: it has no artifact to compare")
        return path / file, False
    raise LaunchError(
        f"{name} is no finished trial and no sweep: it has neither {layout.RESULT} nor "
        f"{layout.TRIAL_TABLE}"
    )
