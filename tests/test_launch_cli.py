"""The `kwc sweep` command."""

import json
import pathlib
import subprocess
import sys

import pytest
from launch_fakes import read_config, run_trial, write_files

import launch
from launch import cli, lock
from launch.commands.sweep import run as sweep_run


@pytest.fixture
def kwc(tmp_path, monkeypatch, capfd):
    """Runs `kwc sweep <command> sweep.gin <options>`; returns status, output and errors."""
    sweep_file = write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    monkeypatch.setattr(sweep_run, "run_trial", run_trial)
    monkeypatch.setattr(sweep_run, "check_trial", lambda config: None)

    def run(command, *options):
        inline = ["--executor=inline"] if command == "run" else []
        status = cli.main(["sweep", command, str(sweep_file), *inline, *options])
        return status, *capfd.readouterr()

    return run


def test_plan_lists_trials_and_writes_nothing(kwc, tmp_path):
    status, output, _ = kwc("plan")
    assert status == 0
    assert "10 trials (2 baseline, 8 compression): 10 pending" in output
    assert len([line for line in output.splitlines() if "quantization" in line]) == 6
    assert not (tmp_path / "runs/tiny").exists()


def test_run_shows_progress_table_and_outputs(kwc, tmp_path):
    status, output, _ = kwc("run")
    assert status == 0
    assert "[1/10] done small baseline seed=0  90.00 %, 4,000 bytes" in output
    assert "10 trials (2 baseline, 8 compression): 10 done" in output
    for name in ("summary.md", "results.csv", "pareto.png"):
        assert f"runs/tiny/{name}\n" in output
        assert (tmp_path / "runs" / "tiny" / name).is_file()
    assert "tensorboard --logdir runs/tiny/tensorboard" in output


def test_run_again_has_nothing_to_do(kwc, tmp_path):
    kwc("run")
    written = (tmp_path / "runs/tiny/summary.md").stat().st_mtime_ns
    status, output, _ = kwc("run")
    assert status == 0
    assert "Nothing to run." in output
    assert "10 done" in output
    assert (tmp_path / "runs/tiny/summary.md").stat().st_mtime_ns == written


def test_only_runs_a_part_and_its_baselines(kwc):
    status, output, _ = kwc("run", "--only", "RATE=4", "--runs", "elsewhere")
    assert status == 0
    assert "4 trials (2 baseline, 2 compression): 4 done" in output
    assert "elsewhere/tiny/pareto.png" in output
    _, output, _ = kwc("status", "--runs", "elsewhere")
    assert "4 done, 6 pending" in output


def test_failures_are_listed_with_their_log(kwc, monkeypatch):
    def fail(config, folder):
        if read_config(config).rate == 4:
            raise ValueError("no such weight")
        run_trial(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", fail)
    status, output, _ = kwc("run")
    assert status == 1
    assert "--retry-failed" in output
    status, output, _ = kwc("status")
    assert status == 0
    assert "8 done, 2 failed" in output
    assert output.count("ValueError: no such weight") == 2
    log = next(line for line in output.splitlines() if "log: " in line).partition("log: ")[2]
    assert pathlib.Path(log).is_file()
    monkeypatch.setattr(sweep_run, "run_trial", run_trial)
    status, output, _ = kwc("run", "--retry-failed")
    assert status == 0
    assert "[2/2]" in output


def test_report_rewrites_what_was_deleted(kwc, tmp_path):
    kwc("run")
    summary = tmp_path / "runs/tiny/summary.md"
    before = summary.read_text()
    summary.unlink()
    assert kwc("report")[0] == 0
    assert summary.read_text() == before


def test_report_before_any_run_is_an_error(kwc):
    status, _, errors = kwc("report")
    assert status == 1
    assert errors == "kwc: error: runs/tiny is not there yet: `kwc sweep run` makes it\n"


def test_data_that_is_not_prepared(kwc, tmp_path):
    base = tmp_path / "runs/finetune.gin"
    base.write_text(base.read_text() + "\ntrial.Experiment.data = 'digits'")
    status, output, _ = kwc("plan")
    assert status == 0
    assert "Ids will change" in output
    status, _, errors = kwc("run")
    assert status == 1
    assert "python -m experiments.prepare_data --dataset=digits --data_dir=data" in errors
    (tmp_path / "data/digits").mkdir(parents=True)
    (tmp_path / "data/digits/manifest.json").write_text(json.dumps({"checksum": "1"}))
    assert kwc("run")[0] == 0


def test_interrupt_says_how_to_go_on(kwc, monkeypatch):
    def interrupt(config, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_run, "run_trial", interrupt)
    status, _, errors = kwc("run")
    assert status == 130
    assert "The same command goes on." in errors


def test_errors_have_no_traceback(kwc):
    status, _, errors = kwc("plan", "--only", "RATE=3")
    assert status == 1
    assert errors == "kwc: error: --only RATE=3: RATE is one of ['2', '4', '8']\n"


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["sweep", "run", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 0
    assert "usage: kwc" in capsys.readouterr().out


def test_the_launcher_does_not_import_tensorflow(tmp_path):
    """Plan, run with a light runner, report: none of them needs TensorFlow."""
    sweep_file = write_files(tmp_path)
    code = f"""
import importlib.metadata, sys
importlib.metadata.version = lambda name: "1.0"
sys.path[:0] = {[str(pathlib.Path(__file__).parent), str(pathlib.Path(launch.__file__).parents[1])]}
import launch_fakes
from launch import cli
from launch.commands.sweep import run as sweep_run
sweep_run.run_trial = launch_fakes.run_trial
sweep_run.check_trial = lambda config: None
assert cli.main(["sweep", "plan", {str(sweep_file)!r}]) == 0
light = {{"tensorflow", "pandas", "matplotlib"}} & set(sys.modules)
assert not light, light
for command in (["run", "--executor=inline"], ["status"], ["report"]):
    assert cli.main(["sweep", *command, {str(sweep_file)!r}]) == 0
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)


def test_a_config_that_cannot_run_stops_the_sweep_before_it_starts(kwc, tmp_path, monkeypatch):
    def check(config):
        raise ValueError("Quantization has no parameter bitz")

    monkeypatch.setattr(sweep_run, "check_trial", check)
    status, _, errors = kwc("run")
    assert status == 1
    assert "nothing was started: Quantization has no parameter bitz" in errors
    assert not list(tmp_path.glob("runs/*/*/log.txt"))


def test_a_sweep_is_held_before_its_configs_are_checked(kwc, tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(
        sweep_run, "check_trial", lambda config: held.append(lock.is_held(tmp_path / "runs/tiny"))
    )
    assert not lock.is_held(tmp_path / "runs/tiny")
    kwc("run")
    assert set(held) == {True}
    assert not lock.is_held(tmp_path / "runs/tiny")


def test_a_run_folder_that_cannot_be_made_is_an_error(kwc, tmp_path):
    (tmp_path / "file").touch()
    status, _, errors = kwc("run", "--runs=file")
    assert status == 1
    assert "give --runs a folder that can be written to" in errors
