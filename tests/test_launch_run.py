"""Running a sweep: resuming, failures, locks, full disks and logs."""

import errno
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import time

import disks
import pytest
from launch_fakes import plan, read_config, run_trial, write_files

from launch import executors, lock, report, runner, worker
from launch.errors import LaunchError
from launch.executors.inline import InlineExecutor
from launch.trials import State, read_statuses


@pytest.fixture(autouse=True)
def tables_only(monkeypatch):
    """Leaves out the plot, which has its own tests and costs half a second a run."""
    monkeypatch.setattr(report, "write", report.write_tables)


@pytest.fixture
def sweep_file(tmp_path):
    return write_files(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "tiny"


class Recorder:
    """A trial runner that records what it ran; `fault` may raise instead."""

    def __init__(self, fault=lambda values: None):
        self.ran = []
        self.fault = fault

    def __call__(self, config, folder):
        self.ran.append(folder.name)
        self.fault(read_config(config))
        run_trial(config, folder)


def run(folder, trials, run_trial=run_trial, **options):
    events = []
    options["on_event"] = events.append
    with lock.hold(folder):
        runner.run(folder, "", trials, trials, InlineExecutor(), run_trial, **options)
    return [event.state for event in events if event.state != "running"]


def states(folder, trials):
    return [status.state for status in read_statuses(folder, trials).values()]


def test_every_trial_runs_once(sweep_file, folder):
    trials = plan(sweep_file)
    recorder = Recorder()
    assert run(folder, trials, recorder) == ["done"] * 10
    assert run(folder, trials, recorder) == []
    assert recorder.ran == [trial.id for trial in trials]


def test_an_added_seed_runs_alone(sweep_file, folder):
    before = plan(sweep_file)
    run(folder, before)
    sweep_file.write_text(sweep_file.read_text().replace("[0, 1]", "[0, 1, 2]"))
    recorder = Recorder()
    run(folder, plan(sweep_file), recorder)
    assert recorder.ran == [trial.id for trial in plan(sweep_file) if trial.seed == 2]


def test_a_failure_is_kept_and_does_not_stop_the_others(sweep_file, folder):
    trials = plan(sweep_file)

    def fault(values):
        if values.rate == 4:
            raise ValueError("no such weight")

    recorder = Recorder(fault)
    assert run(folder, trials, recorder).count("failed") == 2
    statuses = read_statuses(folder, trials)
    failed = [trial for trial in trials if statuses[trial.id].state is State.FAILED]
    assert [trial.axes["RATE"] for trial in failed] == [4, 4]
    assert statuses[failed[0].id].note == "ValueError: no such weight"
    traceback = (folder / failed[0].id / "error.txt").read_text()
    assert traceback.startswith("Traceback") and "in fault" in traceback

    recorder = Recorder()
    assert run(folder, trials, recorder) == []
    assert run(folder, trials, recorder, retry_failed=True) == ["done", "done"]
    assert recorder.ran == [trial.id for trial in failed]
    assert not (folder / failed[0].id / "error.txt").exists()


def test_a_failure_inside_a_configurable_is_told_by_its_cause(sweep_file, folder):
    trials = plan(sweep_file)
    place = "\n  In call to configurable 'create_trainer' (<function create_trainer at 0x7f>)"

    def fault(values):
        raise ValueError("no such weight" + 2 * place)

    run(folder, trials, Recorder(fault))
    notes = {status.note for status in read_statuses(folder, trials).values()}
    assert "ValueError: no such weight" in notes
    assert not any("configurable" in note for note in notes)


def test_a_failed_baseline_blocks_its_own_trials_only(sweep_file, folder):
    trials = plan(sweep_file)

    def fault(values):
        if values.is_baseline and values.seed == 1:
            sys.exit(3)

    assert sorted(run(folder, trials, Recorder(fault))) == (
        ["blocked"] * 4 + ["done"] * 5 + ["failed"]
    )
    expected = [State.DONE, State.FAILED, *[State.DONE, State.BLOCKED] * 4]
    assert states(folder, trials) == expected
    assert run(folder, trials) == []
    assert run(folder, trials, retry_failed=True) == ["done"] * 5


def test_a_trial_without_a_valid_result_failed(sweep_file, folder):
    trials = plan(sweep_file)[:1]
    assert run(folder, trials, lambda config, folder: None) == ["failed"]
    assert "result.json cannot be read" in read_statuses(folder, trials)[trials[0].id].note


@pytest.mark.parametrize(
    ("text", "note", "retried"),
    [
        ("{", "is damaged .*--retry-failed", ["done"]),
        ('{"schema": 1}', "is damaged .*sizes", ["done"]),
        ("[]", "is damaged", ["done"]),
        ('{"schema": 2}', "schema 2, this kwc reads 1: update kwc", []),
    ],
)
def test_an_unreadable_result_is_listed_as_broken(sweep_file, folder, text, note, retried):
    trials = plan(sweep_file)[:1]
    run(folder, trials)
    result = folder / trials[0].id / "result.json"
    result.write_text(text)
    status = read_statuses(folder, trials)[trials[0].id]
    assert status.state is State.BROKEN
    with pytest.raises(LaunchError, match=note):
        raise LaunchError(status.note)
    assert run(folder, trials) == []
    assert run(folder, trials, retry_failed=True) == retried


def test_an_interrupt_stops_and_the_next_run_goes_on(sweep_file, folder):
    trials = plan(sweep_file)

    def interrupt(values):
        if values.rate == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, trials, Recorder(interrupt))
    assert states(folder, trials) == [State.DONE] * 4 + [State.PENDING] * 6
    recorder = Recorder()
    run(folder, trials, recorder)
    assert recorder.ran == [trial.id for trial in trials[4:]]


_SCRIPT = """
import pathlib, sys, time
sys.path[:0] = sys.argv[3:]
from launch_fakes import plan, run_trial
from launch import lock, runner
from launch.executors.inline import InlineExecutor
trials = plan(pathlib.Path(sys.argv[1]))

def run_five(config, folder):
    if folder.name == trials[5].id:
        print("waiting", file=sys.__stderr__)
        time.sleep(600)
    run_trial(config, folder)

folder = pathlib.Path(sys.argv[2])
with lock.hold(folder):
    runner.run(folder, "", trials, trials, InlineExecutor(), run_five)
"""


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the subprocess did not get there"
        time.sleep(0.02)


def test_after_kill_9_exactly_the_missing_trials_run(sweep_file, folder):
    trials = plan(sweep_file)
    paths = [pathlib.Path(__file__).parent, pathlib.Path(runner.__file__).parents[1]]
    command = [sys.executable, "-c", _SCRIPT, sweep_file, folder, *paths]
    with subprocess.Popen(list(map(str, command))) as process:
        try:
            wait_for((folder / trials[5].id / "log.txt").exists)
            with pytest.raises(LaunchError, match=f"being run by process {process.pid} on "):
                run(folder, trials)
        finally:
            process.send_signal(signal.SIGKILL)
    assert states(folder, trials) == [State.DONE] * 5 + [State.PENDING] * 5
    recorder = Recorder()
    assert run(folder, trials, recorder) == ["done"] * 5
    assert recorder.ran == [trial.id for trial in trials[5:]]


def test_a_lock_is_free_again_after_its_block(folder):
    with lock.hold(folder), pytest.raises(LaunchError, match="is being run by"), lock.hold(folder):
        pass
    with lock.hold(folder):
        pass


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 512 KiB, where this process may mount one."""
    with disks.mounted(tmp_path / "disk", "512k") as disk:
        yield disk


def test_a_full_disk_stops_the_sweep_and_loses_nothing(sweep_file, tiny_disk):
    trials = plan(sweep_file)
    folder = tiny_disk / "tiny"

    def fill(config, trial_folder):
        if trial_folder.name == trials[5].id:
            (trial_folder / "checkpoint").write_bytes(bytes(1 << 20))
        run_trial(config, trial_folder)

    with pytest.raises(LaunchError, match=r"No space left on device: .*: free some space and run"):
        run(folder, trials, fill)
    assert states(folder, trials) == [State.DONE] * 5 + [State.PENDING] * 5
    (folder / trials[5].id / "checkpoint").unlink()
    assert run(folder, trials) == ["done"] * 5


def test_a_disk_full_inside_another_error_is_seen():
    try:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RuntimeError("cannot save") from error
    except RuntimeError as error:
        assert worker.stopping_error(error) == errno.ENOSPC
    of_tensorflow = RuntimeError("RESOURCE_EXHAUSTED: No space left on device")
    assert worker.stopping_error(of_tensorflow) == errno.ENOSPC
    assert worker.stopping_error(OSError(errno.EACCES, "denied")) is None


def test_a_full_disk_while_writing_tables_stops_the_sweep(sweep_file, folder, monkeypatch):
    trials = plan(sweep_file)
    replace = os.replace

    def full(source, target):
        if str(target).endswith("results.csv"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LaunchError, match="No space left"):
        run(folder, trials)
    monkeypatch.undo()
    assert states(folder, trials) == [State.DONE] + [State.PENDING] * 9
    assert not list(folder.glob("**/.results*"))


def test_output_of_every_kind_goes_to_the_log(sweep_file, folder, capfd):
    trials = plan(sweep_file)[:1]
    # As absl's: made before the trial, on the process's own standard error.
    stream = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 (closed by the finally below)
    handler = logging.StreamHandler(stream)
    logging.getLogger("early").addHandler(handler)

    def talk(config, folder):
        print("printed")
        os.write(2, b"native\n")
        logging.getLogger("some").info("logged")
        logging.getLogger("early").warning("by an early handler")
        run_trial(config, folder)

    try:
        run(folder, trials, talk)
    finally:
        logging.getLogger("early").removeHandler(handler)
        stream.close()
    log = (folder / trials[0].id / "log.txt").read_text()
    for text in ("printed\n", "native\n", "INFO some: logged\n", "\nby an early handler\n"):
        assert text in log
    assert capfd.readouterr() == ("", "")


def test_executor_resets_after_each_job(tmp_path):
    resets = []
    executor = InlineExecutor(reset=lambda: resets.append(1))
    jobs = [executors.Job(name, tmp_path / name) for name in "ab"]
    events = list(executor.run(jobs, lambda folder: None if folder.name == "a" else "broke"))
    assert [event.state for event in events] == ["running", "done", "running", "failed"]
    assert events[3].error == "broke"
    assert len(resets) == 2


def test_trial_folder_describes_itself(sweep_file, folder):
    trials = plan(sweep_file)
    run(folder, trials)
    record = json.loads((folder / trials[-1].id / "trial.json").read_text())
    assert record["axes"] == {
        "arch": "archs/small.gin",
        "algorithm": "specs/quantization.gin",
        "RATE": 8,
    }
    assert record["baseline"] == trials[1].id
    assert (folder / trials[-1].id / "config.gin").read_text() == trials[-1].config
