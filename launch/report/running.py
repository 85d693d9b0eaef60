"""The trials that run at this moment, and how far they are, from their folders alone."""

import dataclasses
import pathlib
import socket
import time

import pandas as pd
import psutil

from experiments import events
from launch import attempts, layout
from launch.trials import State

_LOSS = "training_loss"
_BITS = "kwc/bits_per_weight"


@dataclasses.dataclass(frozen=True)
class Running:
    """A trial that some process works on.

    Attributes:
        name: Architecture, algorithm, rate and seed.
        attempt: How often it was started.
        seconds: Since it was started.
        step: The last step that was logged; None before the first, like all that follow.
        loss: The training loss there.
        metric: The training metric there, by the metric's name in finished trials.
        bits_per_weight: The estimate there; a dense baseline has none.
    """

    name: str
    attempt: int
    seconds: float
    step: int | None = None
    loss: float | None = None
    metric: float | None = None
    bits_per_weight: float | None = None


def read(sweep_folder: pathlib.Path, rows: pd.DataFrame) -> list[Running]:
    """Finds the running trials of a sweep.

    Args:
        sweep_folder: `runs/<sweep>/`.
        rows: The table of `launch.report.table.read`.

    Returns:
        The running trials in the order of the plan. A trial whose process is gone from this machine
        is not among them.
    """
    pending = rows[rows["state"] == State.PENDING]
    metrics = [*rows["metric"].unique(), "accuracy"]
    running = []
    for row in pending.to_dict("records"):
        lines = attempts.read(sweep_folder / row["id"])
        if not lines or lines[-1]["event"] != "start" or not _is_alive(lines[-1]):
            continue
        algorithm = row["algorithm"] or row["kind"]
        words = [row["arch"], algorithm, row["rate"], f"seed {row['seed']}"]
        trial = Running(
            name=" ".join(filter(None, words)),
            attempt=lines[-1]["attempt"],
            seconds=time.time() - lines[-1]["time"],
        )
        running.append(_with_curves(trial, sweep_folder / row["id"], metrics))
    return running


def _is_alive(start: dict) -> bool:
    return start["host"] != socket.gethostname() or psutil.pid_exists(start["pid"])


def _with_curves(trial: Running, folder: pathlib.Path, metrics: list[str]) -> Running:
    curves = events.scalars(folder / layout.TRAIN_EVENTS)
    last = {tag: curve[-1] for tag, curve in curves.items()}
    if not last:
        return trial
    values = {tag: value for tag, (_, value) in last.items()}
    return dataclasses.replace(
        trial,
        step=max(step for step, _ in last.values()),
        loss=values.get(_LOSS),
        metric=next((values[name] for name in metrics if name in values), None),
        bits_per_weight=values.get(_BITS),
    )
