"""The report, against numbers worked out by hand."""

import dataclasses
import json

import pandas as pd
import pytest
from launch_fakes import plan, result, run_trial, write_files
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util import tensor_util

from launch import report
from launch.errors import LaunchError
from launch.report import plot, summary, table, warnings
from launch.trials import save_table


@pytest.fixture
def trials(tmp_path):
    return plan(write_files(tmp_path))


@pytest.fixture
def folder(tmp_path, trials):
    """A finished sweep: two seeds, lossless and three rates."""
    folder = tmp_path / "runs" / "tiny"
    save_table(folder, trials)
    for trial in trials:
        run_trial(folder / trial.id / "config.gin", folder / trial.id)
    return folder


def test_rows(folder, trials):
    rows = table.read(folder).set_index("id")
    assert list(rows.index) == [trial.id for trial in trials]
    quantized = rows.loc[trials[-1].id]  # Seed 1, 8 bits.
    assert (quantized["arch"], quantized["algorithm"], quantized["rate"]) == (
        "small",
        "quantization",
        "8",
    )
    assert quantized["dense_metric"] == pytest.approx(0.91)
    assert quantized["artifact_metric"] == pytest.approx(0.91 - 0.1 / 8)
    assert quantized["drop_points"] == pytest.approx(1.25)
    assert quantized["file_bytes"] == 1000
    assert quantized["payload_bytes"] == 950
    assert quantized["ratio"] == 4
    assert quantized["bits_per_weight"] == 8
    baseline = rows.loc[trials[0].id]
    assert baseline["dense_bytes"] == 4000
    assert pd.isna(baseline["file_bytes"])


def test_points_average_over_seeds(folder):
    points = summary.points(table.read(folder)).set_index("rate")
    assert list(points.index) == ["", "2", "4", "8"]
    assert points.loc["4", "seeds"] == 2
    assert points.loc["4", "artifact_metric_mean"] == pytest.approx(0.905 - 0.025)
    assert points.loc["4", "artifact_metric_std"] == pytest.approx(0.01 / 2**0.5)
    assert points.loc["4", "drop_points_mean"] == pytest.approx(2.5)


def test_tables(folder, trials):
    report.write_tables(folder)
    frame = pd.read_csv(folder / "results.csv", dtype={"id": str})
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert len(frame) == len(lines) == 10
    assert json.loads(lines[-1])["file_bytes"] == 1000
    assert [json.loads(line)["id"] for line in lines] == list(frame["id"])
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (folder / "summary.md").read_text().splitlines()
    ]
    assert [
        "small",
        "quantization",
        "4",
        "2",
        "90.50 % ± 0.71",
        "88.00 % ± 0.71",
        "-2.50",
        "500",
        "8.00",
        "4.000",
    ] in cells
    assert ["small", "2", "90.50 % ± 0.71", "4,000", "1,000"] in cells


def test_caveats_of_a_small_sweep(folder):
    caveats = warnings.find(table.read(folder))
    assert caveats == [
        "Fewer than 5 rates on a curve: small quantization (3).",
        "Fewer than 3 seeds (2): differences may be chance.",
    ]


def test_unequal_starts_steps_commits_are_told(folder, trials):
    path = folder / trials[-1].id / "result.json"
    changed = json.loads(path.read_text())
    changed["steps"] = 7
    changed["provenance"] |= {
        "initial_checkpoint_sha256": "another",
        "git_sha": "def",
        "git_dirty": True,
    }
    path.write_text(json.dumps(changed))
    caveats = "\n".join(warnings.find(table.read(folder)))
    assert "small, seed 1: trials start from different checkpoints" in caveats
    assert "different numbers of steps (7, 100)" in caveats
    assert "different commits" in caveats
    assert "uncommitted changes" in caveats


def test_a_whole_sweep_of_five_rates_and_three_seeds_has_no_caveat(tmp_path):
    sweep_file = write_files(tmp_path)
    text = sweep_file.read_text().replace("[0, 1]", "[0, 1, 2]")
    sweep_file.write_text(text.replace("[2, 4, 8]", "[2, 3, 4, 6, 8]"))
    folder = tmp_path / "runs"
    trials = plan(sweep_file)
    save_table(folder, trials)
    for trial in trials:
        run_trial(folder / trial.id / "config.gin", folder / trial.id)
    assert warnings.find(table.read(folder)) == []


def test_broken_failed_and_pending_trials_are_listed(folder, trials):
    (folder / trials[-1].id / "result.json").write_text("{")
    (folder / trials[-2].id / "result.json").unlink()
    (folder / trials[-3].id / "result.json").unlink()
    (folder / trials[-3].id / "error.txt").write_text("Traceback\nValueError: no")
    report.write(folder)
    text = (folder / "summary.md").read_text()
    assert "10 trials: 7 done, 1 failed, 1 broken, 1 pending." in text
    assert f"Trial `{trials[-1].id}` is broken: " in text
    assert f"Trial `{trials[-3].id}` is failed: ValueError: no" in text


def test_report_of_nothing_finished(tmp_path, trials):
    save_table(tmp_path / "runs", trials)
    report.write(tmp_path / "runs")
    assert "10 trials: 10 pending." in (tmp_path / "runs" / "summary.md").read_text()


def test_trials_that_the_sweep_no_longer_names_are_left_out(folder, trials):
    save_table(folder, trials[:-2])
    assert set(table.read(folder)["rate"]) == {"", "2", "4"}


def test_folder_without_a_table_is_an_error(tmp_path):
    with pytest.raises(LaunchError, match=r"trials.json cannot be read .*kwc sweep run"):
        report.write(tmp_path)


def test_plot_is_a_png_with_a_panel_per_arch(folder):
    rows = table.read(folder)
    one = plot.pareto("tiny", rows)
    two = plot.pareto("tiny", pd.concat([rows, rows.assign(arch="large")]))
    assert one[:8] == two[:8] == b"\x89PNG\r\n\x1a\n"
    width = [int.from_bytes(image[16:20], "big") for image in (one, two)]
    assert width[1] == 2 * width[0]


def read_events(path):
    reader = PyRecordReader_New(str(path))
    events = []
    while True:
        try:
            reader.GetNext()
        except Exception as error:
            assert type(error).__name__ == "OutOfRangeError"
            return events
        events.append(event_pb2.Event.FromString(reader.record()))


def scalars(events):
    values = {v.tag: v for event in events for v in event.summary.value}
    return {
        tag: float(tensor_util.make_ndarray(value.tensor))
        for tag, value in values.items()
        if value.metadata.plugin_data.plugin_name == "scalars"
    }


def test_tensorboard_has_scalars_and_hparams_of_each_trial(folder, trials):
    report.write(folder)
    runs = {path.name: path for path in (folder / "tensorboard").iterdir() if path.is_dir()}
    assert len(runs) == 10
    seeds = [runs[n] for n in sorted(runs) if n.startswith("small_quantization_4_seed")]
    groups = []
    for seed, run in enumerate(seeds):
        events = read_events(run / "events.out.tfevents.0")
        assert scalars(events) == pytest.approx(
            {
                "eval/accuracy": 0.9 + 0.01 * seed - 0.025,
                "size/bytes": 500,
                "size/ratio": 8,
                "accuracy_drop": 2.5,
            }
        )
        start = hparams_metadata.parse_session_start_info_plugin_data(
            events[1].summary.value[0].metadata.plugin_data.content
        )
        assert start.hparams["RATE"].number_value == 4
        assert start.hparams["algorithm"].string_value == "quantization"
        assert "seed" not in start.hparams
        groups.append(start.group_name)
    # One group, so that TensorBoard averages the seeds.
    assert len(groups) == 2
    assert len(set(groups)) == 1


def test_tensorboard_root_holds_the_plot_and_the_summary(folder):
    report.write(folder)
    report.write(folder)
    (path,) = (folder / "tensorboard").glob("events.out.tfevents.*")
    values = {v.tag: v.tensor for e in read_events(path) for v in e.summary.value}
    assert values["pareto"].string_val[2] == (folder / "pareto.png").read_bytes()
    assert values["summary"].string_val[0].decode() == (folder / "summary.md").read_text()


def test_tensorboard_drops_runs_that_are_gone(folder, trials):
    report.write(folder)
    save_table(folder, trials[:4])
    report.write(folder)
    assert len([p for p in (folder / "tensorboard").iterdir() if p.is_dir()]) == 4


def test_report_is_current_until_a_result_or_the_plan_changes(folder, trials):
    assert not report.is_current(folder, trials)
    report.write(folder)
    assert report.is_current(folder, trials)
    assert not report.is_current(folder, trials[:-1])
    changed = dataclasses.replace(trials[-1])
    text = json.dumps(result(changed.seed, 8, False))
    (folder / changed.id / "result.json").write_text(text)
    assert not report.is_current(folder, trials)
