"""The report, against numbers worked out by hand."""

import dataclasses
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from launch_fakes import plan, result, run_trial, write_files

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


def test_rows_hold_every_measure_and_where_it_comes_from(folder, trials):
    rows = table.read(folder).set_index("id")
    quantized = rows.loc[trials[-1].id]
    assert quantized["zipped_bytes"] == 990
    assert quantized["dense_zipped_bytes"] == 3600  # Its baseline's.
    assert (quantized["nonzeros"], quantized["macs"]) == (999, 5000)
    assert quantized["relative_metric"] == pytest.approx((0.91 - 0.1 / 8) / 0.91)
    assert quantized["validation_metric"] == pytest.approx(0.91 - 0.1 / 8 - 0.01)
    assert quantized["best_validation_metric"] == pytest.approx(0.91 - 0.1 / 8 + 0.01)
    assert (quantized["steps"], quantized["train_batch_size"]) == (100, 32)
    assert quantized["baseline"] == trials[-1].baseline
    assert quantized["packages"] == "kwc 0.1.0, tensorflow 2.20.0"
    assert quantized["hardware"] == "EPYC, 2 cores, 8.0 GB, no GPU"


def change(folder, trial, update):
    """Lets a function edit the result of a trial."""
    path = folder / trial.id / "result.json"
    content = json.loads(path.read_text())
    update(content)
    path.write_text(json.dumps(content))


def test_results_of_an_earlier_version_show_blanks(folder, trials):
    def strip(content):
        for key in (
            "best_validation",
            "last_validation",
            "checkpoint",
            "train_batch_size",
            "weights",
        ):
            del content[key]
        for key in ("nonzeros", "macs", "zipped_bytes", "dense_zipped_bytes"):
            del content["sizes"][key]
        for key in ("packages", "python", "host", "hardware"):
            del content["provenance"][key]

    for trial in trials:
        change(folder, trial, strip)
    report.write(folder)
    row = table.read(folder).iloc[-1]
    assert row["file_bytes"] == 1000
    assert (row["packages"], row["hardware"], row["checkpoint"]) == ("", "", "")
    validation = ["validation_metric", "best_validation_metric"]
    assert row[["macs", "nonzeros", "zipped_bytes", *validation]].isna().all()


def test_points_average_over_seeds(folder):
    points = summary.points(table.read(folder)).set_index("rate")
    assert list(points.index) == ["", "2", "4", "8"]
    assert points.loc["4", "seeds"] == 2
    assert points.loc["4", "artifact_metric_mean"] == pytest.approx(0.905 - 0.025)
    assert points.loc["4", "artifact_metric_std"] == pytest.approx(0.01 / 2**0.5)
    assert points.loc["4", "drop_points_mean"] == pytest.approx(2.5)


def test_the_front_is_what_no_other_point_dominates(folder):
    points = summary.points(table.read(folder)).set_index("rate")
    # Lossless has the dense accuracy in all its bytes; each rate is better in more bytes.
    assert list(points["on_front"]) == [True, True, True, True]
    assert summary.front([4, 1, 2, 3, 1, 5], [0.9, 0.5, 0.5, 0.7, 0.5, None]) == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_every_point_is_matched_by_one_on_the_front(points):
    sizes, metrics = [size for size, _ in points], [metric for _, metric in points]
    on_front = [p for p, on in zip(points, summary.front(sizes, metrics), strict=True) if on]
    for size, metric in points:
        assert any(s <= size and m >= metric for s, m in on_front)
    for point in on_front:
        others = [p for p in on_front if p != point]
        assert len(others) == len(on_front) - 1
        assert not any(s <= point[0] and m >= point[1] for s, m in others)


def test_parquet_holds_the_table(folder):
    report.write_tables(folder)
    frame = pd.read_parquet(folder / "results.parquet")
    rows = table.read(folder)
    pd.testing.assert_frame_equal(frame, rows)
    assert (frame["file_bytes"].dtype, frame["artifact_metric"].dtype) == ("Int64", "float64")


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


def test_unequal_data_and_batches_are_told(folder, trials):
    for trial, checksum in zip(trials[-2:], ("one", "two"), strict=True):
        path = folder / trial.id / "trial.json"
        record = json.loads(path.read_text())
        record["identity"]["data_checksum"] = checksum
        path.write_text(json.dumps(record))
    change(folder, trials[-1], lambda content: content.update(train_batch_size=64))
    caveats = warnings.find(table.read(folder))
    assert "small: trials were trained and measured on different data." in caveats
    assert "small: trials trained for different batch sizes (32, 64)." in caveats


def test_an_estimate_is_no_size(folder, trials):
    def estimate(content):
        content["sizes"] |= {"file_bytes": None, "payload_bytes": None, "bits_estimated": 8000.0}

    change(folder, trials[-1], estimate)
    caveats = "\n".join(warnings.find(table.read(folder)))
    assert f"Trial `{trials[-1].id}` has no written file: the size is an estimate" in caveats
    report.write(folder)
    assert "nan" not in (folder / "summary.md").read_text()


def test_the_best_checkpoint_is_no_final_result(folder, trials):
    for trial in trials[-2:]:
        change(folder, trial, lambda content: content.update(checkpoint="best"))
    (caveat,) = [c for c in warnings.find(table.read(folder)) if "checkpoint" in c]
    names = ", ".join(f"`{trial.id}`" for trial in trials[-2:])
    assert caveat.startswith(f"Trials {names} have the metric of the best checkpoint")


def test_long_lists_are_cut(folder, trials):
    rows = pd.concat([table.read(folder).assign(algorithm=f"a{n}") for n in range(30)])
    (caveat,) = [c for c in warnings.find(rows) if "rates" in c]
    assert caveat.endswith("small a11 (3), and 18 more.")


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


def test_report_is_current_until_a_result_or_the_plan_changes(folder, trials):
    assert not report.is_current(folder, trials)
    report.write(folder)
    assert report.is_current(folder, trials)
    assert not report.is_current(folder, trials[:-1])
    changed = dataclasses.replace(trials[-1])
    text = json.dumps(result(changed.seed, 8, False))
    (folder / changed.id / "result.json").write_text(text)
    assert not report.is_current(folder, trials)
