"""Trials an hour: one sweep against one process of Model Garden's `train.py` for each trial.

    python -m benchmarks.sweep_throughput --output=results/sweep_throughput.csv

Both train the same 24 short trials of LeNet-5 with the same gin files and parameters. `train.py`
runs one process after another, and two at a time. A sweep does more for each trial: it writes the
artifact, reads it back and evaluates both, and it ends with the report.
"""

import concurrent.futures
import csv
import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import app, flags
from rich.console import Console
from rich.table import Table

from launch.grid import expand, load
from launch.identity import Identity

_STEPS = flags.DEFINE_integer("steps", 20, "Training steps of a trial.")
_OUTPUT = flags.DEFINE_string("output", None, "Also write the figures to this CSV file.")

SWEEP = """
from __gin__ import dynamic_registration
from launch import grid
grid.Sweep.name = 'throughput'
grid.Sweep.base = ['runs/finetune.gin']
grid.Sweep.seeds = [0, 1, 2]
grid.Sweep.grids = [
    {{
        'arch': ['archs/lenet5.gin'],
        'algorithm': ['specs/quantization.gin'],
        'RATE': [8, 6, 4, 3],
        'FINETUNE_STEPS': [{steps}],
    }},
    {{
        'arch': ['archs/lenet5.gin'],
        'algorithm': ['specs/pruning.gin'],
        'RATE': [0.5, 0.7, 0.8, 0.9],
        'FINETUNE_STEPS': [{steps}],
    }},
]
"""
# Registers LeNet-5 before Model Garden's own main function runs, as any user's script would.
TRAIN = (
    "import experiments.registry_imports, runpy; "
    "runpy.run_module('official.vision.train', run_name='__main__')"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to run all trials."""

    way: str
    trials: int
    seconds: float
    trials_per_hour: float
    ratio: float


def sweep(folder: pathlib.Path) -> float:
    """Runs the trials as one sweep into `folder/runs`; returns the seconds of the command."""
    sweep_file = folder / "throughput.gin"
    sweep_file.write_text(SWEEP.format(steps=_STEPS.value))
    command = [sys.executable, "-m", "launch.cli", "sweep", "run", str(sweep_file)]
    return _timed(lambda: subprocess.run([*command, f"--runs={folder / 'runs'}"], check=True))


def processes(trials: list[pathlib.Path], folder: pathlib.Path, at_once: int) -> float:
    """Runs each trial of finished trial folders again by `train.py`; returns the seconds."""

    def train(trial: pathlib.Path) -> None:
        command = [sys.executable, "-c", TRAIN, "--experiment=lenet5_mnist"]
        command += ["--mode=train_and_eval", f"--model_dir={folder / str(at_once) / trial.name}"]
        command += [f"--config_file={trial / 'params.yaml'}", f"--gin_file={trial / 'config.gin'}"]
        subprocess.run(command, check=True, capture_output=True)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return _timed(lambda: list(pool.map(train, trials)))


def main(argv: list[str]) -> None:
    """Measures, prints and writes."""
    del argv
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        seconds = {"kwc sweep run": sweep(folder)}
        planned, _ = load(folder / "throughput.gin")
        ids = [trial.id for trial in expand(planned, folder, Identity())]
        trials = [folder / "runs" / "throughput" / trial_id for trial_id in ids]
        console.print(f"kwc sweep run: {seconds['kwc sweep run']:.0f} s")
        for at_once, way in [(1, "train.py, one at a time"), (2, "train.py, two at a time")]:
            seconds[way] = processes(trials, folder, at_once)
            console.print(f"{way}: {seconds[way]:.0f} s")
    ours = seconds["kwc sweep run"]
    count = len(trials)
    rows = [Row(way, count, s, 3600 * count / s, s / ours) for way, s in seconds.items()]
    _report(console, rows)


def _report(console: Console, rows: list[Row]) -> None:
    table = Table("way", "trials", "seconds", "trials an hour", "times the sweep's")
    for row in rows:
        table.add_row(
            row.way,
            str(row.trials),
            f"{row.seconds:.0f}",
            f"{row.trials_per_hour:.0f}",
            f"{row.ratio:.2f}",
        )
    console.print(table)
    if _OUTPUT.value:
        with open(_OUTPUT.value, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in dataclasses.fields(Row)])
            writer.writerows(dataclasses.astuple(row) for row in rows)


def _timed(action) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


if __name__ == "__main__":
    app.run(main)
