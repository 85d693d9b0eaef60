"""Run folders that are URLs: what is there counts, whichever machine asks."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import fault_trials
import launch_fakes
import pytest
import ray_clusters
import url_folders
from tensorflow import errors
from tensorflow.io import gfile

from launch import attempts, cli, executors, layout, report, shared
from launch.commands.sweep import run as sweep_run
from launch.shared import lease
from launch.shared import work as shared_work
from launch.shared.work import SharedWork
from launch.worker import TrialWork


@pytest.fixture(autouse=True)
def replacing_copy(monkeypatch):
    monkeypatch.setattr(gfile, "copy", url_folders.copy)


@pytest.fixture
def url(tmp_path):
    """A run folder in TensorFlow's own memory: no local folder, and no times of files."""
    return f"ram://{tmp_path.name}/runs"


@pytest.fixture
def sweep_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    monkeypatch.setattr(sweep_run, "check_trial", lambda config: None)
    monkeypatch.setattr(sweep_run, "run_trial", launch_fakes.run_trial)
    monkeypatch.setattr(report, "write", report.write_tables)
    return launch_fakes.write_files(tmp_path)


@pytest.fixture
def kwc(sweep_file, url, capfd):
    """Runs `kwc sweep <command>` on the URL; returns status, output and errors."""

    def run(command, *options):
        inline = ["--executor=inline"] if command == "run" else []
        options = [f"--runs={url}", *inline, *options]
        status = cli.main(["sweep", command, str(sweep_file), *options])
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def sweep(sweep_file, url):
    return shared.locate(url, "tiny")


@pytest.fixture
def forget(tmp_path):
    """Goes to a machine that has nothing of the sweep yet."""
    return lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def ids(sweep):
    """The trials at the URL that have a result."""
    trials = [name for name in sweep.names() if "." not in name and name != layout.TENSORBOARD]
    return {name for name in trials if layout.RESULT in (sweep / name).names()}


def test_another_machine_finds_everything(kwc, sweep, forget):
    status, output, error = kwc("run")
    assert status == 0, error
    assert "10 done" in output
    assert f"{sweep.url} is mirrored in {sweep.path}" in error
    assert len(ids(sweep)) == 10
    assert {"sweep.gin", "trials.json", "results.csv", "summary.md"} <= {*sweep.names()}
    summary = (sweep / layout.SUMMARY).read()

    forget()
    assert "10 done" in kwc("status")[1]
    assert not (sweep.path / layout.SUMMARY).exists()
    assert kwc("report")[0] == 0
    assert (sweep.path / layout.SUMMARY).read_text() == summary
    assert "Nothing to run." in kwc("run")[1]


def test_a_trial_without_its_result_at_the_url_runs_again(kwc, sweep):
    kwc("run")
    lost = sorted(ids(sweep))[3]
    gfile.remove((sweep / lost / layout.RESULT).url)
    assert "9 done, 1 pending" in kwc("status")[1]
    status, output, _ = kwc("run")
    assert status == 0
    assert "[1/1] done" in output
    assert len(ids(sweep)) == 10


def test_the_result_comes_last(kwc, sweep, monkeypatch):
    """An upload that breaks off leaves no result at the URL, and the run ends with the cause."""

    def run_trial(config, folder):
        (folder / "model.kwc").write_text("artifact")
        launch_fakes.run_trial(config, folder)

    def broken(source, target, overwrite=False):
        if target.endswith("model.kwc") and target.startswith("ram://"):
            raise errors.UnavailableError(None, None, "503:\n backend error")
        url_folders.copy(source, target, overwrite)

    monkeypatch.setattr(sweep_run, "run_trial", run_trial)
    monkeypatch.setattr(gfile, "copy", broken)
    status, _, error = kwc("run")
    assert status == 1
    assert "kwc: error: 503: backend error; check the address, the network" in error
    assert not ids(sweep)
    monkeypatch.setattr(gfile, "copy", url_folders.copy)
    assert kwc("run")[0] == 0
    assert all("model.kwc" in (sweep / name).names() for name in ids(sweep))


def test_a_trial_resumes_from_the_checkpoint_at_the_url(kwc, sweep, forget, monkeypatch):
    seen = {}

    def run_trial(config, folder):
        seen[folder.name] = {path.name for path in folder.glob("*ckpt*")}
        if launch_fakes.read_config(config).rate == 4:
            baseline = json.loads((folder / "trial.json").read_text())["baseline"]
            assert (folder.parent / baseline / "ckpt-9.index").read_text() == "weights"
        for path in folder.glob("ckpt*"):
            path.unlink()
        (folder / "ckpt-9.index").write_text("weights")
        (folder / "checkpoint").write_text("ckpt-9")
        launch_fakes.run_trial(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", run_trial)
    kwc("run")
    # A machine that went away in the middle of a trial has left this.
    trial = next(sweep / name for name in ids(sweep) if json_of(sweep / name)["axes"].get("RATE"))
    gfile.remove((trial / layout.RESULT).url)
    gfile.remove((trial / "ckpt-9.index").url)
    (trial / "checkpoint").write("ckpt-5")
    (trial / "ckpt-5.index").write("half-way")

    forget()
    seen.clear()
    assert kwc("run")[0] == 0
    assert seen == {trial.path.name: {"ckpt-5.index"}}
    assert {"ckpt-9.index", "checkpoint"} <= {*trial.names()}
    assert "ckpt-5.index" not in trial.names()
    assert not list(sweep.path.glob("*/ckpt*"))


def test_a_trial_that_is_cut_off_leaves_its_checkpoint(kwc, sweep, forget, monkeypatch):
    monkeypatch.setattr(shared_work, "_SECONDS_BETWEEN_PUSHES", 0.01)
    resumed = []

    def cut_off(config, folder):
        trial = sweep / folder.name
        (folder / "ckpt-5.index").write_text("half-way")
        (folder / "checkpoint").write_text("ckpt-5")
        deadline = time.monotonic() + 30
        while "checkpoint" not in trial.names():
            assert time.monotonic() < deadline
        raise KeyboardInterrupt

    def go_on(config, folder):
        resumed.extend(folder.glob("ckpt-5.index"))
        launch_fakes.run_trial(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", cut_off)
    assert kwc("run")[0] == 130
    forget()
    monkeypatch.setattr(sweep_run, "run_trial", go_on)
    assert kwc("run")[0] == 0
    assert len(resumed) == 1


def json_of(trial):
    return json.loads((trial / layout.TRIAL).read())


def test_failures_are_told_everywhere(kwc, sweep, forget, monkeypatch):
    def fail(config, folder):
        if launch_fakes.read_config(config).rate == 4:
            raise ValueError("no such weight")
        launch_fakes.run_trial(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", fail)
    assert kwc("run")[0] == 1
    forget()
    _, output, _ = kwc("status")
    assert "8 done, 2 failed" in output
    assert output.count("ValueError: no such weight") == 2
    log = next(line for line in output.splitlines() if "log: " in line).split("log: ")[1]
    assert pathlib.Path(log).is_file()

    monkeypatch.setattr(sweep_run, "run_trial", launch_fakes.run_trial)
    assert kwc("run", "--retry-failed")[0] == 0
    assert not [name for name in ids(sweep) if layout.ERROR in (sweep / name).names()]


def test_a_result_that_came_meanwhile_is_kept(sweep_file, sweep):
    """Another launcher finishes a trial after this one has planned it."""
    trial = sweep / "abc"
    url_folders.fill(sweep, "abc/config.gin", "abc/trial.json")
    (trial / layout.RESULT).write(json.dumps(launch_fakes.result(0, 4, False)))
    job = executors.Job("abc", trial.path)
    ran = []

    class Executor:
        def run(self, jobs, work):
            assert work(jobs[0].folder) is None
            yield executors.Event(jobs[0], "done")

    work = TrialWork(lambda config, folder: ran.append(folder))
    assert [e.state for e in shared.SharedExecutor(Executor(), sweep).run([job], work)] == ["done"]
    assert not ran
    assert (trial.path / layout.RESULT).is_file()
    assert lease.NAME not in gfile.listdir(sweep.url)


def test_a_process_that_was_given_up_changes_nothing(sweep_file, sweep):
    """Another process ends a trial while the first, which the network has cut off, is at work."""
    planned = launch_fakes.plan(sweep_file)[0]
    planned.save(sweep.path)
    trial = sweep / planned.id
    trial.push()

    def run_trial(config, folder):
        (trial / "ckpt-2.index").write("theirs")
        (trial / layout.RESULT).write(json.dumps(launch_fakes.result(0, 4, False)))
        (folder / "ckpt-1.index").write_text("ours")
        launch_fakes.run_trial(config, folder)

    theirs = launch_fakes.result(0, 4, False)
    SharedWork(TrialWork(run_trial), sweep.url)(trial.path)
    assert {*trial.names()} == {"config.gin", "trial.json", "ckpt-2.index", "result.json"}
    assert json.loads((trial / layout.RESULT).read()) == theirs


def test_a_process_that_died_is_recorded_at_the_url(sweep_file, sweep):
    trial = url_folders.fill(sweep / "abc", "config.gin")
    (trial / layout.ATTEMPTS).write('{"event": "start"}\n')
    work = SharedWork(TrialWork(launch_fakes.run_trial), sweep.url)
    assert work.failure(trial.path) is None
    work.fail(trial.path, "its process died")
    assert work.failure(trial.path) == "its process died"
    shared.pull(sweep)
    assert (trial.path / layout.ERROR).read_text() == "its process died\n"
    assert [line["event"] for line in attempts.read(trial.path)] == ["start", "failed"]


def test_a_machine_that_does_not_see_the_url_ends_the_run(sweep_file, sweep):
    work = SharedWork(TrialWork(launch_fakes.run_trial), sweep.url)
    with pytest.raises(OSError, match=f"holds no trial for {socket.gethostname()} to run"):
        work(sweep.path / "abc")


def test_a_local_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(executors.ExecutorError, match="must have the same path on every machine"):
        TrialWork(launch_fakes.run_trial)(tmp_path / "nowhere")


def test_an_unknown_scheme_is_refused(sweep_file, capfd):
    assert cli.main(["sweep", "plan", str(sweep_file), "--runs=s4://bucket/runs"]) == 1
    error = capfd.readouterr().err
    assert "File system scheme 's4' not implemented" in error
    assert "TensorFlow knows ram://, file://" in error
    assert "mount any other" in error


def test_an_url_out_of_reach_loses_nothing(kwc, sweep, monkeypatch):
    kwc("run")
    stat = gfile.stat

    def unreachable(path):
        raise errors.PermissionDeniedError(None, None, "403: no credentials")

    monkeypatch.setattr(gfile, "stat", unreachable)
    monkeypatch.setattr(gfile, "listdir", lambda path: _not_found(path))
    status, _, error = kwc("status")
    assert status == 1
    assert "403: no credentials; check the address, the network and the credentials" in error
    monkeypatch.undo()
    assert gfile.stat is stat
    assert len(list(sweep.path.glob("*/result.json"))) == 10


def _not_found(path):
    raise errors.NotFoundError(None, None, f"Could not find directory {path}")


def test_workers_that_need_one_folder_are_refused(kwc, sweep_file):
    text = sweep_file.read_text() + "\ngrid.Sweep.resources = {'workers': 2}\n"
    sweep_file.write_text(text)
    status, _, error = kwc("run", "--executor=ray")
    assert status == 1
    assert "2 workers a trial need a folder that they share" in error


def test_a_second_launcher_is_refused(kwc, sweep):
    url_folders.write_lease(sweep, age=60)
    assert shared.is_held(sweep)
    status, _, error = kwc("run")
    assert status == 1
    assert f"{sweep.url} is being run by process 1 on elsewhere; wait for it" in error
    assert not ids(sweep)
    assert shared.is_held(sweep)


def test_a_lease_that_nobody_renews_is_over(kwc, sweep):
    url_folders.write_lease(sweep, age=300)
    assert not shared.is_held(sweep)
    assert kwc("run")[0] == 0
    assert (sweep / lease.NAME).read() is None


def test_a_launcher_that_was_killed_here_holds_nothing(kwc, sweep):
    ended = subprocess.Popen(["true"])
    ended.wait()
    url_folders.write_lease(sweep, host=socket.gethostname(), pid=ended.pid)
    assert kwc("run")[0] == 0


def test_machines_that_share_only_a_url(tmp_path):
    """A node with files of its own runs the trials of a launcher with other files."""
    sweep_file = fault_trials.write_sweep(tmp_path, rates=[2], faults=["crash once", "raise"])
    tests = pathlib.Path(__file__).parent
    paths = os.pathsep.join([str(tests), str(tests.parent)])
    node = {"PYTHONPATH": paths, "XDG_CACHE_HOME": str(tmp_path / "node")}
    launcher = {"XDG_CACHE_HOME": str(tmp_path / "launcher")}
    cluster = ray_clusters.Cluster(node)
    try:
        cluster.start_head()
        command = [sys.executable, fault_trials.__file__, "sweep", "run", str(sweep_file)]
        options = [f"--address={cluster.address}", f"--runs=file://{tmp_path}/there"]
        done = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env=cluster.environment | launcher,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        cluster.stop()
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "4 trials (1 baseline, 3 compression): 3 done, 1 failed" in output, output
    assert "restarted small faulty RATE=4 FAULT=crash once" in output
    assert "ValueError: the learning rate is a fish" in output
    there, mirror = tmp_path / "there/faults", next((tmp_path / "launcher").glob("kwc/*/*/faults"))
    for folder in (there, mirror):
        assert len(list(folder.glob("*/result.json"))) == 3
        assert len(list(folder.glob("*/error.txt"))) == 1
        assert len(list(folder.glob("*/log.txt"))) == 4
        assert (folder / "report.html").is_file()
    # What has ended stays on the node only if other trials start from it.
    kept = [path.parent.name for path in (tmp_path / "node").glob("kwc/trials/*/faults/*/log.txt")]
    assert len(kept) == 1
    assert json.loads((there / kept[0] / "trial.json").read_text())["kind"] == "baseline"
