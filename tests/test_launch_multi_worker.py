"""A trial of two processes, joined by tf.distribute."""

import json
import os
import pathlib
import subprocess
import sys

import model_garden
import pytest

SWEEP = """
from __gin__ import dynamic_registration
from launch import grid
grid.Sweep.name = 'two'
grid.Sweep.base = ['two.gin']
grid.Sweep.resources = {'workers': 2, 'minutes': 5}
grid.Sweep.grids = [{'algorithm': ['specs/quantization.gin'], 'RATE': [4]}]
"""
TRIAL = """
from __gin__ import dynamic_registration
from experiments import trial
trial.Experiment.name = 'lenet_300_100_mnist'
trial.Experiment.data = {data.name!r}
trial.Experiment.data_dir = {parent!r}
trial.Experiment.task = {{'model': {{'input_size': [8, 8, 3]}}}}
trial.Experiment.trainer = {trainer!r}
trial.Experiment.runtime = {{'distribution_strategy': 'multi_worker_mirrored'}}
"""


@pytest.mark.slow
def test_two_processes_train_one_trial(images, tmp_path):
    (tmp_path / "sweep.gin").write_text(SWEEP)
    trainer = model_garden.trainer(20, checkpoint_interval=10)
    text = TRIAL.format(data=images, parent=str(images.parent), trainer=trainer)
    (tmp_path / "two.gin").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "launch.cli", "sweep", "run", "sweep.gin"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = tmp_path.glob("runs/two/*/result.json")
    assert "num_workers = 2" in (result.parent / "log.txt").read_text()
    written = json.loads(result.read_text())
    assert written["sizes"]["file_bytes"] == (result.parent / "model.kwc").stat().st_size
    assert not list(tmp_path.glob("runs/two/*.worker1"))
