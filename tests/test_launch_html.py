"""The page of a sweep: what is in it."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from curves import write_curve
from launch_fakes import plan, result, write_files
from report_fakes import make_sweep

from launch import report
from launch.report import charts, details, html, plot, summary, table
from launch.trials import save_table


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    sweep_folder, trials = make_sweep(tmp_path_factory.mktemp("sweep"))
    report.write(sweep_folder)
    return sweep_folder, trials


@pytest.fixture(scope="module")
def text(sweep):
    return (sweep[0] / "report.html").read_text(encoding="utf-8")


def read_data(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_equal_folders_give_equal_pages(sweep, text):
    assert html.page(sweep[0], table.read(sweep[0])) == text


def test_the_page_names_nothing_outside_itself(text):
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', text)
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_names_are_escaped(text):
    assert "<h1>tiny &amp; &lt;b&gt;</h1>" in text
    assert "<b>" not in text


def test_ids_are_unique(text):
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_caveats_are_on_top(text):
    assert text.index("Fewer than 3 seeds (2)") < text.index("Accuracy against size</h2>")


def test_the_headline_is_the_smallest_file_near_the_baseline(text):
    # 8 bits lose 1.25 points; lossless loses none in 4,000 bytes.
    headline = "Smallest file within 1 point of dense: lossless, 4,000 bytes, 1.0 times smaller"
    assert headline in text


def test_points_are_links_that_say_what_they_are(sweep, text):
    points = summary.points(table.read(sweep[0]))
    label = "small quantization 4: 88.00 ± 0.71 %, 500 bytes, 8.00 times smaller"
    (trial_id,) = points.loc[(points["arch"] == "small") & (points["rate"] == "4"), "id"]
    # In the chart of the architecture and in the two across architectures.
    assert text.count(f'<a href="#{trial_id}" aria-label="{label}"><title>{label}</title>') == 3


def test_every_trial_is_in_the_table_without_a_script(sweep, text):
    rows = re.findall(r'<tr id="(\w+)">(.*?)</tr>', text)
    assert [trial_id for trial_id, _ in rows] == [trial.id for trial in sweep[1]]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", rows[-1][1])
    assert cells == [
        *("large", "quantization", "8", "1", "89.75", "91.00", "-1.25", "98.63"),
        *("1,000", "950", "990", "4.00", "8.000", "999", "5,000", "100", "2.5", "done"),
    ]


def test_the_command_runs_a_trial_that_is_there(sweep, text):
    folder, trials = sweep
    program, *arguments = shlex.split(read_data(text)["command"].replace("@id@", trials[0].id))[1:]
    assert [program, arguments[0]] == ["-m", "experiments.rerun"]
    config = arguments[1].removeprefix("--config=")
    assert config == str(folder / trials[0].id / "config.gin")


def test_details_hold_weights_and_curves(sweep, text):
    data = read_data(text)
    detail = data["details"][sweep[1][-1].id]
    path, shape, algorithm, _, size, dense, written, nonzeros, error = detail["weights"][0]
    strings = data["strings"]
    assert (strings[path], strings[shape]) == ("dense/kernel", "30x30")
    assert strings[algorithm] == "quantization(bits=4)"
    assert (size, dense, written, nonzeros, error) == (900, 3600, 900, 900, 0.125)
    assert detail["curves"] == {
        "accuracy": {"train": [[10, 20, 30], [0.25, 0.5, 0.75]], "validation": [[10], [0.5]]},
        "bits per weight": {"train": [[10, 20, 30], [8, 6, 4]]},
    }


def test_long_curves_are_thinned_and_keep_their_end(tmp_path, sweep):
    folder, trials = sweep
    copied = shutil.copytree(folder / trials[0].id, tmp_path / trials[0].id)
    shutil.rmtree(copied / "train")
    write_curve(copied / "train", "accuracy", [n / 1000 for n in range(1000)])
    read = details.read(tmp_path, [trials[0].id], details.Strings())
    steps, values = read[trials[0].id]["curves"]["accuracy"]["train"]
    assert 50 <= len(steps) <= 100
    assert (steps[-1], values[-1]) == (10_000, 0.999)


def test_the_front_comes_first_where_not_all_have_details(sweep, monkeypatch):
    folder, _ = sweep
    monkeypatch.setattr(html, "MAX_DETAILED", 3)
    monkeypatch.setattr(html, "ROWS_PER_PAGE", 5)
    rows = table.read(folder)
    text = html.page(folder, rows)
    data = read_data(text)
    points = summary.points(rows)
    assert list(data["details"]) == list(points.loc[points["on_front"], "id"])[:3]
    assert set(re.findall(r'<a href="#(\w+)" aria-label', text)) == set(data["details"])
    assert len(re.findall(r'<tr id="', text)) == 5
    assert "These are the first 5 trials; all are in results.csv." in text


def test_a_sweep_without_results_has_a_page(tmp_path):
    trials = plan(write_files(tmp_path))
    save_table(tmp_path / "runs", trials)
    report.write(tmp_path / "runs")
    text = (tmp_path / "runs" / "report.html").read_text()
    assert "No compression trial is done yet." in text
    assert text.count("<td>pending</td>") == 10


def test_a_sweep_without_baselines_has_a_page(tmp_path):
    sweep_file = write_files(tmp_path)
    lines = sweep_file.read_text().splitlines()
    sweep_file.write_text("\n".join(line for line in lines if "Sweep.baseline" not in line))
    trials, folder = plan(sweep_file), tmp_path / "runs"
    save_table(folder, trials)
    for trial in trials:
        content = result(trial.seed, trial.axes.get("RATE"), False)
        (folder / trial.id / "result.json").write_text(json.dumps(content))
    report.write(folder)
    text = (folder / "report.html").read_text()
    assert "No dense baseline to compare with: small." in text
    assert "No file is within 1 point of the dense baseline." in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_ticks_keep_their_digits_and_places_lose_theirs():
    points = pd.DataFrame(
        {
            "arch": "small",
            "algorithm": "pruning",
            "id": ["a", "b"],
            "ratio_mean": [2.0, 4.0],
            "relative_metric_mean": [0.99987, 0.99991],
            "relative_metric_std": [None, None],
        }
    )
    drawn = charts.ratio_against_relative(points, {"pruning": plot.Look("#0072b2", "o")}, {})
    ticks = re.findall(r">(\d+\.\d+)</text>", drawn)
    assert {"99.988", "99.990"} <= set(ticks)
    assert not re.search(r"\.\d{3}[^<>]*>", drawn)


def test_the_page_is_made_without_tensorflow(sweep):
    code = f"""
import pathlib, sys
from launch.report import html, table
folder = pathlib.Path({str(sweep[0])!r})
assert "kwc/" not in html.page(folder, table.read(folder))
sys.exit("tensorflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
