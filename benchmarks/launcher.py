"""Seconds and memory of the launcher over ten thousand trials that train nothing.

    python -m benchmarks.launcher --output=results/launcher.csv

`plan`, `status` and `report` run as processes of their own over finished sweeps: twenty of 500
trials, and one of 10,000. Then sweeps of 1,000 and of 10,000 trials run with each executor and with
trials that only write a result: all that is left is the launcher's own time. Sweeps and results
have the size of real ones.
"""

import csv
import dataclasses
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from absl import app, flags
from rich.console import Console
from rich.table import Table

from launch import executors, grid, identity, layout, lock, runner
from launch.trials import Trial

ARCHS = ("lenet_300_100", "lenet5", "resnet18_small", "mobilenet_v2_small", "bert_small")
ALGORITHMS = ("quantization", "clustering", "low_rank", "pruning")
DATA = ("mnist_5k", "movie_sentences")
WEIGHTS = 60  # Rows of a small ResNet's result, which then has 14 kB.
# Seeds and rates of a sweep, by its number of trials: archs x seeds x (1 + algorithms x rates).
SIZES = {500: (4, 6), 1_000: (8, 6), 10_000: (16, 31)}
SWEEP = """
from __gin__ import dynamic_registration
from launch import grid
grid.Sweep.name = {name!r}
grid.Sweep.base = ['runs/finetune.gin']
grid.Sweep.baseline = ['runs/baseline.gin']
grid.Sweep.seeds = {seeds!r}
grid.Sweep.grids = [{{'arch': {archs!r}, 'algorithm': {algorithms!r}, 'RATE': {rates!r}}}]
"""

_OUTPUT = flags.DEFINE_string("output", None, "Also write the figures to this CSV file.")
_COMMAND = flags.DEFINE_multi_enum(
    "command", ["plan", "status", "report"], ["plan", "status", "report"], "Commands to time."
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one process took: time by the clock, time of processors, and memory."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def write_sweep(folder: pathlib.Path, name: str, trials: int) -> pathlib.Path:
    """Writes a sweep file of a number of trials, one of `SIZES`."""
    seeds, rates = SIZES[trials]
    text = SWEEP.format(
        name=name,
        seeds=list(range(seeds)),
        archs=[f"archs/{arch}.gin" for arch in ARCHS],
        algorithms=[f"specs/{algorithm}.gin" for algorithm in ALGORITHMS],
        rates=[2 + rate for rate in range(rates)],
    )
    path = folder / f"{name}.gin"
    path.write_text(text)
    return path


def write_data(folder: pathlib.Path) -> None:
    """Makes the data sets of the architectures look prepared."""
    for name in DATA:
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / layout.MANIFEST).write_text(json.dumps({"checksum": name}))


def plan(sweep_file: pathlib.Path) -> list[Trial]:
    """Expands a sweep file; the current folder holds the data."""
    sweep, _ = grid.load(sweep_file)
    return grid.expand(sweep, sweep_file.parent, identity.Identity())


def finish(runs: pathlib.Path, sweep_file: pathlib.Path) -> None:
    """Writes every trial of a sweep with a result, without the launcher's care for the disk."""
    for trial in plan(sweep_file):
        folder = runs / sweep_file.stem / trial.id
        folder.mkdir(parents=True)
        record = dataclasses.asdict(trial)
        (folder / layout.CONFIG).write_text(record.pop("config"))
        (folder / layout.TRIAL).write_text(json.dumps(record, indent=1) + "\n")
        write_result(folder, trial)


def write_result(folder: pathlib.Path, trial: Trial) -> None:
    """Writes a result of the size of a real one."""
    is_baseline, rate = trial.kind == "baseline", trial.axes.get("RATE", 32)
    accuracy = {"accuracy": 0.9 + 0.001 * trial.seed - (0 if is_baseline else 0.1 / rate)}
    measured = {"top_5_accuracy": 1.0, "validation_loss": 0.25} | accuracy
    row = {
        "shape": [3, 3, 64, 128],
        "rule": ".*(kernel|embeddings)",
        "algorithm": "lossless" if is_baseline else f"quantization(bits={rate})",
        "reason": "",
        "dense_bytes": 294_912,
        "written_bytes": None if is_baseline else 9216 * rate,
        "bits_estimated": None,
        "error": 0.0,
    }
    weights = [{"path": f"backbone/block/conv2d_{i}/kernel"} | row for i in range(WEIGHTS)]
    file_bytes = None if is_baseline else WEIGHTS * 9216 * rate
    result = {
        "schema": 1,
        "experiment": "resnet_imagenet",
        "mode": "train_and_eval",
        "seed": trial.seed,
        "steps": 300,
        "primary_metric": "accuracy",
        "metrics": {
            "dense": measured if is_baseline else None,
            "training_graph": None if is_baseline else measured,
            "artifact": None if is_baseline else measured,
        },
        "sizes": {
            "weights": WEIGHTS * 73_728,
            "dense_bytes": WEIGHTS * 294_912,
            "file_bytes": file_bytes,
            "payload_bytes": file_bytes and file_bytes - 2048,
            "bits_estimated": None,
        },
        "timings": {"train_seconds": 11.4, "total_seconds": 12.6},
        "artifact": None if is_baseline else "model.kwc",
        "weights": weights,
        "provenance": {
            "command": "kwc sweep run",
            "git_sha": "0" * 40,
            "git_dirty": False,
            "packages": {"kwc": "0.1.0", "tensorflow": "2.20.0"},
            "python": "3.11",
            "host": "none",
            "data_checksum": "mnist_5k",
            "initial_checkpoint_sha256": None if is_baseline else str(trial.seed) * 64,
        },
    }
    temporary = folder / f".{layout.RESULT}"
    temporary.write_text(json.dumps(result))
    os.replace(temporary, folder / layout.RESULT)


def time_command(command: str, folder: pathlib.Path, sweep_files: list[pathlib.Path]) -> Cost:
    """Runs `kwc sweep <command>` in a process of its own."""
    arguments = [sys.executable, "-m", "launch.cli", "sweep", command, *map(str, sweep_files)]
    root = pathlib.Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    start = time.perf_counter()
    with open(folder / "output.txt", "w") as output:
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {process.returncode}")
    seconds = time.perf_counter() - start
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def time_finished(folder: pathlib.Path) -> Iterator[tuple[str, str, Cost]]:
    """Times each command over finished sweeps: the first time, and with what it left behind."""
    many = [write_sweep(folder, f"sweep_{i:02}", 500) for i in range(20)]
    one = [write_sweep(folder, "large", 10_000)]
    for name, sweep_files in {"20 x 500": many, "1 x 10,000": one}.items():
        for sweep_file in sweep_files:
            finish(folder / "runs", sweep_file)
        for command in _COMMAND.value:
            yield f"{command}, first", name, time_command(command, folder, sweep_files)
            yield f"{command}, again", name, time_command(command, folder, sweep_files)


def run_trial(config: pathlib.Path, folder: pathlib.Path) -> None:
    """Does nothing but write a result."""
    write_result(folder, Trial.load(folder))


def run_overhead(folder: pathlib.Path, executor: str, trials: int) -> float:
    """Returns the milliseconds a trial of a sweep whose trials do nothing, Ray's start included."""
    planned = plan(write_sweep(folder, f"{executor}_{trials}", trials))
    start = time.perf_counter()
    sweep_folder = folder / "runs" / f"{executor}_{trials}"
    with (
        lock.hold(sweep_folder),
        executors.create(executor, executors.Resources()) as created,
    ):
        runner.run(sweep_folder, "", planned, planned, created, run_trial)
    done = len(list(sweep_folder.glob(f"*/{layout.RESULT}")))
    if done < trials:
        raise RuntimeError(f"only {done} of {trials} trials are done")
    return 1000 * (time.perf_counter() - start) / trials


def main(_) -> None:
    """Prints the figures, and writes them."""
    output = _OUTPUT.value and pathlib.Path(_OUTPUT.value).absolute()
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        os.chdir(folder)
        write_data(folder)
        for command, trials, cost in time_finished(folder):
            figures.append((command, trials, "seconds", f"{cost.seconds:.2f}"))
            figures.append((command, trials, "CPU seconds", f"{cost.cpu_seconds:.2f}"))
            figures.append((command, trials, "peak MB", f"{cost.peak_mb:.0f}"))
        for executor, trials in itertools.product(executors.NAMES, (1_000, 10_000)):
            milliseconds = run_overhead(folder, executor, trials)
            command = f"run --executor={executor}, trials that do nothing"
            figures.append((command, f"{trials:,}", "ms a trial", f"{milliseconds:.1f}"))
    table = Table("kwc sweep", "trials", "figure", "value")
    for row in figures:
        table.add_row(*row)
    Console().print(table)
    if output:
        with open(output, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("command", "trials", "figure", "value"), *figures])


if __name__ == "__main__":
    app.run(main)
