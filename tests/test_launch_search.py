"""`kwc sweep search`: the smallest file at an accuracy floor."""

import builtins
import dataclasses
import json

import pytest
from launch_fakes import plan, read_config, run_trial, write_files

from launch import cli, report
from launch.commands.sweep import run as sweep_run
from launch.errors import LaunchError
from launch.search import sampler
from launch.search.curves import Curves
from launch.search.goal import Axis, Floor, Outcome

# The fakes reach 0.905 - 0.1 / RATE, as a mean over two seeds, in 125 x RATE bytes.
FLOOR = ("--axis", "RATE=1:32", "--min-accuracy=0.89")


@pytest.fixture(autouse=True)
def tables_only(monkeypatch):
    """Leaves out the plots, which have their own tests and cost a second a run."""
    monkeypatch.setattr(report, "write", report.write_tables)


@pytest.fixture
def ran(monkeypatch):
    """The rate of each trial that was run; None for a baseline."""
    rates = []

    def run(config, folder):
        rates.append(read_config(config).rate)
        run_trial(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", run)
    return rates


@pytest.fixture
def kwc(tmp_path, monkeypatch, capfd, ran):
    """Runs `kwc sweep <command> <file> <options>`; returns status, output and errors."""
    sweep_file = write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    monkeypatch.setattr(sweep_run, "check_trial", lambda config: None)

    def run(command, *options, file=sweep_file):
        inline = ("--executor=inline",) if command in ("run", "search") else ()
        status = cli.main(["sweep", command, str(file), *inline, *options])
        return status, *capfd.readouterr()

    return run


def searched(folder):
    """The rates of the trials in the search's table, by id."""
    ids = json.loads((folder / "trials.json").read_text())
    found = {i: json.loads((folder / i / "trial.json").read_text()) for i in ids}
    return {i: trial["axes"]["RATE"] for i, trial in found.items() if "RATE" in trial["axes"]}


def test_it_finds_the_smallest_file_that_keeps_the_floor(kwc, ran, tmp_path):
    """A small range of whole numbers is tried in full, each value once with each seed."""
    status, output, _ = kwc("search", "--axis", "RATE=6:9", "--min-accuracy=0.89", "--trials=20")
    assert status == 0
    assert sorted(rate for rate in ran if rate) == [6, 6, 7, 7, 8, 8, 9, 9]
    assert ran.count(None) == 2
    assert "smallest of 3 files (of 4) that keep 89.00 %: RATE=7, 89.07 %, 875 bytes" in output
    config = output.partition("experiments.rerun --config=")[2].split()[0]
    assert read_config(tmp_path / config).rate == 7


def test_a_search_is_a_sweep_like_any_other(kwc, tmp_path):
    kwc("search", *FLOOR, "--trials=3")
    found = tmp_path / "runs/tiny-search/sweep.gin"
    status, output, _ = kwc("status", file=found)
    assert status == 0
    assert "8 trials (2 baseline, 6 compression): 8 done" in output
    assert "Nothing to run." in kwc("run", file=found)[1]


def test_its_sweep_file_finds_files_that_stood_beside_the_searched_one(kwc, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    kwc("search", *FLOOR, "--trials=2")
    found = tmp_path / "elsewhere/runs/tiny-search/sweep.gin"
    assert "6 done" in kwc("status", file=found)[1]


def test_a_killed_search_goes_on_as_if_it_had_not_been(kwc, tmp_path, monkeypatch, ran):
    kwc("search", *FLOOR, "--trials=5", "--runs=whole")
    expected = searched(tmp_path / "whole/tiny-search")
    ran.clear()
    whole = sweep_run.run_trial

    def killed(config, folder):
        if len(ran) == 7:
            raise KeyboardInterrupt
        whole(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", killed)
    assert kwc("search", *FLOOR, "--trials=5")[0] == 130
    monkeypatch.setattr(sweep_run, "run_trial", whole)
    assert kwc("search", *FLOOR, "--trials=5")[0] == 0
    assert searched(tmp_path / "runs/tiny-search") == expected
    assert len(ran) == 2 + 2 * 5
    ran.clear()
    assert kwc("search", *FLOOR, "--trials=5")[0] == 0
    assert ran == []


def test_what_the_sweep_has_finished_is_used_and_not_run_again(kwc, tmp_path, ran):
    kwc("run")
    ran.clear()
    kwc("search", *FLOOR, "--trials=4")
    assert len(ran) == 2
    folder = tmp_path / "runs/tiny-search"
    assert {2, 4, 8} < set(searched(folder).values())
    links = [path for path in folder.iterdir() if path.is_symlink()]
    assert {path.name for path in links} <= {
        path.name for path in (tmp_path / "runs/tiny").iterdir()
    }
    assert len(links) == 2 + 6


def test_points_that_all_are_known_still_give_a_report(kwc, tmp_path, ran):
    kwc("run")
    ran.clear()
    status, output, _ = kwc("search", *FLOOR, "--trials=3")
    assert (status, ran) == (0, [])
    assert "RATE=8, 89.25 %, 1,000 bytes" in output
    assert "| small | quantization |" in (tmp_path / "runs/tiny-search/summary.md").read_text()


def test_a_link_to_a_trial_that_is_gone_is_replaced(kwc, tmp_path, ran):
    kwc("run", "--only", "RATE=4")
    kwc("search", *FLOOR, "--trials=2")
    (tmp_path / "runs/tiny").rename(tmp_path / "runs/moved")
    ran.clear()
    assert kwc("search", *FLOOR, "--trials=2")[0] in (0, 1)
    assert ran[:2] == [None, None]
    assert not any(path.is_symlink() for path in (tmp_path / "runs/tiny-search").iterdir())


def test_each_curve_is_searched_by_itself_and_earlier_curves_are_kept(kwc, tmp_path):
    sweep_file = tmp_path / "sweep.gin"
    text = sweep_file.read_text()
    sweep_file.write_text(
        text.replace("['archs/small.gin']", "['archs/small.gin', 'archs/large.gin']")
    )
    _, output, _ = kwc("search", *FLOOR, "--trials=2", "--only", "arch=small")
    assert "small quantization: " in output
    assert "large" not in output
    kwc("search", *FLOOR, "--trials=2", "--only", "arch=large")
    summary = (tmp_path / "runs/tiny-search/summary.md").read_text()
    assert summary.count("| small | quantization |") == 2
    assert summary.count("| large | quantization |") == 2


def test_a_floor_relative_to_the_dense_model(kwc, tmp_path):
    status, output, _ = kwc("search", "--axis", "RATE=4:6", "--max-drop=2")
    assert status == 0
    assert "keep 88.50 %: RATE=5, 88.50 %, 625 bytes" in output


def test_a_floor_that_nothing_reaches(kwc):
    status, output, _ = kwc("search", "--axis", "RATE=1:32", "--min-accuracy=0.99", "--trials=3")
    assert status == 1
    assert "small quantization: none of 3 points reaches 99.00 %; nearest: RATE=" in output


def test_a_failed_point_is_skipped_and_reported(kwc, monkeypatch, tmp_path):
    failed = []

    def fail(config, folder):
        rate = read_config(config).rate
        if rate and (rate in failed or not failed):
            failed.append(rate)
            raise ValueError("no such weight")
        run_trial(config, folder)

    monkeypatch.setattr(sweep_run, "run_trial", fail)
    status, output, _ = kwc("search", *FLOOR, "--trials=4")
    assert status == 0
    assert len(set(searched(tmp_path / "runs/tiny-search").values())) == 4
    assert len(set(failed)) == 1
    assert output.count("ValueError: no such weight") >= 2


def test_a_failed_baseline_ends_the_search(kwc, monkeypatch, ran):
    def fail(config, folder):
        ran.append(None)
        raise ValueError("no data")

    monkeypatch.setattr(sweep_run, "run_trial", fail)
    status, output, _ = kwc("search", *FLOOR, "--trials=5")
    assert status == 1
    assert ran == [None, None]
    assert "small quantization: no point was measured" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--axis", "RATE=1:9"], "give one floor: --min-accuracy=0.96 or --max-drop=0.5"),
        (["--axis", "RATE=1:9", "--min-accuracy=96"], "write a fraction, such as 0.96"),
        (
            ["--axis", "DEPTH=1:9", "--max-drop=1"],
            "no chosen trial has an axis of numbers 'DEPTH'; such are: RATE",
        ),
        (["--axis", "RATE", "--max-drop=1"], "write RATE=LOW:HIGH"),
        (["--axis", "RATE=9:1", "--max-drop=1"], "LOW below HIGH"),
        (["--axis", "RATE=0.5:2", "--max-drop=1"], "whole numbers, as in the trials"),
        (["--axis", "RATE=1:9:logarithmic", "--max-drop=1"], "RATE=LOW:HIGH:log"),
        (["--axis", "RATE=0:9:log", "--max-drop=1"], "a logarithmic scale starts above zero"),
        (["--axis", "RATE=1:9", "--max-drop=1", "--trials=0"], "give it a number above zero"),
        (["--axis", "RATE=1:9", "--max-drop=1", "--runs=gs://b/r"], "give --runs a folder"),
        (["--axis", "RATE=1:9", "--max-drop=1", "--seed=-1"], "give it zero or a number above"),
        (
            ["--axis", "RATE=1:9", "--max-drop=1", "--only", "algorithm=lossless"],
            "no chosen trial has an axis of numbers 'RATE'; such are: none",
        ),
    ],
)
def test_errors_name_the_cause_and_the_mend(kwc, options, message, ran):
    status, _, errors = kwc("search", *options)
    assert status == 1
    assert message in errors
    assert errors.count("\n") == 1
    assert ran == []


def test_without_optuna_the_error_says_what_to_install(kwc, monkeypatch):
    imported = builtins.__import__

    def refuse(name, *rest, **options):
        if name == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'")
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    status, _, errors = kwc("search", *FLOOR)
    assert (status, errors) == (
        1,
        "kwc: error: a search needs Optuna: pip install 'kwc[search]'\n",
    )


def outcome(accuracy, size):
    return Outcome(accuracy, 0.96, size, trial=None)


RATE = Axis("RATE", 0.5, 0.99, log=False, is_integer=False)


def test_a_proposal_depends_on_the_seed_and_on_what_is_known_only():
    known = {(0.6,): outcome(0.97, 400), (0.9,): outcome(0.93, 100), (0.7,): None}
    first = sampler.propose(known, [RATE], "tpe", seed=3)
    assert first == sampler.propose(known, [RATE], "tpe", seed=3)
    assert first != sampler.propose(known, [RATE], "tpe", seed=4)
    assert first[0] in RATE


@pytest.mark.parametrize("name", sampler.NAMES)
def test_proposals_close_in_on_the_smallest_file_that_holds(name):
    """A file takes 1000 x (1 - RATE) bytes, and keeps the floor up to RATE = 0.8."""
    known = {}
    for _ in range(40):
        (rate,) = sampler.propose(known, [RATE], name, seed=0)
        assert rate == float(f"{rate:.4g}")
        known[(rate,)] = outcome(0.96 + 0.2 * (0.8 - rate), 1000 * (1 - rate))
    best = max(rate for (rate,) in known if rate <= 0.8)
    assert best > 0.76
    if name == "tpe":
        late = [rate for (rate,) in list(known)[20:]]
        assert sum(0.7 < rate < 0.85 for rate in late) > len(late) / 2


def test_axes_can_be_searched_together_and_on_a_logarithmic_scale():
    axes = [RATE, Axis("BITS", 2, 1024, log=True, is_integer=True)]
    points = []
    for _ in range(30):
        points.append(sampler.propose(dict.fromkeys(points), axes, "random", seed=0))
    assert all(rate in axes[0] and bits in axes[1] for rate, bits in points)
    assert all(isinstance(bits, int) for _, bits in points)
    assert sum(bits <= 45 for _, bits in points) in range(8, 23)


def test_a_range_without_another_point_proposes_none():
    axis = Axis("BITS", 2, 3, log=False, is_integer=True)
    known = {(2,): outcome(0.97, 200), (3,): outcome(0.98, 300)}
    assert sampler.propose(known, [axis], "tpe", seed=0) is None


def test_floors():
    assert Floor(min_accuracy=0.96).level(None) == 0.96
    assert Floor(max_drop=0.5).level(0.97) == pytest.approx(0.965)
    with pytest.raises(LaunchError, match="needs a dense baseline"):
        Floor(max_drop=0.5).level(None)


def test_an_axis_takes_its_kind_from_the_trials_searched(tmp_path):
    whole = [trial for trial in plan(write_files(tmp_path)) if "RATE" in trial.axes]
    both = [dataclasses.replace(whole[0], axes={"RATE": 0.5}), *whole]
    assert Axis.parse("RATE=2:8", whole) == Axis("RATE", 2, 8, False, True)
    assert Axis.parse("RATE=0.1:1:log", both) == Axis("RATE", 0.1, 1.0, True, False)
    with pytest.raises(
        LaunchError, match="no chosen trial has an axis of numbers 'arch'; such are: RATE"
    ):
        Axis.parse("arch=0:1", whole)


def test_axes_that_no_trial_has_together_are_refused(tmp_path):
    trial, *_ = (trial for trial in plan(write_files(tmp_path)) if "RATE" in trial.axes)
    other = dataclasses.replace(trial, axes={"BITS": 2})
    axes = [RATE, Axis("BITS", 2, 8, log=False, is_integer=True)]
    with pytest.raises(LaunchError, match="no trial has RATE and BITS; see `kwc sweep plan`"):
        Curves([trial, other], axes)


def test_a_search_of_whole_numbers_asks_for_no_others(kwc, tmp_path, ran):
    """Though trials that --only leaves out have rates between."""
    path = write_files(tmp_path)
    grid_of_large = (
        "{'arch': ['archs/large.gin'], 'algorithm': ['specs/quantization.gin'], 'RATE': [0.5]},\n]"
    )
    path.write_text(path.read_text().replace("\n]", f"\n    {grid_of_large}"))
    status, *_ = kwc("search", *FLOOR, "--only", "arch=small", "--trials=3")
    rates = {rate for rate in ran if rate is not None}
    assert status == 0 and len(rates) == 3
    assert all(isinstance(rate, int) for rate in searched(tmp_path / "runs/tiny-search").values())
