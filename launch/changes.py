"""Says why finished trials are not used any more: what changed since they ran.

A trial's id is a hash of all that decides its result, so a changed default, version or binding
makes a new trial. The folder of the old one still says what it was.
"""

import collections
import functools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launch import gin_text, index, layout
from launch.errors import LaunchError
from launch.gin_merge import parse_value
from launch.trials import State, Status, Trial

_MOST_DIFFERENCES = 3
_MOST_CHARACTERS = 60
_DENSE = ".Experiment.dense"  # The baseline's id: it changes with whatever changed there.
_CODE = "code "


def find(
    sweep_folder: pathlib.Path, planned: Sequence[Trial], statuses: Mapping[str, Status]
) -> list[str]:
    """Explains the finished trials that planned ones replace.

    Args:
        sweep_folder: `runs/<sweep>/`.
        planned: The trials of the sweep, with the baselines they need.
        statuses: The status of each by id.

    Returns:
        One sentence for each cause, with the number of finished trials of the same kind, axes and
        seed as a planned trial that is not done. Empty when there are none.
    """
    todo = {_point(t): t for t in planned if statuses[t.id].state is not State.DONE}
    if not todo:
        return []
    old = _finished(sweep_folder, {trial.id for trial in planned})
    by_id = {trial.id: trial for trial in (*old, *planned)}
    latest = {_point(trial): trial for trial in old}
    counts = collections.Counter(
        tuple(_differences(latest[point], new, by_id))
        for point, new in todo.items()
        if point in latest
    )
    return [_sentence(count, differences) for differences, count in counts.most_common()]


def _finished(sweep_folder: pathlib.Path, planned: set[str]) -> list[Trial]:
    """Returns the finished trials that are not planned, the latest last."""
    times = {}
    for entry in os.scandir(sweep_folder) if sweep_folder.is_dir() else ():
        result = sweep_folder / entry.name / layout.RESULT
        if entry.name not in planned and result.is_file():
            times[result.parent] = result.stat().st_mtime_ns
    memory, finished = index.of(sweep_folder), []
    for folder in sorted(times, key=times.get):
        try:
            finished.append(Trial.load(folder, memory.read))
        except LaunchError:
            continue  # A folder that somebody renamed or emptied is no trial.
    memory.save()
    return finished


def _point(trial: Trial) -> tuple[str, str, int]:
    return trial.kind, json.dumps(trial.axes, sort_keys=True), trial.seed


def _differences(old: Trial, new: Trial, by_id: Mapping[str, Trial]) -> list[str]:
    config = list(_of_configs(old.config, new.config))
    identity = list(_of_identities(old.identity, new.identity))
    defaults = [trial.identity.get("defaults") for trial in (old, new)]
    if None not in defaults:
        identity += _of_defaults(*defaults, is_same_config=not config)
    if not (config or identity) and {old.baseline, new.baseline} <= by_id.keys():
        return _differences(by_id[old.baseline], by_id[new.baseline], by_id)
    return [*config, *identity] or ["their baseline is another"]


def _of_identities(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in _changed(old, new):
        if name not in old or name not in new:
            yield f"{name} is {'no longer' if name in old else 'now'} a part of the id"
        elif name != "defaults":
            yield _change(name, str(old[name]), str(new[name]))


def _of_defaults(
    old: Mapping[str, str], new: Mapping[str, str], is_same_config: bool
) -> Iterator[str]:
    for name in _changed(old, new):
        if any(side.get(name, "").startswith(_CODE) for side in (old, new)):
            yield f"the code of {name} has changed"
        # A config that binds more or less than before also falls back on other defaults.
        elif is_same_config or (name in old and name in new):
            yield _change(f"default {name}", old.get(name), new.get(name))


def _of_configs(old: str, new: str) -> Iterator[str]:
    old, new = _bindings(old), _bindings(new)
    for name in _changed(old, new):
        if not name.endswith(_DENSE):
            yield from _of_values(name, old.get(name), new.get(name))


def _bindings(config: str) -> dict[str, str]:
    """Returns the values of a canonical config by name; what it imports follows from the names."""
    lines = (line.partition(" = ") for line in config.splitlines())
    return {name: value for name, equals, value in lines if equals}


@functools.cache
def _of_values(name: str, old: str | None, new: str | None) -> tuple[str, ...]:
    """Compares two values of a binding, dicts key by key."""
    if old is None or new is None:
        return (_change(name, old, new),)
    flat = [dict(_flat(name, parse_value(value))) for value in (old, new)]
    return tuple(_change(key, *(side.get(key) for side in flat)) for key in _changed(*flat))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    else:
        yield name, gin_text.write(value)


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys((*new, *old))
    return [name for name in names if old.get(name, ...) != new.get(name, ...)]


def _change(name: str, old: str | None, new: str | None) -> str:
    if old is None:
        return f"{name} = {_short(new)} is new"
    if new is None:
        return f"{name} = {_short(old)} is gone"
    return f"{name} is {_short(new)}, was {_short(old)}"


def _short(value: str) -> str:
    is_long = len(value) > _MOST_CHARACTERS
    return f"{value[:_MOST_CHARACTERS]}..." if is_long else value


def _sentence(count: int, differences: Sequence[str]) -> str:
    trials = "1 finished trial is" if count == 1 else f"{count:,} finished trials are"
    shown = "; ".join(differences[:_MOST_DIFFERENCES])
    rest = len(differences) - _MOST_DIFFERENCES
    return f"{trials} not used any more: {shown}" + (f"; and {rest} more" if rest > 0 else "")
