"""A small tree of gin files and a trial runner that trains nothing, for tests of the launcher."""

import json
import os
import pathlib
import re
import types

from launch import grid
from launch.trials import Trial

HEADER = "from __gin__ import dynamic_registration\nfrom experiments import trial\n"

FILES = {
    "runs/baseline.gin": HEADER + "trial.Experiment.mode = 'train'",
    "runs/finetune.gin": HEADER + "trial.Experiment.mode = 'compress'",
    "archs/small.gin": HEADER + "trial.Experiment.name = 'small'",
    "archs/large.gin": HEADER + "trial.Experiment.name = 'large'",
    "specs/lossless.gin": HEADER + "trial.Experiment.spec = [('.*', None)]",
    "specs/quantization.gin": HEADER
    + "RATE = %gin.REQUIRED\ntrial.Experiment.spec = [('.*', %RATE)]",
    "sweep.gin": """
from __gin__ import dynamic_registration
from launch import grid
grid.Sweep.name = 'tiny'
grid.Sweep.base = ['runs/finetune.gin']
grid.Sweep.baseline = ['runs/baseline.gin']
grid.Sweep.seeds = [0, 1]
grid.Sweep.grids = [
    {'arch': ['archs/small.gin'], 'algorithm': ['specs/lossless.gin']},
    {'arch': ['archs/small.gin'], 'algorithm': ['specs/quantization.gin'], 'RATE': [2, 4, 8]},
]
""",
}

WEIGHTS = 1000
DENSE_BYTES = 4000


def write_files(folder: pathlib.Path) -> pathlib.Path:
    """Writes the gin files and returns the path of the sweep file."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "sweep.gin"


def identity(config: object) -> dict[str, str]:
    return {"kwc": "test"}


def plan(sweep_file: pathlib.Path) -> list[Trial]:
    sweep, _ = grid.load(sweep_file)
    return grid.expand(sweep, sweep_file.parent, identity)


def read_config(config: pathlib.Path) -> types.SimpleNamespace:
    """Reads the few values that the fake runner needs."""
    text = config.read_text()
    rate = re.search(r"^RATE = (.*)$", text, re.MULTILINE)
    return types.SimpleNamespace(
        seed=int(re.search(r"Experiment\.seed = (\d+)", text)[1]),
        rate=int(rate[1]) if rate else None,
        is_baseline="Experiment.dense" not in text,
    )


def result(seed: int, rate: int | None, is_baseline: bool) -> dict:
    """Makes a result: accuracy 0.9 + 0.01 x seed, less 0.1 / rate; rate / 32 of the bytes."""
    dense = 0.9 + 0.01 * seed
    accuracy = dense if rate is None else dense - 0.1 / rate
    size = DENSE_BYTES if rate is None else DENSE_BYTES * rate // 32
    measured = None if is_baseline else {"accuracy": accuracy}
    return {
        "schema": 1,
        "experiment": "small",
        "mode": "train",
        "seed": seed,
        "steps": 100,
        "train_batch_size": 32,
        "primary_metric": "accuracy",
        "checkpoint": "final",
        "metrics": {
            "dense": {"accuracy": dense} if is_baseline else None,
            "training_graph": measured,
            "artifact": measured,
        },
        "best_validation": {"step": 80, "value": accuracy + 0.01},
        "last_validation": {"step": 100, "value": accuracy - 0.01},
        "sizes": {
            "weights": WEIGHTS,
            "nonzeros": WEIGHTS - 1,
            "macs": 5000,
            "dense_bytes": DENSE_BYTES,
            "file_bytes": None if is_baseline else size,
            "dense_zipped_bytes": DENSE_BYTES - 400 if is_baseline else None,
            "payload_bytes": None if is_baseline else size - 50,
            "zipped_bytes": None if is_baseline else size - 10,
            "bits_estimated": None,
        },
        "timings": {"train_seconds": 1.5, "total_seconds": 2.5},
        "artifact": None if is_baseline else "model.kwc",
        "weights": [
            _weight("dense/kernel", [30, 30], 3600, None if is_baseline else size - 100),
            _weight("dense/bias", [100], 400, None if is_baseline else 50),
        ],
        "provenance": {
            "git_sha": "abc",
            "git_dirty": False,
            "packages": {"kwc": "0.1.0", "tensorflow": "2.20.0"},
            "python": "3.11.7",
            "host": "here x86_64",
            "hardware": {"cpu": "EPYC", "cores": 2, "memory_gb": 8.0, "gpus": []},
            "initial_checkpoint_sha256": None if is_baseline else f"checkpoint {seed}",
        },
    }


def _weight(path: str, shape: list[int], dense_bytes: int, written_bytes: int | None) -> dict:
    return {
        "path": path,
        "shape": shape,
        "rule": ".*",
        "algorithm": "quantization(bits=4)",
        "reason": "",
        "dense_bytes": dense_bytes,
        "written_bytes": written_bytes,
        "bits_estimated": None,
        "error": 0.125,
        "nonzeros": dense_bytes // 4,
    }


def run_trial(config: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes a result, last and at once, as the real runner does."""
    values = read_config(config)
    temporary = folder / ".result.tmp"
    temporary.write_text(json.dumps(result(**vars(values))))
    os.replace(temporary, folder / "result.json")
