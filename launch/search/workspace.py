"""The sweep that a search writes, `runs/<sweep>-search`, beside the one it searches."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from launch import grid, layout
from launch.errors import LaunchError
from launch.gin_merge import Source, find_file, merge
from launch.search.curves import Grids
from launch.trials import State, Trial, is_file, read_status, read_statuses

_HEADER = "from __gin__ import dynamic_registration\nfrom launch import grid\n"


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Where a search keeps its points.

    Attributes:
        name: The name of its sweep.
        folder: `runs/<name>/`.
        source: The folder of the sweep that is searched, whose finished trials are used.
    """

    name: str
    folder: pathlib.Path
    source: pathlib.Path

    @classmethod
    def of(cls, sweep: grid.Sweep, runs: pathlib.Path) -> "Workspace":
        """Returns the workspace of searches of a sweep."""
        name = f"{sweep.name}-search"
        return cls(name, runs / name, runs / sweep.name)

    def earlier(self) -> Grids:
        """Returns the points of earlier searches."""
        path = self.folder / layout.SWEEP_CONFIG
        return list(grid.load(path)[0].grids) if path.exists() else []

    def finished(self, trials: Iterable[Trial]) -> list[Trial]:
        """Returns those trials that the searched sweep has finished."""
        trials = list(trials)
        statuses = read_statuses(self.source, trials)
        return [trial for trial in trials if statuses[trial.id].state is State.DONE]

    def adopt(self, trials: Iterable[Trial]) -> None:
        """Links the trials that the searched sweep has finished, so that none runs twice.

        A link whose trial is gone is removed.
        """
        for trial in trials:
            here = self.folder / trial.id
            if here.is_symlink() and not here.exists():
                here.unlink()
            if not here.exists() and read_status(self.source, trial).state is State.DONE:
                self.folder.mkdir(parents=True, exist_ok=True)
                target = os.path.relpath(self.source / trial.id, self.folder)
                here.symlink_to(target, target_is_directory=True)


def text(sweep: grid.Sweep, folder: pathlib.Path) -> str:
    """Writes a sweep as the canonical text of a sweep file that can stand in any folder.

    Args:
        sweep: The sweep.
        folder: Where the names of its gin files are looked for first.
    """

    def anywhere(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: anywhere(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [anywhere(item) for item in value]
        return _name(value, folder) if is_file(value) else value

    fields = {field.name: getattr(sweep, field.name) for field in dataclasses.fields(sweep)}
    bindings = [f"grid.Sweep.{name} = {anywhere(value)!r}" for name, value in fields.items()]
    return merge([Source("the search", _HEADER + "\n".join(bindings))]).text()


def _name(name: str, folder: pathlib.Path) -> str:
    """Returns a gin file's name if it means the same without `folder`, else its whole path."""
    path = find_file(name, folder)
    try:
        return name if find_file(name) == path else str(path)
    except LaunchError:
        return str(path)
