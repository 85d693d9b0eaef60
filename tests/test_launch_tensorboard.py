"""The TensorBoard folder of a sweep, as a real TensorBoard serves it."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest
from curves import write_curve
from launch_fakes import plan, run_trial, write_files

from launch import report
from launch.report import table, tensorboard
from launch.trials import save_table

IMAGE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x07\x00\x00\x00\x09"
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
METRICS = ["eval/accuracy", "size/bytes", "size/bits_per_weight", "size/ratio", "accuracy_drop"]
PATIENCE_SECONDS = 120


def make_sweep(folder):
    """Two seeds, lossless and three rates; the last trial is still running."""
    trials = plan(write_files(folder))
    sweep_folder = folder / "runs" / "tiny"
    save_table(sweep_folder, trials)
    for trial in trials:
        write_curve(sweep_folder / trial.id / "train", "kwc/bits_per_weight", [8, 6, 4])
    for trial in trials[:-1]:
        finish(sweep_folder, trial)
    return sweep_folder, trials


def finish(sweep_folder, trial):
    run_trial(sweep_folder / trial.id / "config.gin", sweep_folder / trial.id)


def write(sweep_folder, text="# tiny"):
    tensorboard.write(sweep_folder, table.read(sweep_folder), IMAGE, text)


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path)


def entries(sweep_folder):
    """Every file and link of the TensorBoard folder, with its time, but the root's own file."""
    folder = sweep_folder / "tensorboard"
    return {
        str(path.relative_to(folder)): path.lstat().st_mtime_ns
        for path in folder.glob("*/*")
        if path.is_symlink() or path.is_file()
    }


class Server:
    """A TensorBoard of its own process on a folder."""

    FLAGS = ("--host", "127.0.0.1", "--port", "0", "--reload_interval", "1")

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", "--logdir", folder, *self.FLAGS],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            text=True,
        )
        addresses = (re.search(r"http://127\.0\.0\.1:\d+/", x) for x in self.process.stdout)
        self.address = next(filter(None, addresses))[0]

    def read(self, path, body=None, **query):
        url = f"{self.address}data/{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            content = response.read()
        is_json = "json" in response.headers["Content-Type"]
        return json.loads(content) if is_json else content

    def groups(self):
        """What the table, the parallel coordinates and the scatter matrix are drawn from."""
        columns = [{"hparam": name} for name in ("arch", "algorithm", "RATE")]
        columns += [{"metric": {"tag": tag, "group": ""}} for tag in METRICS]
        body = {
            "experimentName": "",
            "allowedStatuses": STATUSES,
            "colParams": [column | {"includeInResult": True} for column in columns],
            "aggregationType": "AGGREGATION_AVG",
            "startIndex": 0,
            "sliceSize": 100,
        }
        answer = self.read("plugin/hparams/session_groups", body)
        return {group["name"]: group for group in answer["sessionGroups"]}

    def wait(self, condition):
        """Waits for TensorBoard to have read what was written."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "TensorBoard does not show it"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A sweep of which one trial is running, and a TensorBoard that has read it."""
    sweep_folder, trials = make_sweep(tmp_path_factory.mktemp("served"))
    report.write(sweep_folder)
    with contextlib.ExitStack() as stack:
        server = Server(sweep_folder / "tensorboard")
        stack.callback(server.process.stdout.close)
        stack.callback(server.process.wait)
        stack.callback(server.process.terminate)
        server.wait(lambda: sum(len(g["sessions"]) for g in server.groups().values()) == 9)
        yield server, sweep_folder, trials


def test_hparams_has_a_column_for_each_axis_and_measure(served):
    server, _, _ = served
    experiment = server.read("plugin/hparams/experiment", {"experimentName": ""})
    columns = {column["name"]: column for column in experiment["hparamInfos"]}
    assert set(columns) == {"arch", "algorithm", "RATE"}
    assert columns["arch"]["domainDiscrete"] == ["small"]
    assert sorted(columns["algorithm"]["domainDiscrete"]) == ["dense", "lossless", "quantization"]
    assert columns["RATE"]["domainInterval"] == {"minValue": 2.0, "maxValue": 8.0}
    metrics = {m["name"]["tag"]: m["displayName"] for m in experiment["metricInfos"]}
    assert list(metrics) == METRICS
    assert metrics["eval/accuracy"] == "accuracy"


def test_hparams_averages_the_seeds_of_each_point(served):
    server, _, _ = served
    groups = server.groups()
    rates = [f"small quantization {rate}" for rate in (2, 4, 8)]
    assert set(groups) == {"small dense", "small lossless", *rates}
    group = groups["small quantization 4"]
    assert group["hparams"] == {"arch": "small", "algorithm": "quantization", "RATE": 4.0}
    assert len(group["sessions"]) == 2
    assert {session["status"] for session in group["sessions"]} == {"STATUS_SUCCESS"}
    values = {m["name"]["tag"]: m["value"] for m in group["metricValues"]}
    assert values == pytest.approx(
        {
            "eval/accuracy": 0.905 - 0.025,
            "size/bytes": 500,
            "size/bits_per_weight": 4,
            "size/ratio": 8,
            "accuracy_drop": 2.5,
        }
    )
    dense = {m["name"]["tag"]: m["value"] for m in groups["small dense"]["metricValues"]}
    assert dense["eval/accuracy"] == pytest.approx(0.905)
    assert (dense["size/bytes"], dense["size/bits_per_weight"]) == (4000, 32)
    assert len(groups["small quantization 8"]["sessions"]) == 1


def test_curves_of_finished_and_running_trials_are_under_readable_names(served):
    server, _, trials = served
    tags = server.read("plugin/scalars/tags")
    running = f"small_quantization_8_seed1_{trials[-1].id[:4]}"
    assert running not in tags
    for run in (running, f"small_lossless_seed0_{trials[2].id[:4]}"):
        assert list(tags[f"{run}/train"]) == ["kwc/bits_per_weight"]
    query = {"run": f"{running}/train", "tag": "kwc/bits_per_weight"}
    curve = server.read("plugin/scalars/scalars", **query)
    assert [(step, value) for _, step, value in curve] == [(10, 8), (20, 6), (30, 4)]


def test_plot_and_summary_are_shown(served):
    server, sweep_folder, _ = served
    assert list(server.read("plugin/images/tags")["."]) == ["pareto"]
    assert server.read("plugin/text/tags")["."] == ["summary"]
    (text,) = server.read("plugin/text/text", run=".", tag="summary")
    assert "<h1>tiny</h1>" in text["text"]
    assert "<td>quantization</td>" in text["text"]
    (image,) = server.read("plugin/images/images", run=".", tag="pareto", sample="0")
    query = dict(urllib.parse.parse_qsl(image["query"]))
    shown = server.read("plugin/images/individualImage", **query)
    assert shown == (sweep_folder / "pareto.png").read_bytes()


def test_an_open_tensorboard_follows_the_sweep(served):
    """Runs last: it finishes the trial that the tests above see running."""
    server, sweep_folder, trials = served
    finish(sweep_folder, trials[-1])
    report.write(sweep_folder)
    server.wait(lambda: len(server.groups()["small quantization 8"]["sessions"]) == 2)

    def images():
        return server.read("plugin/images/images", run=".", tag="pareto", sample="0")

    server.wait(lambda: [image["step"] for image in images()] == [9, 10])
    texts = server.read("plugin/text/text", run=".", tag="summary")
    assert "10 trials: 10 done" in texts[-1]["text"]


def test_what_has_not_changed_is_not_written_again(sweep):
    sweep_folder, trials = sweep
    write(sweep_folder)
    before = entries(sweep_folder)
    finish(sweep_folder, trials[-1])
    write(sweep_folder, "# later")
    after = entries(sweep_folder)
    finished = f"small_quantization_8_seed1_{trials[-1].id[:4]}"
    (new,) = after.keys() - before.keys()
    assert os.path.dirname(new) == finished
    assert before.items() - after.items() <= {(p, t) for p, t in before.items() if finished in p}
    (root,) = (sweep_folder / "tensorboard").glob("events*")
    assert b"# later" in root.read_bytes()


def test_a_changed_result_replaces_the_run(sweep):
    sweep_folder, trials = sweep
    write(sweep_folder)
    before = entries(sweep_folder)
    path = sweep_folder / trials[2].id / "result.json"
    content = json.loads(path.read_text())
    content["metrics"]["artifact"]["accuracy"] = 0.5
    path.write_text(json.dumps(content))
    write(sweep_folder)
    after = entries(sweep_folder)
    (gone,) = before.keys() - after.keys()
    (new,) = after.keys() - before.keys()
    assert os.path.dirname(gone) == os.path.dirname(new)
    assert new.startswith("small_lossless_seed0_")


def test_runs_that_the_sweep_no_longer_names_are_removed_and_their_curves_kept(sweep):
    sweep_folder, trials = sweep
    write(sweep_folder)
    save_table(sweep_folder, trials[:4])
    write(sweep_folder)
    assert len([p for p in (sweep_folder / "tensorboard").iterdir() if p.is_dir()]) == 4
    assert all(list((sweep_folder / trial.id / "train").iterdir()) for trial in trials)


def test_a_large_sweep_shows_the_curves_of_what_is_running(sweep, monkeypatch):
    sweep_folder, _ = sweep
    write(sweep_folder)
    monkeypatch.setattr(tensorboard, "CURVES_LIMIT", 9)
    write(sweep_folder)
    links = [path for path in (sweep_folder / "tensorboard").glob("*/*") if path.is_symlink()]
    assert [(link.parent.name[:-5], link.name) for link in links] == [
        ("small_quantization_8_seed1", "train")
    ]
    assert len(list((sweep_folder / "tensorboard").glob("*/events*"))) == 9


def test_a_file_system_without_links_has_the_figures(sweep, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(pathlib.Path, "symlink_to", refuse)
    sweep_folder, _ = sweep
    write(sweep_folder)
    assert len(entries(sweep_folder)) == 9


def test_a_moved_sweep_keeps_its_curves(sweep):
    sweep_folder, _ = sweep
    write(sweep_folder)
    moved = sweep_folder.rename(sweep_folder.with_name("moved"))
    assert len(list((moved / "tensorboard").glob("*/train/events*"))) == 10


def test_an_axis_of_numbers_and_words_is_one_of_words(sweep):
    sweep_folder, _ = sweep
    rows = table.read(sweep_folder)
    rows.loc[rows["rate"] == "8", "axis.RATE"] = "most"
    hparams = tensorboard._hparams(rows)
    assert set(hparams["RATE"]) == {"", "2", "4", "most"}


def test_a_sweep_of_which_nothing_is_finished(tmp_path):
    trials = plan(write_files(tmp_path))
    save_table(tmp_path / "runs", trials)
    write(tmp_path / "runs")
    (root,) = (tmp_path / "runs" / "tensorboard").iterdir()
    assert root.is_file()
