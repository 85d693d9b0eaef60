"""Trials in Ray's processes: what dies, hangs or takes too much, and what a run must not lose."""

import collections
import os
import pathlib
import subprocess
import sys

import fault_run
import fault_trials
import pytest
import ray_clusters

from launch import attempts, executors, layout
from launch.executors.ray import RayExecutor, group


def kwc(sweep_file, *options, seconds="0.05"):
    """Runs `kwc sweep run` as a process of its own; returns its status and its output."""
    tests = str(pathlib.Path(__file__).parent)
    paths = [tests, str(pathlib.Path(tests).parent)]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "KWC_TRIAL_SECONDS": seconds}
    command = [sys.executable, fault_trials.__file__, "sweep", "run", str(sweep_file), *options]
    done = subprocess.run(
        command,
        cwd=sweep_file.parent,
        env=dict(os.environ) | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def ends(folder):
    """Counts the attempts of each trial by how they ended."""
    counts = {}
    for path in folder.glob(f"*/{layout.ATTEMPTS}"):
        lines = attempts.read(path.parent)
        counts[path.parent.name] = collections.Counter(line["event"] for line in lines)
    return counts


def test_each_fault_is_contained_and_named(tmp_path):
    """One of each, among good trials: a process lost takes nothing with it but its own work."""
    faults = ["hang", "leak", "crash", "crash once", "end once", "raise", "nan"]
    sweep_file = fault_trials.write_sweep(
        tmp_path, rates=range(2, 8), faults=faults, minutes=0.2, memory_gb=0.7
    )
    status, output = kwc(sweep_file)
    assert status == 1
    assert "14 trials (1 baseline, 13 compression): 9 done, 5 failed" in output
    assert "took longer than 0.2 minutes" in output
    assert "GB of memory; it may take 0.7 GB" in output
    assert "its process died (killed, or crashed in native code), 3 times" in output
    assert "ValueError: the learning rate is a fish" in output
    assert "accuracy is nan" in output
    assert "restarted small faulty RATE=4 FAULT=crash once" in output
    assert "restarted small faulty RATE=4 FAULT=end once" in output
    assert "(raylet)" not in output
    counts = ends(tmp_path / "runs/faults")
    assert sorted(count["done"] for count in counts.values()) == [0] * 5 + [1] * 9
    # A trial that dies by itself is tried three times, one whose fault is known but once, or
    # twice where its process had done other work before.
    assert max(count["start"] for count in counts.values()) == 3

    status, output = kwc(sweep_file)
    assert "Nothing to run." in output
    status, output = kwc(sweep_file, "--retry-failed", "--only=FAULT=raise")
    assert "[1/1] failed small faulty RATE=4 FAULT=raise" in output


def test_a_failed_baseline_blocks_its_trials(tmp_path):
    sweep_file = fault_trials.write_sweep(tmp_path, rates=[2, 3])
    baseline = tmp_path / "runs/baseline.gin"
    baseline.write_text(
        fault_trials.SPEC.replace("'none'", "'raise'").replace("%gin.REQUIRED", "1")
    )
    status, output = kwc(sweep_file)
    assert status == 1
    assert "4 trials (1 baseline, 3 compression): 1 failed, 3 blocked" in output
    assert output.count("] blocked") == 3


def test_a_trial_too_large_for_the_machine_is_refused(tmp_path):
    sweep_file = fault_trials.write_sweep(tmp_path, cpus=4096)
    status, output = kwc(sweep_file)
    assert status == 1
    assert "kwc: error: a trial needs 4096 CPUs" in output
    assert "lower Sweep.resources" in output


def test_without_a_cluster_the_address_is_refused(tmp_path):
    status, output = kwc(fault_trials.write_sweep(tmp_path), "--address=127.0.0.1:1")
    assert status == 1
    assert "kwc: error: no Ray cluster to use at 127.0.0.1:1" in output
    assert "ray start --head" in output


def test_addresses_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="Ray's client cannot follow"):
        RayExecutor(executors.Resources(), "ray://head:10001")
    with pytest.raises(ValueError, match="--address is for --executor=ray"):
        executors.create("inline", executors.Resources(), "auto")
    with pytest.raises(ValueError, match="2 workers a trial need --executor=ray"):
        executors.create("inline", executors.Resources(workers=2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cpus": 0}, "cpus = 0"),
        ({"minutes": "ten"}, "minutes = 'ten'"),
        ({"workers": 1.5}, "workers = 1.5"),
        ({"gpus": -1}, "gpus = -1"),
        ({"memory_gb": True}, "memory_gb = True"),
    ],
)
def test_resources_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        executors.Resources(**values)


@pytest.mark.slow
def test_a_sweep_under_all_faults_on_a_cluster(tmp_path):
    """Processes, nodes, launchers, heads and disks fail: no trial is lost, none is done twice."""
    outcome = fault_run.run(tmp_path)
    assert outcome.trials >= 60
    assert not outcome.done_twice
    assert not outcome.unexpected
    assert not outcome.without_log
    assert outcome.done + len(outcome.failed) == outcome.trials


def test_a_node_that_leaves_and_one_that_joins(tmp_path):
    """The trial of a node that was killed runs on; a node that joins is given trials."""
    sweep_file = fault_trials.write_sweep(tmp_path, rates=range(2, 40))
    tests = pathlib.Path(__file__).parent
    paths = os.pathsep.join([str(tests), str(tests.parent)])
    cluster = ray_clusters.Cluster({"PYTHONPATH": paths, "KWC_TRIAL_SECONDS": "0.8"})
    try:
        cluster.start_head()
        node = cluster.start_node()
        launcher = fault_run.Launcher(sweep_file, tmp_path / "out", cluster, tmp_path / "log")
        launcher.wait_for("[5/")
        cluster.await_work(node, tmp_path / "out/faults")
        cluster.kill(node)
        launcher.wait_for("the machine that ran it went away")
        cluster.start_node()
        assert launcher.wait() == 0, launcher.output()
    finally:
        cluster.stop()
    counts = ends(tmp_path / "out/faults")
    assert [count["done"] for count in counts.values()] == [1] * 39
    assert sum(count["start"] for count in counts.values()) >= 40


def test_multi_worker_names_every_process(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    group._join(["a:1", "b:2"], 1)
    assert os.environ["TF_CONFIG"] == (
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'
    )
