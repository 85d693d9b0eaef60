"""Proposes points: Optuna as the sampler only, its study made anew from what is known."""

from collections.abc import Mapping, Sequence
from typing import Any

from launch.errors import LaunchError
from launch.search.goal import Axis, Outcome

NAMES = ("tpe", "random")

Point = tuple[float, ...]
"""A value for each searched axis."""

_RANDOM_POINTS = 5
_REPEATS = 100


def propose(
    known: Mapping[Point, Outcome | None], axes: Sequence[Axis], sampler: str, seed: int
) -> Point | None:
    """Proposes a point that is not known yet, with Optuna as the sampler.

    Args:
        known: The points so far; a failed one is only not proposed again.
        axes: The searched axes.
        sampler: One of `NAMES`. `tpe` draws the first points at random too.
        seed: Seeds the sampler, together with the number of known points; 0 or above.

    Returns:
        The point, or None when there seems to be no other one in range.

    Raises:
        LaunchError: If Optuna is not installed.
    """
    import numpy as np

    try:
        import optuna
    except ImportError as error:
        raise LaunchError("a search needs Optuna: pip install 'kwc[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {axis.name: _distribution(optuna, axis) for axis in axes}
    # Each number of known points has a stream of its own, and no two seeds share one.
    state = int(np.random.SeedSequence([seed, len(known)]).generate_state(1)[0])
    at_random = optuna.samplers.RandomSampler(seed=state)
    tpe = optuna.samplers.TPESampler(seed=state, n_startup_trials=_RANDOM_POINTS)
    study = optuna.create_study(sampler=tpe if sampler == "tpe" else at_random)
    for point, outcome in known.items():
        if outcome is not None:
            trial = optuna.trial.create_trial(
                params=dict(zip(space, point, strict=True)),
                distributions=space,
                value=outcome.file_bytes,
                constraints={"accuracy": outcome.floor - outcome.accuracy},
            )
            study.add_trial(trial)
    for _ in range(_REPEATS):
        values = study.ask(space).params
        point = tuple(axis.rounded(values[axis.name]) for axis in axes)
        if point not in known:
            return point
        study.sampler = at_random
    return None


def _distribution(optuna: Any, axis: Axis) -> Any:
    kind = "IntDistribution" if axis.is_integer else "FloatDistribution"
    return getattr(optuna.distributions, kind)(axis.low, axis.high, log=axis.log)
