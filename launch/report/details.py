"""What the page shows of one trial beyond its row: each weight, and how training went."""

import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from experiments import events
from launch import layout, results
from launch.errors import LaunchError
from launch.trials import State

_MAX_CURVE_POINTS = 100
_SPLITS = {"train": layout.TRAIN_EVENTS, "validation": layout.VALIDATION_EVENTS}
_BITS = ("kwc/bits_per_weight", "kwc/penalty")


def choose(rows: pd.DataFrame, averaged: pd.DataFrame, limit: int) -> list[str]:
    """Picks the finished trials that are worth a closer look.

    Args:
        rows: The table of `launch.report.table.read`.
        averaged: `launch.report.summary.points` of it.
        limit: How many at most.

    Returns:
        Ids: the front of each architecture first, then the points of the other curves, then
        further seeds and baselines in the order of the plan.
    """
    done = rows.loc[rows["state"] == State.DONE, "id"]
    ranked = [*averaged.loc[averaged["on_front"], "id"], *averaged["id"], *done]
    return list(dict.fromkeys(ranked))[:limit]


class Strings:
    """Texts that many rows share, each kept once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def place(self, text: str) -> int:
        """Returns where a text stands among all, from 0."""
        return self._places.setdefault(text, len(self._places))


def read(sweep_folder: pathlib.Path, trial_ids: Iterable[str], strings: Strings) -> dict[str, Any]:
    """Reads the details of trials from their folders.

    Args:
        sweep_folder: `runs/<sweep>/`.
        trial_ids: Finished trials; one whose result has gone since is left out.
        strings: Takes the paths, shapes and algorithms of weights.

    Returns:
        By id, `weights`: for each a list of path, shape, algorithm and reason (places in
        `strings`), number of elements, dense bytes, written bytes, non-zeros and relative error;
        and `curves`: by title and split, the steps and the values of a scalar.
    """
    details = {}
    for trial_id in trial_ids:
        folder = sweep_folder / trial_id
        try:
            result = results.read(folder / layout.RESULT)
        except LaunchError:
            continue
        details[trial_id] = {
            "weights": [_weight(row, strings) for row in result.get("weights") or ()],
            "curves": _curves(folder, result["primary_metric"]),
        }
    return details


def _weight(row: dict[str, Any], strings: Strings) -> list[float | None]:
    shape = "x".join(map(str, row["shape"])) or "scalar"
    texts = (row["path"], shape, row["algorithm"], row["reason"])
    return [
        *map(strings.place, texts),
        math.prod(row["shape"]),
        row["dense_bytes"],
        row["written_bytes"],
        row.get("nonzeros"),
        _short(row["error"]),
    ]


def _curves(folder: pathlib.Path, metric: str) -> dict[str, Any]:
    scalars = {split: events.scalars(folder / name) for split, name in _SPLITS.items()}
    wanted = {
        metric: dict.fromkeys(_SPLITS, metric),
        "loss": {"train": "training_loss", "validation": "validation_loss"},
        **{tag.removeprefix("kwc/").replace("_", " "): {"train": tag} for tag in _BITS},
    }
    curves = {
        title: {split: _thin(scalars[split][t]) for split, t in tags.items() if t in scalars[split]}
        for title, tags in wanted.items()
    }
    return {title: splits for title, splits in curves.items() if splits}


def _thin(curve: events.Curve) -> list[Sequence[float | None]]:
    """Returns the steps and the values of at most so many points, the last always among them."""
    stride = math.ceil(len(curve) / _MAX_CURVE_POINTS)
    kept = curve[::-1][::stride][::-1]
    return [[step for step, _ in kept], [_short(value) for _, value in kept]]


def _short(value: float | None) -> float | None:
    """Rounds to five digits; a page has no name for what is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
