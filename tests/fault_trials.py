"""Trials that go wrong in chosen ways, and the `kwc` command that runs them.

`python tests/fault_trials.py sweep run SWEEP.gin ...` is `kwc` with these trials in place of
Model Garden's: no training, but real launchers, processes and files.
"""

import os
import pathlib
import re
import signal
import sys
import time

import launch_fakes

from launch import cli, layout
from launch.commands.sweep import run

SPEC = launch_fakes.HEADER + (
    "RATE = %gin.REQUIRED\n"
    "FAULT = 'none'\n"
    "trial.Experiment.spec = [('.*', %RATE)]\n"
    "trial.Experiment.mode = %FAULT"
)
SWEEP = """
from __gin__ import dynamic_registration
from launch import grid
grid.Sweep.name = 'faults'
grid.Sweep.base = ['runs/finetune.gin']
grid.Sweep.baseline = ['runs/baseline.gin']
grid.Sweep.seeds = {seeds}
grid.Sweep.resources = {resources}
grid.Sweep.grids = [
    {{'arch': ['archs/small.gin'], 'algorithm': ['specs/faulty.gin'], 'RATE': {rates}}},
    {{
        'arch': ['archs/small.gin'],
        'algorithm': ['specs/faulty.gin'],
        'RATE': [4],
        'FAULT': {faults},
    }},
]
"""
SECONDS = float(os.environ.get("KWC_TRIAL_SECONDS", "0"))


def write_sweep(folder, *, rates=(2,), faults=("none",), seeds=(0,), **resources):
    """Writes a sweep of good trials, one a rate and seed, and of faulty ones; returns its path."""
    sweep_file = launch_fakes.write_files(folder)
    (folder / "specs" / "faulty.gin").write_text(SPEC)
    values = {"rates": list(rates), "faults": list(faults), "seeds": list(seeds)}
    sweep_file.write_text(SWEEP.format(resources=resources, **values))
    return sweep_file


def run_trial(config: pathlib.Path, folder: pathlib.Path) -> None:
    """Takes `KWC_TRIAL_SECONDS`, then writes a result or shows the fault that FAULT names."""
    found = re.search(r"^FAULT = '(.*)'$", config.read_text(), re.MULTILINE)
    print("at work")
    time.sleep(SECONDS)
    match found and found[1]:
        case "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            while True:
                time.sleep(60)
        case "leak":
            kept = []
            while True:
                kept.append(bytearray(os.urandom(1 << 20) * 20))
        case "raise":
            raise ValueError("the learning rate is a fish")
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash once" | "end once":
            marker = folder / "ended"
            if not marker.exists():
                marker.touch()
                is_crash = found[1] == "crash once"
                os.kill(os.getpid(), signal.SIGKILL if is_crash else signal.SIGTERM)
                time.sleep(60)
        case "nan":
            launch_fakes.run_trial(config, folder)
            result = folder / layout.RESULT
            result.write_text(re.sub(r'("accuracy": )[\d.]+', r"\1NaN", result.read_text()))
            return
    launch_fakes.run_trial(config, folder)


def main() -> int:
    """Runs `kwc` with the arguments of this process."""
    # By the module's name: Ray's processes import it, and know no `__main__` of this one.
    run.run_trial = sys.modules["fault_trials"].run_trial
    run.check_trial = lambda config: None
    return cli.main()


if __name__ == "__main__":
    import fault_trials

    sys.exit(fault_trials.main())
