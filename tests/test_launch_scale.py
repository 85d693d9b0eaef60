"""Many trials: what is remembered, what is read again, and what is shown."""

import json
import os

import pytest
from launch_fakes import plan, run_trial, write_files

from launch import cli, index, refresh, report
from launch.report import table
from launch.trials import State, load_table, read_statuses, save_table


class Parser:
    """Counts the texts that it parses."""

    def __init__(self):
        self.texts = []

    def __call__(self, text):
        self.texts.append(text)
        return json.loads(text)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "trial" / "result.json"
    path.parent.mkdir()
    path.write_text("[1]")
    return path


def replace(path, text):
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    os.replace(temporary, path)


def test_a_file_is_parsed_once_until_it_changes(tmp_path, file):
    memory, parse = index.Index(tmp_path), Parser()
    assert memory.read(file, parse) == memory.read(file, parse) == [1]
    file.write_text("[1, 2]")
    assert memory.read(file, parse) == [1, 2]
    assert parse.texts == ["[1]", "[1, 2]"]
    file.unlink()
    with pytest.raises(FileNotFoundError):
        memory.read(file, parse)


def test_a_file_of_equal_size_and_time_is_another_one(tmp_path, file):
    memory = index.Index(tmp_path)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    assert memory.read(file, json.loads) == [1]
    replace(file, "[2]")
    os.utime(file, ns=times)
    assert memory.read(file, json.loads) == [2]


def test_what_cannot_be_parsed_is_tried_again(tmp_path, file):
    memory = index.Index(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            memory.read(file, _refuse)
    assert memory.read(file, json.loads) == [1]


def _refuse(text):
    raise ValueError("no")


def test_the_index_outlives_the_process_and_forgets_what_is_gone(tmp_path, file):
    other = tmp_path / "other" / "result.json"
    other.parent.mkdir()
    other.write_text("[3]")
    memory = index.Index(tmp_path)
    assert memory.read(file, json.loads) + memory.read(other, json.loads) == [1, 3]
    memory.save()
    parse = Parser()
    later = index.Index(tmp_path)
    assert later.read(file, parse) == [1]
    assert not parse.texts
    later.save()
    other.unlink()
    other.parent.rmdir()
    file.write_text("[1, 2]")
    later.read(file, parse)
    later.save()
    assert list(json.loads((tmp_path / ".index.json").read_text())["files"]) == [
        "trial/result.json"
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0, "files": {}}', "\udcff"])
def test_an_index_that_cannot_be_read_is_made_again(tmp_path, file, text):
    (tmp_path / ".index.json").write_bytes(text.encode(errors="surrogateescape"))
    memory = index.Index(tmp_path)
    assert memory.read(file, json.loads) == [1]
    memory.save()
    assert index.Index(tmp_path).read(file, _refuse) == [1]


def test_an_index_that_cannot_be_written_does_no_harm(tmp_path, file, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    memory = index.Index(tmp_path)
    memory.read(file, json.loads)
    monkeypatch.setattr(os, "replace", full)
    memory.save()
    assert not (tmp_path / ".index.json").exists()
    monkeypatch.undo()
    memory.save()
    assert (tmp_path / ".index.json").exists()


@pytest.fixture
def folder(tmp_path):
    """A finished sweep of ten trials, which the index knows."""
    folder, trials = tmp_path / "runs" / "tiny", plan(write_files(tmp_path))
    save_table(folder, trials)
    for trial in trials:
        run_trial(folder / trial.id / "config.gin", folder / trial.id)
    read_statuses(folder, trials)
    return folder


def test_a_result_that_changed_or_went_is_seen(folder):
    trials = load_table(folder)
    done, damaged, gone, failed, unnamed = (folder / trial.id for trial in trials[:5])
    changed = json.loads((done / "result.json").read_text())
    changed["steps"] = 77
    (done / "result.json").write_text(json.dumps(changed))
    (damaged / "result.json").write_text("{")
    (gone / "result.json").unlink()
    (failed / "result.json").unlink()
    (failed / "error.txt").write_text("ValueError: no")
    (unnamed / "trial.json").unlink()
    statuses = list(read_statuses(folder, trials).values())
    assert statuses[0].result["steps"] == 77
    assert [status.state for status in statuses[:6]] == [
        State.DONE,
        State.BROKEN,
        State.PENDING,
        State.FAILED,
        State.BROKEN,
        State.DONE,
    ]


def test_the_table_is_the_same_with_and_without_an_index(folder, monkeypatch):
    (folder / ".index.json").unlink()
    monkeypatch.setattr(index, "of", index.Index)  # As in a process of its own.
    without = table.read(folder)
    assert (folder / ".index.json").exists()
    assert table.read(folder).equals(without)


def test_only_changed_trials_are_written(folder):
    trials = load_table(folder)
    (folder / trials[0].id / "config.gin").write_text("RATE = 1")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    save_table(folder, trials)
    after = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    written = {path.parent.name for path in after if after[path] != before[path]}
    assert written == {trials[0].id}
    assert load_table(folder) == trials


def test_a_report_is_current_until_a_trial_or_a_part_of_it_changes(folder):
    trials = load_table(folder)
    report.write(folder)
    assert report.is_current(folder, trials)
    (folder / "summary.md").unlink()
    assert not report.is_current(folder, trials)
    report.write(folder)
    (folder / trials[-1].id / "result.json").unlink()
    assert not report.is_current(folder, trials)
    report.write(folder)
    (folder / trials[-1].id / "error.txt").write_text("ValueError: no")
    assert not report.is_current(folder, trials)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_cheap_refresh_waits_five_seconds_and_a_dear_one_twenty_times_its_cost():
    clock, calls = Clock(), []

    def work():
        calls.append(clock.now)
        clock.now += cost

    refresher = refresh.Refresher(work, clock)
    cost = 0.0
    for clock.now in (0.0, 1.0, 4.9, 5.0, 6.0):
        refresher()
    assert calls == [0.0, 5.0]
    cost = 2.0
    for clock.now in (10.0, 20.0, 51.9, 52.0):
        refresher()
    assert calls == [0.0, 5.0, 10.0, 52.0]


@pytest.fixture
def kwc(tmp_path, monkeypatch, capsys):
    """Runs `kwc sweep <command>` on sweep files; returns status and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")

    def run(command, *arguments):
        status = cli.main(["sweep", command, *map(str, arguments)])
        return status, capsys.readouterr().out

    return run


def write_sweep(folder, name, seeds):
    text = write_files(folder).read_text()
    path = folder / f"{name}.gin"
    path.write_text(text.replace("'tiny'", repr(name)).replace("[0, 1]", repr(list(seeds))))
    return path


def test_several_sweeps_are_shown_under_their_names(kwc, tmp_path):
    first, second = write_sweep(tmp_path, "first", [0]), write_sweep(tmp_path, "second", [0, 1])
    for command in ("plan", "status"):
        status, output = kwc(command, first, second)
        assert status == 0
        lines = [line for line in output.splitlines() if not line.startswith(" ")]
        assert lines == [
            "first",
            "5 trials (1 baseline, 4 compression): 5 pending",
            "second",
            "10 trials (2 baseline, 8 compression): 10 pending",
        ]
    assert "first" not in kwc("status", first)[1]


def test_several_reports_are_written_and_then_left_alone(kwc, tmp_path):
    sweeps = [write_sweep(tmp_path, name, [0]) for name in ("first", "second")]
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert kwc("report", *sweeps)[1].count("summary.md") == 2
    summaries = [tmp_path / "runs" / name / "summary.md" for name in ("first", "second")]
    written = [path.stat().st_mtime_ns for path in summaries]
    assert kwc("report", *sweeps)[1].count("No trial has changed") == 2
    assert [path.stat().st_mtime_ns for path in summaries] == written
    assert "No trial has changed" not in kwc("report", sweeps[0], "--force")[1]
    assert summaries[0].stat().st_mtime_ns > written[0]


def test_a_large_sweep_is_planned_by_curve_unless_all_is_asked_for(kwc, tmp_path):
    sweep_file = write_sweep(tmp_path, "large", range(60))
    _, output = kwc("plan", sweep_file)
    rows = [line.split() for line in output.splitlines() if line.startswith("  small")]
    assert rows == [
        ["small", "baseline", "60", "60"],
        ["small", "lossless", "60", "60"],
        ["small", "quantization", "180", "180"],
    ]
    assert "300 trials (60 baseline, 240 compression): 300 pending" in output
    _, output = kwc("plan", sweep_file, "--all")
    assert len([line for line in output.splitlines() if " small " in line]) == 300
    _, output = kwc("plan", sweep_file, "--only", "RATE=4")
    assert len([line for line in output.splitlines() if " small " in line]) == 120


def test_plan_says_why_finished_trials_run_again(kwc, tmp_path):
    sweep_file = write_files(tmp_path)
    kwc("plan", sweep_file)
    trials = plan(sweep_file)  # With the identity of another kwc.
    folder = tmp_path / "runs" / "tiny"
    save_table(folder, trials)
    for trial in trials:
        run_trial(folder / trial.id / "config.gin", folder / trial.id)
    _, output = kwc("plan", sweep_file)
    assert "10 finished trials are not used any more: kwc is 1.0, was test; " in output
