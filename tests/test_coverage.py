"""The coverage command: limits, records, reasons, the share, and one experiment for real."""

import asyncio
import csv
import dataclasses
import math
import re
import time

import model_garden
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.coverage import limits, plan, reader, rows, schedule, small, stages, summary
from kwc.compressor import RefusedError

ALLOWED = schedule.Limits(jobs=2, seconds=60, memory_gb=4, deadline=math.inf)


def limited(tmp_path, code, seconds=60.0, memory_gb=4.0):
    """Runs a line of Python in a process with limits; returns why it did not end well."""
    arguments = ["-n1", "-r1", code]
    return asyncio.run(limits.run("timeit", arguments, tmp_path / "log", seconds, memory_gb))


def test_a_process_within_its_limits_has_no_reason(tmp_path):
    assert limited(tmp_path, "print('hello')") == ""
    assert "hello" in (tmp_path / "log").read_text()


def test_a_process_over_its_memory_is_ended_and_named(tmp_path):
    code = "import time; x = b'x' * 500_000_000; time.sleep(60)"
    reason = limited(tmp_path, code, memory_gb=0.3)
    assert re.fullmatch(r"took 0\.\d\d GB of memory; it may take 0\.3 GB", reason)


def test_a_process_over_its_time_is_ended_and_named(tmp_path):
    assert limited(tmp_path, "import time; time.sleep(60)", seconds=1) == "took longer than 1 s"


def test_a_process_that_fails_is_named_by_its_last_words(tmp_path):
    assert limited(tmp_path, "raise OSError('no luck')") == "exit status 1: OSError: no luck"
    code = "import os; os.kill(os.getpid(), 9)"
    assert limited(tmp_path, code) == "died of SIGKILL: no output"


def test_a_process_does_not_outlive_the_run(tmp_path):
    children = psutil.Process().children

    async def interrupted():
        arguments = ["-n1", "-r1", "import time; time.sleep(60)"]
        waiting = asyncio.create_task(limits.run("timeit", arguments, tmp_path / "log", 60, 4))
        while set(children()) == before:
            await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    before = set(children())
    asyncio.run(interrupted())
    assert set(children()) == before


class Processes:
    """Stands for the processes of experiments: writes the outcomes that a test wants."""

    def __init__(self, monkeypatch, written, read=None, reason=""):
        self.started = []
        self._files = {"writer": written, "reader": read or {}}
        self._reason = reason
        monkeypatch.setattr(limits, "run", self._run)

    async def _run(self, module, arguments, log, seconds, memory_gb):
        name = module.rpartition(".")[-1]
        self.started.append((arguments[0], name))
        files = {"writer": "written.json", "reader": "read.json"}
        rows.write(log.parent / files[name], self._files[name])
        return self._reason


def entry(key="1", broken=""):
    return {"key": key, "algorithms": ["lossless", "quantization"], "broken": broken}


def run(tmp_path, entries, allowed=ALLOWED):
    """Runs a plan; returns its rows and the experiments that were run."""
    done = []
    asyncio.run(schedule.run(tmp_path, entries, allowed, done.append))
    table = schedule.recorded(tmp_path, entries)
    return [row for name in table for row in table[name]], done


GOOD = rows.Outcome(covered_share=1.0, params=7, seconds=1.25, peak_mb=900)
WRITTEN = {"control": GOOD, "lossless": GOOD, "quantization": GOOD}
READ = {"lossless": rows.Outcome(seconds=2), "quantization": rows.Outcome(seconds=2)}


def test_an_experiment_has_a_row_for_each_algorithm(tmp_path, monkeypatch):
    Processes(monkeypatch, WRITTEN, READ)
    table, done = run(tmp_path, {"bert/squad": entry()})
    assert done == ["bert/squad"]
    expected = rows.Row("bert/squad", "pass", "lossless", "pass", "", 1.0, 7, 3.2, 900)
    assert table == [expected, dataclasses.replace(expected, algorithm="quantization")]


def test_what_is_recorded_is_not_run_again_unless_its_key_changes(tmp_path, monkeypatch):
    processes = Processes(monkeypatch, WRITTEN, READ)
    entries = {"one": entry(), "two": entry()}
    table, _ = run(tmp_path, entries)
    processes.started.clear()
    again, done = run(tmp_path, entries | {"two": entry(key="2")})
    assert again == table
    assert done == ["two"]
    assert processes.started == [("two", "writer"), ("two", "reader")]


def test_what_runs_at_the_deadline_is_ended_and_left_for_another_run(tmp_path, monkeypatch):
    processes = Processes(monkeypatch, WRITTEN, READ)
    in_time = limits.run

    async def one_is_slow(module, arguments, *others):
        if arguments[0] == "two":
            await asyncio.sleep(60)
        return await in_time(module, arguments, *others)

    monkeypatch.setattr(limits, "run", one_is_slow)
    entries = {name: entry() for name in ("one", "two")}
    soon = dataclasses.replace(ALLOWED, deadline=time.monotonic() + 0.5)
    table, done = run(tmp_path, entries, soon)
    assert {row.experiment for row in table} == {"one"} == set(done)
    monkeypatch.setattr(limits, "run", in_time)
    assert run(tmp_path, entries)[1] == ["two"]
    assert ("two", "reader") in processes.started


def test_an_experiment_whose_module_is_broken_starts_no_process(tmp_path, monkeypatch):
    processes = Processes(monkeypatch, {})
    table, _ = run(tmp_path, {"one": entry(broken="x.y cannot be imported: ImportError: z")})
    assert {(row.control, row.result, row.reason) for row in table} == {
        ("fail", "fail", "control: x.y cannot be imported: ImportError: z")
    }
    assert not processes.started


def test_stages_that_a_process_did_not_reach_have_its_reason(tmp_path, monkeypatch):
    written = {"control": GOOD, "lossless": GOOD}
    Processes(monkeypatch, written, {"lossless": GOOD}, reason="took longer than 60 s")
    table, _ = run(tmp_path, {"one": entry()})
    assert [(row.result, row.reason) for row in table] == [
        ("pass", ""),
        ("fail", "the writer took longer than 60 s"),
    ]


def test_a_control_that_fails_fails_every_algorithm(tmp_path, monkeypatch):
    processes = Processes(monkeypatch, {"control": rows.Outcome("ValueError: no data")})
    table, _ = run(tmp_path, {"one": entry()})
    assert [row.reason for row in table] == ["control: ValueError: no data"] * 2
    assert processes.started == [("one", "writer")]


def test_outputs_that_differ_fail_the_row(tmp_path, monkeypatch):
    read = READ | {"quantization": rows.Outcome("ValueError: output 0 is off by 1")}
    Processes(monkeypatch, WRITTEN, read)
    table, _ = run(tmp_path, {"one": entry()})
    assert [row.result for row in table] == ["pass", "fail"]


def test_a_stage_that_fails_has_a_named_reason_and_does_not_stop_the_next(tmp_path):
    done = stages.Stages(tmp_path / "outcomes.json")

    def fail(error):
        raise error

    assert not done.run("a", lambda: fail(ValueError("too small\nsee above")))
    assert not done.run("b", lambda: fail(ValueError("in user code:\n\n  File x\n\n  KeyError: 1")))
    assert not done.run("c", lambda: fail(RefusedError("quantization-aware")))
    layers = (
        "Exception encountered when calling layer 'a'.\n\nValueError: not 2-D\n\nCall arguments:"
    )
    assert not done.run("layers", lambda: fail(ValueError(layers)))
    assert done.run("d", lambda: {"params": 3})
    found = rows.read(tmp_path / "outcomes.json")
    assert [outcome.reason for outcome in found.values()] == [
        "ValueError: too small",
        "KeyError: 1",
        "refused: quantization-aware",
        "ValueError: not 2-D",
        "",
    ]
    assert found["d"].params == 3
    assert found["d"].peak_mb > 0


def test_keys_depend_on_the_code_and_on_the_sizes(monkeypatch):
    sizes = {"classification": {"resnet_imagenet": {"task": {}}, "other": {}}}
    monkeypatch.setattr(small, "families", lambda: sizes)
    keys = [plan.key("resnet_imagenet", code) for code in ("old", "new", "old")]
    assert keys[0] == keys[2] != keys[1]
    sizes["classification"]["resnet_imagenet"] = {"task": {"model": {}}}
    assert plan.key("resnet_imagenet", "old") != keys[0]


def test_the_first_of_a_family_takes_every_shipped_spec(monkeypatch):
    monkeypatch.setattr(small, "families", lambda: {"family": {"first": {}, "second": {}}})
    shipped = {path.stem for path in model_garden.SPECS.glob("*.gin")}
    assert set(plan.algorithms("first")) == shipped
    assert plan.algorithms("second") == plan.algorithms("of no family") == plan.EVERYWHERE


@given(st.floats(-1e3, 1e3, width=32), st.floats(1e-4, 1e-2))
def test_outputs_are_equal_within_a_share_of_the_largest(largest, tolerance):
    scale = max(1.0, abs(largest))
    one = [np.array([largest, 0.0]), np.array([3])]
    reader.check_equal(one, [one[0] + 0.9 * tolerance * scale, one[1]], tolerance)
    with pytest.raises(ValueError, match="output 0 is off by"):
        reader.check_equal(one, [one[0] + 1.1 * tolerance * scale, one[1]], tolerance)
    with pytest.raises(ValueError, match="output 1, of int64, differs"):
        reader.check_equal(one, [one[0], one[1] + 1], tolerance)
    with pytest.raises(ValueError, match="output 0 is off by nan"):
        reader.check_equal(one, [one[0] * np.nan, one[1]], tolerance)


def test_the_share_leaves_out_what_is_refused_and_what_stock_cannot():
    good = rows.Row("good", "pass", "quantization", "pass", "", 1.0, 7, 1.0, 900)
    left = dataclasses.replace(good, experiment="left", covered_share=0.5)
    bad = dataclasses.replace(good, experiment="bad", result="fail", reason="ValueError: x")
    refused = dataclasses.replace(bad, experiment="qat", reason="refused: it is")
    broken = dataclasses.replace(bad, experiment="broken", control="fail")
    assert summary.share([good, left, bad, refused, broken], missing=2) == [
        "pass: 2 of 3 experiments that kwc is for, 66.7%",
        "control passes: 4 of 5 experiments; refused: 1",
        "quantization replaces 99% of the parameters of matrices or more: 1 of 2 experiments; "
        "not in left",
        "not run: 2 experiments; run the command again to go on",
    ]


def test_a_row_names_what_is_not_replaced():
    outcome = dataclasses.replace(GOOD, covered_share=0.5, uncovered=("a", "b", "c", "d"))
    untouched = dataclasses.replace(outcome, covered_share=0.0)
    table = rows.of("one", GOOD, {"quantization": outcome, "lossless": untouched})
    assert [row.reason for row in table] == ["not replaced: a, b, c and 1 more", ""]


@pytest.mark.slow
def test_one_experiment_of_each_outcome(tmp_path):
    code, output = model_garden.run(
        "experiments.coverage",
        [
            "--only=^(bert/sentence_prediction_text|bert/squad_qat|roformer/glue)$",
            f"--work_dir={tmp_path / 'work'}",
            f"--output={tmp_path / 'coverage.csv'}",
        ],
    )
    assert code == 0, output
    assert "pass: 1 of 1 experiments that kwc is for, 100.0%" in output
    with (tmp_path / "coverage.csv").open() as file:
        table = list(csv.DictReader(file))
    results = {(row["experiment"], row["control"], row["result"]) for row in table}
    assert results == {
        ("bert/sentence_prediction_text", "pass", "pass"),
        ("bert/squad_qat", "pass", "fail"),
        ("roformer/glue", "fail", "fail"),
    }
    reasons = {row["experiment"]: row["reason"] for row in table if row["result"] == "fail"}
    assert reasons["bert/squad_qat"].startswith("refused: ")
    assert "roformer_experiments cannot be imported" in reasons["roformer/glue"]
