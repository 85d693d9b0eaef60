"""`kwc sweep watch`, and what it shows of trials that run."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import rich.console
from curves import write_curve
from launch_fakes import plan, run_trial, write_files

from launch import attempts, cli, lock
from launch.commands.sweep import common, watch
from launch.report import live, running, scatter, table
from launch.trials import save_table


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep with all but three trials done: the last failed, the two before it are pending."""
    monkeypatch.chdir(tmp_path)
    trials = plan(write_files(tmp_path))
    folder = tmp_path / "runs" / "tiny"
    save_table(folder, trials)
    for trial in trials[:-3]:
        run_trial(folder / trial.id / "config.gin", folder / trial.id)
    (folder / trials[-1].id / "error.txt").write_text("ValueError: no\n")
    return folder, trials


def start(folder, trial, *, pid=None, host=None):
    """Lets this process, or another, work on a trial that has logged two steps."""
    attempts.start(folder / trial.id)
    path = folder / trial.id / "attempts.jsonl"
    line = json.loads(path.read_text())
    line |= {"pid": pid or os.getpid(), "host": host or line["host"], "time": line["time"] - 75}
    path.write_text(json.dumps(line) + "\n")
    train = folder / trial.id / "train"
    write_curve(train, "training_loss", [2.5, 1.25])
    write_curve(train, "accuracy", [0.25, 0.5])
    write_curve(train, "kwc/bits_per_weight", [8, 4.5])


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def once(capsys):
    assert cli.main(["sweep", "watch", "sweep.gin", "--once"]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_states_running_trials_plots_and_summary_are_shown(sweep, capsys):
    folder, trials = sweep
    start(folder, trials[-2])
    lines = once(capsys)
    assert lines[0].endswith("10 trials: 1 running, 7 done, 1 failed, 1 pending")
    assert "small quantization 8 seed 0 20 1.2500 50.00% 4.500 0:01:15" in lines
    assert any(line.startswith("small: accuracy against file size") for line in lines)
    assert any("● lossless ■ quantization" in line for line in lines)
    assert any(
        line.startswith("small quantization 2 2 90.50 % ± 0.71 85.50 % ± 0.71") for line in lines
    )
    assert any("is failed: ValueError: no" in line for line in lines)


def test_what_has_not_logged_yet_is_running(sweep):
    folder, trials = sweep
    attempts.start(folder / trials[-2].id)
    attempts.start(folder / trials[-2].id)
    (trial,) = running.read(folder, table.read(folder))
    assert (trial.name, trial.attempt) == ("small quantization 8 seed 0", 2)
    assert trial.step is trial.loss is trial.metric is trial.bits_per_weight is None
    assert 0 <= trial.seconds < 60


def test_a_trial_whose_process_is_gone_does_not_run(sweep):
    folder, trials = sweep
    start(folder, trials[-2], pid=dead_pid())
    assert running.read(folder, table.read(folder)) == []


def test_a_process_of_another_machine_is_believed(sweep):
    folder, trials = sweep
    start(folder, trials[-2], pid=dead_pid(), host="elsewhere")
    (trial,) = running.read(folder, table.read(folder))
    assert (trial.step, trial.loss, trial.bits_per_weight) == (20, 1.25, 4.5)


def test_a_stopped_or_failed_attempt_does_not_run(sweep):
    folder, trials = sweep
    start(folder, trials[-2])
    attempts.end(folder / trials[-2].id, "failed", seconds=1.0)
    start(folder, trials[-1])
    assert running.read(folder, table.read(folder)) == []


def test_nothing_finished_is_shown_without_a_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_table(tmp_path / "runs" / "tiny", plan(write_files(tmp_path)))
    lines = once(capsys)
    assert lines[0].endswith("10 trials: 10 pending")
    assert not any("accuracy against" in line for line in lines)


def test_a_sweep_that_was_never_run_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    assert cli.main(["sweep", "watch", "sweep.gin"]) == 1
    assert "runs/tiny is not there yet: `kwc sweep run` makes it" in capsys.readouterr().err


def test_many_points_are_left_to_the_summary_file(sweep):
    folder, _ = sweep
    rows = table.read(folder)
    many = pd.concat([rows.assign(rate=f"{n}") for n in range(101)], ignore_index=True)
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(live.picture(folder, many))
    assert "Dense baselines" not in console.file.getvalue()
    console.print(live.picture(folder, rows))
    assert "Dense baselines" in console.file.getvalue()


class Terminal:
    """A terminal before which some time passes, in which something happens."""

    def __init__(self, monkeypatch, happenings):
        self.console = rich.console.Console(
            file=io.StringIO(), force_terminal=True, width=120, height=60
        )
        self.happenings = iter(happenings)
        monkeypatch.setattr(common, "console", lambda: self.console)
        monkeypatch.setattr(watch.time, "sleep", lambda seconds: next(self.happenings)())

    def text(self):
        return self.console.file.getvalue()


def test_a_terminal_is_refreshed_until_the_run_ends(sweep, monkeypatch):
    folder, trials = sweep
    with contextlib.ExitStack() as launcher:
        launcher.enter_context(lock.hold(folder))

        def finish():
            run_trial(folder / trials[-2].id / "config.gin", folder / trials[-2].id)

        terminal = Terminal(monkeypatch, [finish, launcher.close])
        assert cli.main(["sweep", "watch", "sweep.gin"]) == 0
    assert "7 done" in terminal.text()
    assert "8 done" in terminal.text()
    assert next(terminal.happenings, None) is None


def test_a_run_that_starts_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trials = plan(write_files(tmp_path))
    folder = tmp_path / "runs" / "tiny"
    with contextlib.ExitStack() as launcher:
        launcher.enter_context(lock.hold(folder))
        terminal = Terminal(monkeypatch, [lambda: save_table(folder, trials), launcher.close])
        assert cli.main(["sweep", "watch", "sweep.gin"]) == 0
    assert "10 pending" in terminal.text()
    assert next(terminal.happenings, None) is None


def test_ctrl_c_leaves(sweep, monkeypatch):
    folder, _ = sweep

    def interrupt():
        raise KeyboardInterrupt

    terminal = Terminal(monkeypatch, [interrupt])
    with lock.hold(folder):
        assert cli.main(["sweep", "watch", "sweep.gin"]) == 0
    assert "7 done" in terminal.text()


def test_a_lock_is_held_while_it_is_held(tmp_path):
    assert not lock.is_held(tmp_path)
    with lock.hold(tmp_path):
        assert lock.is_held(tmp_path)
    assert not lock.is_held(tmp_path)


def test_places_of_points():
    """Bytes of 1, 10, 100 are equally far apart; the greatest metric is in the first line."""
    points = pd.DataFrame(
        {
            "algorithm": ["a", "b", "a"],
            "file_bytes_mean": [1000.0, 10_000.0, 100_000.0],
            "artifact_metric_mean": [0.5, 0.75, 1.0],
        }
    )
    marks = scatter.marks(points["algorithm"])
    lines = scatter.scatter(points, marks, width=10 + 21, height=3).plain.splitlines()
    assert lines == [
        "100.00 % │" + " " * 20 + "●",
        "         │" + " " * 10 + "■" + " " * 10,
        " 50.00 % │●" + " " * 20,
        "         └" + "─" * 21,
        "          1.0 kB       100.0 kB",
    ]


def test_a_single_point_is_in_the_middle():
    points = pd.DataFrame(
        {"algorithm": ["a"], "file_bytes_mean": [1000.0], "artifact_metric_mean": [0.5]}
    )
    lines = scatter.scatter(
        points, scatter.marks(["a"]), width=11 + 10, height=3
    ).plain.splitlines()
    assert [line.find("●") for line in lines[:3]] == [-1, 15, -1]
