"""Successive halving: who stops, who goes on, and what a kill or a grown sweep changes."""

import functools
import json

import pytest
from launch_fakes import identity, plan, read_config, run_trial, write_files

from launch import cli, grid, halving, layout, lock, report, runner
from launch.commands.sweep import run as sweep_run
from launch.errors import LaunchError
from launch.executors.inline import InlineExecutor
from launch.halving import Halving, Outcome, clear_losers
from launch.report import summary, table
from launch.trials import State, read_statuses

HALVING = "grid.Sweep.halving = {'budget': 'STEPS', 'rungs': [30, 100], 'margin_points': 1.0}\n"


@pytest.fixture(autouse=True)
def tables_only(monkeypatch):
    """Leaves out the plots, which have their own tests and cost a second a run."""
    monkeypatch.setattr(report, "write", report.write_tables)


@pytest.fixture
def sweep_file(tmp_path):
    """The fakes' sweep with a budget; it reaches 0.905 - 0.1 / RATE in 125 x RATE bytes."""
    path = write_files(tmp_path)
    path.write_text(path.read_text() + HALVING)
    base = tmp_path / "runs/finetune.gin"
    base.write_text(base.read_text() + "\nSTEPS = 300\ntrial.Experiment.trainer = {'s': %STEPS}")
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "tiny"


def climb(sweep_file, folder):
    sweep, _ = grid.load(sweep_file)
    expand = functools.partial(grid.expand, folder=sweep_file.parent, identity=identity)
    return halving.climb(sweep, expand, folder)


def run_one_rung(sweep_file, folder, run_trial=run_trial, **options):
    planned = climb(sweep_file, folder).trials
    with lock.hold(folder):
        runner.run(folder, "", planned, planned, InlineExecutor(), run_trial, **options)


def pending(sweep_file, folder):
    planned = climb(sweep_file, folder).trials
    statuses = read_statuses(folder, planned)
    return [trial for trial in planned if statuses[trial.id].state is State.PENDING]


def accuracy_of_8(accuracy):
    """A trial runner that gives RATE = 8 another accuracy; it has 1,000 bytes."""

    def run(config, folder):
        run_trial(config, folder)
        if read_config(config).rate == 8:
            result = json.loads((folder / "result.json").read_text())
            result["metrics"]["artifact"] = {"accuracy": accuracy}
            (folder / "result.json").write_text(json.dumps(result))

    return run


losing_8 = accuracy_of_8(0.5)


def rates(trials):
    return [trial.axes.get("RATE") for trial in trials]


def test_who_is_a_clear_loser():
    """Four points by hand: b loses to d at no more bytes; c is within the margin; a is smallest."""
    outcomes = {
        "a": Outcome(0.90, 100),
        "b": Outcome(0.93, 300),
        "c": Outcome(0.952, 250),
        "d": Outcome(0.96, 200),
    }
    assert clear_losers(outcomes, margin_points=1.0) == {"b": "d"}
    assert clear_losers(outcomes, margin_points=0.5) == {"b": "d", "c": "d"}
    assert clear_losers(outcomes, margin_points=3.5) == {}


def test_a_lead_at_more_bytes_and_an_exact_margin_stop_nobody():
    assert clear_losers({"a": Outcome(0.5, 100), "b": Outcome(0.9, 101)}, 1.0) == {}
    assert clear_losers({"a": Outcome(0.5, 100), "b": Outcome(0.75, 100)}, 25.0) == {}
    assert clear_losers({"a": Outcome(0.5, 100), "b": Outcome(0.75, 100)}, 24.9) == {"a": "b"}


def test_the_winner_that_is_named_is_the_most_accurate():
    outcomes = {"a": Outcome(0.5, 300), "b": Outcome(0.9, 100), "c": Outcome(0.95, 200)}
    assert clear_losers(outcomes, 1.0) == {"a": "c"}


def test_without_halving_the_plan_is_the_whole_sweep(tmp_path, folder):
    path = write_files(tmp_path)
    assert climb(path, folder) == halving.Ladder(plan(path))


def test_every_point_starts_at_the_first_rung(sweep_file, folder):
    ladder = climb(sweep_file, folder)
    assert [t.kind for t in ladder.trials] == ["baseline"] * 2 + ["rung"] * 8
    assert all("STEPS = 30\n" in trial.config for trial in ladder.trials[2:])
    assert ladder.ahead == 16
    assert ladder.stops == []


def test_the_last_rung_is_the_sweep_without_halving(sweep_file, folder):
    for _ in range(3):
        run_one_rung(sweep_file, folder)
    whole = sweep_file.read_text().replace(HALVING, "")
    sweep_file.write_text(whole)
    assert read_statuses(folder, plan(sweep_file)).keys() == {t.id for t in plan(sweep_file)}
    assert {s.state for s in read_statuses(folder, plan(sweep_file)).values()} == {State.DONE}


def test_a_clear_loser_stops_and_the_others_go_on(sweep_file, folder):
    run_one_rung(sweep_file, folder, losing_8)
    ladder = climb(sweep_file, folder)
    stopped = [stop.name for stop in ladder.stops]
    assert stopped == ["small quantization RATE=8"]
    going = [t for t in ladder.trials if t.kind == "rung" and "STEPS = 100\n" in t.config]
    assert rates(going) == [None, None, 2, 2, 4, 4]
    assert ladder.ahead == 6
    run_one_rung(sweep_file, folder, losing_8)
    run_one_rung(sweep_file, folder, losing_8)
    ladder = climb(sweep_file, folder)
    assert rates(t for t in ladder.trials if t.kind == "compression") == [None, None, 2, 2, 4, 4]
    assert pending(sweep_file, folder) == []
    assert ladder.ahead == 0


def test_a_stop_tells_its_winner_its_budget_and_by_how_much(sweep_file, folder):
    run_one_rung(sweep_file, folder, losing_8)
    (stop,) = climb(sweep_file, folder).stops
    # RATE 4 has 0.88 in 500 bytes.
    assert (
        stop.reason == "-38.0 points at 2.0x the bytes of small quantization RATE=4, with STEPS=30"
    )


def test_stops_are_saved_as_a_section_of_the_summary(sweep_file, folder):
    run_one_rung(sweep_file, folder, losing_8)
    halving.save_stops(folder, climb(sweep_file, folder).stops)
    text = (folder / layout.STOPPED).read_text()
    assert text.startswith("## Stopped early\n\n- small quantization RATE=8: -38.0 points at 2.0x")
    halving.save_stops(folder, [])
    halving.save_stops(folder, [])
    assert not (folder / layout.STOPPED).exists()


def test_a_rung_is_judged_when_all_its_trials_have_ended(sweep_file, folder):
    started = []

    def killed(config, folder):
        started.append(folder)
        if len(started) == 9:
            raise KeyboardInterrupt
        losing_8(config, folder)

    with pytest.raises(KeyboardInterrupt):
        run_one_rung(sweep_file, folder, killed)
    ladder = climb(sweep_file, folder)
    assert {"STEPS = 100\n" in trial.config for trial in ladder.trials} == {False}
    assert (len(pending(sweep_file, folder)), ladder.stops) == (2, [])
    run_one_rung(sweep_file, folder, losing_8)
    assert [stop.name for stop in climb(sweep_file, folder).stops] == ["small quantization RATE=8"]


def test_architectures_are_judged_one_by_one(sweep_file, folder):
    text = sweep_file.read_text()
    small = "{'arch': ['archs/small.gin'], 'algorithm': ['specs/lossless.gin']}"
    assert small in text
    sweep_file.write_text(text.replace(small, small.replace("small", "large")))
    planned = climb(sweep_file, folder).trials
    large = [trial for trial in planned if trial.axes["arch"] == "archs/large.gin"]
    with lock.hold(folder):
        runner.run(folder, "", planned, large, InlineExecutor(), run_trial)
    ladder = climb(sweep_file, folder)
    open_ = [t for t in ladder.trials if "STEPS = 100\n" in t.config]
    assert {trial.axes["arch"] for trial in open_} == {"archs/large.gin"}
    assert len(open_) == 2


def test_a_failed_point_neither_goes_on_nor_stops_another(sweep_file, folder):
    def fail(config, folder):
        if read_config(config).rate == 2:
            raise ValueError("no such weight")
        run_trial(config, folder)

    run_one_rung(sweep_file, folder, fail)
    ladder = climb(sweep_file, folder)
    assert ladder.stops == []
    going = [t for t in ladder.trials if "STEPS = 100\n" in t.config]
    assert rates(going) == [None, None, 4, 4, 8, 8]
    run_one_rung(sweep_file, folder, retry_failed=True)
    going = [t for t in climb(sweep_file, folder).trials if "STEPS = 100\n" in t.config]
    assert rates(going) == [None, None, 2, 2, 4, 4, 8, 8]


def test_a_point_that_went_on_is_not_stopped_by_a_grown_sweep(sweep_file, folder):
    # RATE 7 reaches 0.8907 in 875 bytes: 1.3 points above what 8 is given here.
    for _ in range(3):
        run_one_rung(sweep_file, folder, accuracy_of_8(0.878))
    before = {trial.id for trial in climb(sweep_file, folder).trials}
    sweep_file.write_text(sweep_file.read_text().replace("[2, 4, 8]", "[2, 4, 7, 8]"))
    assert {trial.axes["RATE"] for trial in pending(sweep_file, folder)} == {7}
    assert before < {trial.id for trial in climb(sweep_file, folder).trials}
    for _ in range(3):
        run_one_rung(sweep_file, folder, accuracy_of_8(0.878))
    ladder = climb(sweep_file, folder)
    assert (ladder.stops, ladder.ahead) == ([], 0)
    full = [trial for trial in ladder.trials if trial.kind == "compression"]
    assert rates(full) == [None, None, 2, 2, 4, 4, 7, 7, 8, 8]


def test_no_curve_holds_a_rung(sweep_file, folder):
    for _ in range(3):
        run_one_rung(sweep_file, folder, losing_8)
    rows = table.read(folder)
    assert list(summary.points(rows)["rate"]) == ["", "2", "4"]
    assert list(rows["kind"].value_counts()[["rung", "compression", "baseline"]]) == [14, 6, 2]


def test_a_rung_of_the_full_budget_is_refused(sweep_file, folder):
    sweep_file.write_text(sweep_file.read_text().replace("[30, 100]", "[30, 300]"))
    with pytest.raises(LaunchError, match="STEPS = 300 is the full budget: leave it out"):
        climb(sweep_file, folder)


def test_a_budget_that_no_file_uses_is_refused(sweep_file, folder):
    sweep_file.write_text(sweep_file.read_text().replace("'STEPS'", "'EPOCHS'"))
    with pytest.raises(LaunchError, match="axis 'EPOCHS' has no effect"):
        climb(sweep_file, folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "S"}, "rungs"),
        ({"budget": "no macro", "rungs": [1]}, "give it a macro's name"),
        ({"budget": "S", "rungs": []}, "write a list of numbers above zero"),
        ({"budget": "S", "rungs": 30}, "write a list of numbers above zero"),
        ({"budget": "S", "rungs": [0]}, "write a list of numbers above zero"),
        ({"budget": "S", "rungs": [100, 30]}, "smallest first, each once"),
        ({"budget": "S", "rungs": [30, 30]}, "smallest first, each once"),
        ({"budget": "S", "rungs": [30], "margin_points": -1}, "give it a number of points"),
        ({"budget": "S", "rungs": [30], "margin": 1}, "margin"),
    ],
)
def test_a_malformed_halving_is_refused_with_the_mend(options, message):
    with pytest.raises(LaunchError, match=message):
        grid.Sweep(name="s", grids=[{"S": [1]}], halving=options)


def test_a_margin_of_zero_stops_whoever_is_beaten():
    assert Halving("S", [1], margin_points=0).margin_points == 0
    assert clear_losers({"a": Outcome(0.5, 100), "b": Outcome(0.51, 100)}, 0) == {"a": "b"}


@pytest.fixture
def kwc(sweep_file, tmp_path, monkeypatch, capfd):
    """Runs `kwc sweep <command>`; returns status and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    monkeypatch.setattr(sweep_run, "check_trial", lambda config: None)
    monkeypatch.setattr(sweep_run, "run_trial", losing_8)

    def run(command, *options):
        inline = ("--executor=inline",) if command == "run" else ()
        status = cli.main(["sweep", command, str(sweep_file), *inline, *options])
        return status, capfd.readouterr().out

    return run


def test_a_run_climbs_rung_after_rung_and_tells_who_stopped(kwc, folder):
    stop = "small quantization RATE=8: -38.0 points at 2.0x the bytes of small quantization RATE=4"
    _, output = kwc("plan")
    assert "10 trials (2 baseline, 8 rung): 10 pending" in output
    assert "Later rungs add up to 16 trials." in output
    status, output = kwc("run")
    assert status == 0
    assert "22 trials (2 baseline, 14 rung, 6 compression): 22 done" in output
    assert f"stopped {stop}, with STEPS=30" in output
    summary = (folder / "summary.md").read_text()
    assert f"## Stopped early\n\n- {stop}, with STEPS=30.\n" in summary
    assert f"stopped {stop}" in kwc("status")[1]
    assert "Nothing to run." in kwc("run")[1]


def test_a_run_that_was_killed_in_a_rung_goes_on(kwc, monkeypatch):
    started = []

    def killed(config, folder):
        started.append(folder.name)
        if len(started) == 13:
            raise KeyboardInterrupt
        losing_8(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", killed)
    assert kwc("run")[0] == 130
    assert kwc("run")[0] == 0
    assert len(started) == 22 + 1
    assert len(set(started)) == 22


def test_a_failed_trial_of_a_rung_is_run_once(kwc, monkeypatch):
    failed = []

    def fail(config, folder):
        if read_config(config).rate == 2:
            failed.append(folder.name)
            raise ValueError("no such weight")
        run_trial(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", fail)
    status, output = kwc("run")
    assert (status, len(failed)) == (1, 2)
    assert "2 failed" in output
    assert kwc("run", "--retry-failed")[0] == 1
    assert len(failed) == 4
