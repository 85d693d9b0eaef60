"""A sweep: gin files, axes and seeds, expanded into trials."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gin

from launch import executors
from launch.errors import LaunchError
from launch.gin_merge import MergedConfig, Source, merge
from launch.halving import Halving
from launch.trials import Trial, axis_label, is_file

_ID_DIGITS = 12


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a sweep file binds, as `grid.Sweep.<attribute> = ...`.

    Attributes:
        name: The sweep's folder under `runs/`.
        base: Gin files of every compression trial, merged in order.
        grids: A union of grids. Each maps an axis to its values: a value ending in `.gin` is a file
            that is merged in, any other binds the macro that is named like the axis.
        seeds: The seeds; each trial is run with each.
        baseline: Gin files of the dense baseline, which is trained once for each (arch, seed) and
            shared by the compression trials. Without them there is no baseline trial.
        resources: What one trial may use, by the names of `launch.executors.Resources`. It does
            not decide a trial's result, so it is not part of its id.
        halving: Budgets at which clear losers stop, by the names of `launch.halving.Halving`.
            Empty runs every point in full.

    Raises:
        LaunchError: If a value is missing or of the wrong kind.
    """

    name: str = ""
    base: Sequence[str] = ()
    grids: Sequence[Mapping[str, Sequence[Any]]] = ()
    seeds: Sequence[int] = (0,)
    baseline: Sequence[str] = ()
    resources: Mapping[str, float] = dataclasses.field(default_factory=dict)
    halving: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", str(self.name)):
            raise LaunchError(f"Sweep.name = {self.name!r}: give it a folder's name")
        for field, kind in [("base", str), ("grids", dict), ("seeds", int), ("baseline", str)]:
            value = getattr(self, field)
            is_list = isinstance(value, list | tuple)
            if not is_list or not all(type(item) is kind for item in value):
                raise LaunchError(
                    f"Sweep.{field} = {value!r}: write a list of {kind.__name__} values"
                )
        if not self.grids or not self.seeds:
            raise LaunchError("Sweep.grids and Sweep.seeds need at least one value each")
        for grid in self.grids:
            for axis, values in grid.items():
                if not isinstance(axis, str) or not axis.isidentifier():
                    raise LaunchError(f"Sweep.grids: axis {axis!r}: give it a macro's name")
                if not isinstance(values, list | tuple) or not values:
                    raise LaunchError(
                        f"Sweep.grids: axis {axis!r} = {values!r}: write a list of values"
                    )
        self._check_labels()
        try:
            executors.Resources(**self.resources)
        except (TypeError, ValueError) as error:
            raise LaunchError(f"Sweep.resources = {self.resources!r}: {error}") from error
        if self.halving:
            try:
                Halving(**self.halving)
            except (TypeError, ValueError) as error:
                raise LaunchError(f"Sweep.halving = {self.halving!r}: {error}") from error

    def _check_labels(self) -> None:
        """Refuses two values of an axis that a report could not tell apart."""
        seen: dict[tuple[str, str], Any] = {}
        for grid in self.grids:
            for axis, values in grid.items():
                for value in values:
                    other = seen.setdefault((axis, axis_label(value)), value)
                    if other != value:
                        raise LaunchError(
                            f"Sweep.grids: axis {axis!r}: {other!r} and {value!r} would both be "
                            f"shown as {axis_label(value)!r}; rename one"
                        )


def load(path: pathlib.Path) -> tuple[Sweep, str]:
    """Reads a sweep file.

    Gin's global configuration is cleared before and after.

    Args:
        path: The sweep file.

    Returns:
        The sweep and the canonical text of its file.

    Raises:
        LaunchError: If the file does not describe a sweep.
    """
    text = merge([Source.read(str(path))]).text()
    gin.clear_config()
    try:
        gin.parse_config(text)
        return gin.get_configurable(Sweep)(), text
    except LaunchError as error:
        raise LaunchError(f"{path}: {error}") from error
    except Exception as error:
        # Gin raises what it meets: NameError, AttributeError, TypeError, ImportError, ValueError.
        raise LaunchError(f"{path} is not a sweep: {str(error).strip()}") from error
    finally:
        gin.clear_config()


def expand(
    sweep: Sweep,
    folder: pathlib.Path,
    identity: Callable[[MergedConfig], Mapping[str, Any]],
) -> list[Trial]:
    """Expands a sweep into its trials.

    Args:
        sweep: The sweep.
        folder: The folder of the sweep file, where its gin files are looked for first.
        identity: Gives what joins a config in the trial's id: the version of kwc, the data.

    Returns:
        The trials without duplicates, each baseline before the trials that need it.

    Raises:
        LaunchError: If a file is missing or a trial's config is incomplete.
    """
    expansion = _Expansion(sweep, folder, identity)
    trials: dict[str, Trial] = {}
    for axes, seed in itertools.product(_points(sweep.grids), sweep.seeds):
        for trial in expansion.trials(axes, seed):
            trials.setdefault(trial.id, trial)
    return sorted(trials.values(), key=lambda trial: trial.kind != "baseline")


class _Expansion:
    """Makes trials, parsing each gin text and making each baseline once."""

    def __init__(self, sweep: Sweep, folder: pathlib.Path, identity: Callable) -> None:
        self._sweep = sweep
        self._folder = folder
        self._identity = identity
        self._sources: dict[str, Source] = {}
        self._baselines: dict[tuple[Any, int], Trial] = {}

    def trials(self, axes: Mapping[str, Any], seed: int) -> Iterator[Trial]:
        """Yields the baseline, if the sweep has one, and the compression trial of one point."""
        baseline = None
        if self._sweep.baseline:
            baseline = self._baseline(axes, seed)
            yield baseline
        yield self._trial("compression", self._sweep.base, axes, seed, baseline and baseline.id)

    def _baseline(self, axes: Mapping[str, Any], seed: int) -> Trial:
        arch = {axis: value for axis, value in axes.items() if axis == "arch"}
        key = repr(arch), seed
        if key not in self._baselines:
            files = self._sweep.baseline
            self._baselines[key] = self._trial("baseline", files, arch, seed, None)
        return self._baselines[key]

    def _trial(
        self,
        kind: str,
        files: Sequence[str],
        axes: Mapping[str, Any],
        seed: int,
        baseline: str | None,
    ) -> Trial:
        sources = [
            *map(self._read, files),
            *(self._read(v) if is_file(v) else self._macro(k, v) for k, v in axes.items()),
            self._own(f"seed = {seed}"),
            *([self._own(f"dense = '../{baseline}'")] if baseline else []),
        ]
        try:
            config = merge(sources)
            unused = {axis for axis in axes if not is_file(axes[axis])} - config.macros_used
            for axis in sorted(unused):
                raise LaunchError(f"axis {axis!r} has no effect: no file uses %{axis}")
        except LaunchError as error:
            raise LaunchError(f"{kind} trial {dict(axes)}: {error}") from error
        text = config.text()
        extras = dict(self._identity(config))
        hashed = text + json.dumps(extras, sort_keys=True)
        trial_id = hashlib.sha256(hashed.encode()).hexdigest()[:_ID_DIGITS]
        return Trial(trial_id, kind, dict(axes), seed, baseline, extras, text)

    def _read(self, name: str) -> Source:
        if name not in self._sources:
            self._sources[name] = Source.read(name, self._folder)
        return self._sources[name]

    def _macro(self, axis: str, value: Any) -> Source:
        return self._line(f"axis {axis!r}", f"{axis} = {value!r}")

    def _own(self, binding: str) -> Source:
        text = f"from experiments import trial\ntrial.Experiment.{binding}"
        return self._line("the sweep", text)

    def _line(self, origin: str, text: str) -> Source:
        return self._sources.setdefault(text, Source(origin, text))


def _points(grids: Sequence[Mapping[str, Sequence[Any]]]) -> Iterator[dict[str, Any]]:
    """Yields every combination of axis values, grid after grid."""
    for grid in grids:
        for values in itertools.product(*grid.values()):
            yield dict(zip(grid, values, strict=True))
