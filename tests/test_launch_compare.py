"""`kwc compare`: artifacts weight by weight, sweeps point by point, and the gates."""

import json
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from artifact_forge import small
from launch_fakes import plan, result, run_trial, write_files

from kwc import artifact
from kwc.algorithms import Quantization
from kwc.compressor import WeightInfo
from launch import cli, report
from launch.comparison import points
from launch.comparison.weights import relative_error
from launch.trials import save_table


@pytest.fixture
def kwc(capsys):
    """Runs `kwc compare`; returns status, output and errors."""

    def run(*arguments):
        status = cli.main(["compare", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def write(path, kernel, bias=(1.0, 2.0), extra=()):
    """An artifact of a quantized kernel of two weights, step 1, and a bias."""
    path.parent.mkdir(exist_ok=True)
    levels = {"levels": np.array(kernel, np.int8), "scale": np.ones(1, np.float32)}
    return artifact.write(
        path,
        [
            artifact.pack(Quantization(4), levels, WeightInfo("dense/kernel", (2, 1))),
            artifact.pack(None, {"weight": np.array(bias, np.float32)}, WeightInfo("b", (2,))),
            *extra,
        ],
    )


def finish(folder, accuracy, kernel):
    """A trial's folder: an artifact, and the result that tells its accuracy."""
    written = write(folder / "model.kwc", kernel)
    content = result(0, 4, False)
    content["metrics"]["artifact"] = {"accuracy": accuracy}
    content["sizes"]["file_bytes"] = written.sizes.file_bytes
    (folder / "result.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def a(tmp_path):
    return finish(tmp_path / "a", 0.97, [[3], [4]])


@pytest.fixture
def b(tmp_path):
    return finish(tmp_path / "b", 0.96, [[3], [3]])


def cells(output):
    return [line.split() for line in output.splitlines()]


def test_weights_side_by_side(kwc, a, b, tmp_path):
    extra = [artifact.pack(None, {"weight": small(3, 4)}, WeightInfo("new", (3, 4)))]
    write(b / "model.kwc", [[3], [3]], extra=extra)
    status, output, errors = kwc(a / "model.kwc", b / "model.kwc")
    assert (status, errors) == (0, "")
    sizes = [
        [sum(w.nbytes.values()) for w in artifact.read(folder / "model.kwc").weights.values()]
        for folder in (a, b)
    ]
    kernel = ["dense/kernel", "quantization(bits=4)", str(sizes[0][0]), str(sizes[1][0])]
    rows = cells(output)
    # The kernel moves from (3, 4) to (3, 3): 1 / 5.
    assert [*kernel, f"{100 * (sizes[1][0] / sizes[0][0] - 1):+z.1f}", "%", "2.00e-01"] in rows
    assert ["b", "lossless", "8", "8", "+0.0", "%", "0.00e+00"] in rows
    assert ["new", "not", "in", "A", "→", "lossless", str(sizes[1][2])] in rows
    length = [(folder / "model.kwc").stat().st_size for folder in (a, b)]
    assert f"file     {length[0]} → {length[1]} bytes" in output
    zipped = [len(zlib.compress((f / "model.kwc").read_bytes(), 9)) for f in (a, b)]
    assert f"zipped   {zipped[0]} → {zipped[1]} bytes" in output
    assert "accuracy unknown: " in output


def test_trial_folders_know_their_accuracy(kwc, a, b):
    status, output, _ = kwc(a, b)
    assert status == 0
    assert "accuracy 97.00 % → 96.00 %  -1.00 points" in output


def test_another_shape_has_no_error(kwc, a, tmp_path):
    packed = artifact.pack(None, {"weight": small(3, 1)}, WeightInfo("dense/kernel", (3, 1)))
    artifact.write(tmp_path / "c.kwc", [packed])
    _, output, _ = kwc(a, tmp_path / "c.kwc")
    row = next(row for row in cells(output) if row[:1] == ["dense/kernel"])
    assert row[1:4] == ["quantization(bits=4)", "→", "lossless"]
    assert row[-1] == "%"
    assert ["b", "lossless", "→", "not", "in", "B", "8"] in cells(output)


def test_relative_error():
    assert relative_error(np.array([3.0, 4.0]), np.array([3.0, 3.0])) == 0.2
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
    assert relative_error(np.zeros(2), np.ones(2)) == float("inf")
    assert relative_error(np.zeros(0), np.zeros(0)) == 0


def test_gates_hold_for_the_candidate(kwc, a, b):
    size = (b / "model.kwc").stat().st_size
    status, output, _ = kwc(a, b, "--min-accuracy=0.96", f"--max-bytes={size}")
    assert status == 0
    assert f"pass     accuracy 96.00 % is at least 96.00 %: {b / 'model.kwc'}" in output
    status, output, _ = kwc(a, b, "--min-accuracy=0.965", f"--max-bytes={size - 1}")
    assert status == 3
    assert "FAIL     accuracy 96.00 % is below 96.50 %" in output
    assert f"FAIL     file {size} bytes is over {size - 1} bytes" in output


def test_a_float32_metric_passes_the_gate_it_was_rounded_from(kwc, tmp_path):
    folder = finish(tmp_path / "c", float(np.float32(0.96)), [[1], [2]])
    assert float(np.float32(0.96)) < 0.96
    assert kwc(folder, "--min-accuracy=0.96")[0] == 0


def test_one_artifact_is_a_gate_alone(kwc, tmp_path):
    written = write(tmp_path / "c" / "m.kwc", [[1], [2]])
    assert kwc("--max-bytes", 9000, tmp_path / "c" / "m.kwc")[0] == 0
    ratio = 16 / written.sizes.file_bytes
    status, output, _ = kwc("--min-ratio", 1, tmp_path / "c" / "m.kwc")
    assert (status, output) == (3, f"FAIL     ratio {ratio:.2f} is below 1: {tmp_path}/c/m.kwc\n")


def test_json_of_artifacts(kwc, a, b):
    status, output, _ = kwc(a, b, "--json", "--max-bytes=1")
    content = json.loads(output)
    assert status == 3
    assert [file["accuracy"] for file in content["files"]] == [0.97, 0.96]
    assert content["weights"][0]["path"] == "dense/kernel"
    assert content["weights"][0]["error"] == pytest.approx(0.2)
    (gate,) = content["gates"]
    assert (gate["gate"], gate["limit"], gate["passed"]) == ("max_bytes", 1, False)


def test_json_writes_no_infinity(kwc, tmp_path):
    paths = [tmp_path / name / "m.kwc" for name in "ab"]
    for path, kernel in zip(paths, ([[0], [0]], [[1], [1]]), strict=True):
        write(path, kernel)
    assert json.loads(kwc(*paths, "--json")[1])["weights"][0]["error"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "result.json").unlink(), "no result.json beside"),
        (lambda folder: (folder / "result.json").write_text("{"), "is damaged"),
        (
            lambda folder: write(
                folder / "model.kwc",
                [[3], [3]],
                (1, 1),
                [artifact.pack(None, {"weight": small(3, 4)}, WeightInfo("new", (3, 4)))],
            ),
            "is not about model.kwc, or about another version of it",
        ),
    ],
)
def test_a_gate_on_an_unknown_accuracy_is_an_error_with_the_reason(kwc, b, change, reason):
    change(b)
    status, _, errors = kwc(b / "model.kwc", "--min-accuracy=0.9")
    assert status == 1
    assert errors.startswith("kwc: error: --min-accuracy: ")
    assert reason in errors


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A finished sweep of the fakes: 0.905 - 0.1 / RATE at 125 x RATE bytes, over two seeds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    sweep_file = write_files(tmp_path)
    folder = tmp_path / "runs" / "tiny"
    trials = plan(sweep_file)
    save_table(folder, trials)
    for trial in trials:
        run_trial(folder / trial.id / "config.gin", folder / trial.id)
    report.write_tables(folder)
    return folder


def other(sweep, changes):
    """A copy of a sweep with other accuracies and bytes: {rate: (accuracy by seed, bytes)}."""
    folder = sweep.parent / "other"
    shutil.copytree(sweep, folder)
    for path in folder.glob("*/trial.json"):
        trial = json.loads(path.read_text())
        if trial["axes"].get("RATE") in changes:
            accuracies, size = changes[trial["axes"]["RATE"]]
            content = json.loads((path.parent / "result.json").read_text())
            content["metrics"]["artifact"] = {"accuracy": accuracies[trial["seed"]]}
            content["sizes"]["file_bytes"] = size
            (path.parent / "result.json").write_text(json.dumps(content))
    report.write_tables(folder)
    return folder


def test_points_side_by_side(kwc, sweep):
    # Rate 4: 0.88 +- 0.0071 at 500 bytes becomes 0.89 at 400; the standard error is 0.5 points.
    status, output, _ = kwc(sweep, other(sweep, {4: ((0.89, 0.89), 400)}))
    rows = cells(output)
    assert status == 0
    accuracy = ["88.00", "%", "±", "0.71", "89.00", "%", "±", "0.00", "+1.00"]
    sizes = ["500", "400", "-20.0", "%", "8.00", "10.00"]
    assert ["small", "quantization", "4", *accuracy, *sizes] in rows
    # One seed's trial at each rate differs by nothing else.
    unchanged = next(row for row in rows if row[:3] == ["small", "quantization", "8"])
    assert "+0.00" in unchanged
    assert "within" in unchanged
    assert "small: at the accuracies of A's front, B is smaller at 1, as large at 3: " in output


def test_a_change_below_its_standard_error_is_called_noise(kwc, sweep):
    _, output, _ = kwc(sweep, other(sweep, {4: ((0.873, 0.881), 500)}))
    # Standard deviations of 0.71 and 0.57 points over two seeds each: 0.64.
    row = next(line for line in output.splitlines() if " 4  " in line)
    assert "-0.30   within noise (0.64)" in row


def test_points_of_one_sweep_are_listed(kwc, sweep, tmp_path):
    sweep_file = tmp_path / "sweep.gin"
    sweep_file.write_text(sweep_file.read_text().replace("[2, 4, 8]", "[4, 8, 16]"))
    grown = sweep.parent / "grown"
    shutil.copytree(sweep, grown)
    trials = plan(sweep_file)
    save_table(grown, trials)
    for trial in trials:
        run_trial(grown / trial.id / "config.gin", grown / trial.id)
    _, output, _ = kwc(sweep, grown)
    assert next(row for row in cells(output) if row[2:3] == ["2"])[-5:-2] == ["not", "in", "B"]
    assert [row[2] for row in cells(output) if "quantization" in row] == ["2", "4", "8", "16"]
    assert sum("not in A" in line for line in output.splitlines()) == 1


def frame(*measured):
    """Points of one architecture from (accuracy, bytes)."""
    accuracy, size = zip(*measured, strict=True)
    on_front = [
        not any(o[0] >= m[0] and o[1] <= m[1] and o != m for o in measured) for m in measured
    ]
    return pd.DataFrame(
        {"artifact_metric_mean": accuracy, "file_bytes_mean": size, "on_front": on_front}
    )


def test_bytes_at_equal_accuracy():
    """Four points of A by hand: (0.85, 300) is beaten, the other three are the front."""
    a = frame((0.80, 100), (0.90, 200), (0.85, 300), (0.95, 400))
    b = frame((0.82, 120), (0.92, 150), (0.70, 10))
    assert points.equal_accuracy(a, b) == [
        points.Level(0.80, 100, 120),
        points.Level(0.90, 200, 150),
        points.Level(0.95, 400, None),
    ]


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl", "results.parquet"])
def test_a_table_compares_like_the_folder_it_was_written_from(kwc, sweep, name):
    assert kwc(sweep / name, sweep)[1].split("\n", 2)[2] == kwc(sweep, sweep)[1].split("\n", 2)[2]


def test_a_sweep_file_names_its_folder(kwc, sweep):
    status, output, _ = kwc("sweep.gin", sweep / "results.csv")
    assert status == 0
    assert output.startswith("A        runs/tiny\n")


def test_a_sweep_passes_when_each_architecture_has_a_point_that_keeps_all_gates(kwc, sweep):
    status, output, _ = kwc(sweep, "--min-accuracy=0.88", "--max-bytes=500")
    assert (status, output) == (
        0,
        "pass     accuracy 88.00 % is at least 88.00 %: small quantization 4\n"
        "pass     file 500 bytes is within 500 bytes: small quantization 4\n",
    )
    status, output, _ = kwc(sweep, "--min-accuracy=0.89", "--max-bytes=500")
    assert status == 3
    assert "FAIL     file 1,000 bytes is over 500 bytes: small quantization 8" in output
    status, output, _ = kwc(sweep, "--min-accuracy=0.95")
    assert status == 3
    assert "accuracy 90.50 % is below 95.00 %: small lossless" in output


def test_json_of_sweeps(kwc, sweep):
    status, output, _ = kwc(sweep, sweep / "results.csv", "--json", "--min-ratio=16")
    content = json.loads(output)
    assert status == 0
    assert [point["rate"] for point in content["points"]] == ["", "2", "4", "8"]
    assert content["points"][1]["change_points"] == 0
    assert len(content["equal_accuracy"]["small"]) == 4
    assert content["gates"][0]["value"] == 16


def test_other_data_is_a_caution(kwc, sweep):
    changed = sweep.parent / "changed.csv"
    rows = pd.read_csv(sweep / "results.csv", dtype={"id": str})
    rows.assign(data_checksum="1").to_csv(sweep / "one.csv", index=False)
    rows.assign(data_checksum="2").to_csv(changed, index=False)
    assert (
        "caution: A and B were measured on different data: 1 / 2"
        in kwc(sweep / "one.csv", changed)[1]
    )
    assert "caution: " not in kwc(changed, changed)[1]


def test_what_cannot_be_compared_is_one_clear_error(kwc, sweep, a, tmp_path):
    kwc_file = a / "model.kwc"
    dense = next(p.parent for p in sweep.glob("*/trial.json") if 'baseline",' in p.read_text())
    bare = tmp_path / "bare.csv"
    bare.write_text("a,b\n1,2\n")
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([kwc_file], "nothing to do: name two to compare, or set a gate such as --max-bytes"),
        ([kwc_file, sweep], "is an artifact and"),
        ([tmp_path / "none", kwc_file], "is not there"),
        ([tmp_path / "empty", sweep], "is no finished trial and no sweep"),
        ([dense, a], "is a dense trial: it has no artifact to compare"),
        ([bare, sweep], "is not a table that `kwc sweep report` wrote"),
        ([tmp_path / "sweep.gin", kwc_file], "is no kwc artifact"),
        ([kwc_file, "--min-accuracy=96"], "write a fraction, such as 0.96 for 96 %"),
        ([kwc_file, "--max-bytes=0"], "give it a number above zero"),
        ([kwc_file, "--min-ratio=-1"], "give it a number above zero"),
    ]:
        if "no kwc artifact" in message:
            (tmp_path / "text.kwc").write_text("text")
            arguments = [tmp_path / "text.kwc", kwc_file]
        status, output, errors = kwc(*arguments)
        assert (status, output) == (1, "")
        assert message in errors
        assert errors.count("\n") == 1


def test_a_sweep_without_a_finished_trial_is_an_error(kwc, sweep):
    for path in sweep.glob("*/result.json"):
        path.unlink()
    status, _, errors = kwc(sweep, "--max-bytes=1")
    assert status == 1
    assert "has no finished compression trial; `kwc sweep run` makes them" in errors


def test_help_teaches_the_exit_status(capsys):
    with pytest.raises(SystemExit):
        cli.main(["compare", "--help"])
    output = capsys.readouterr().out
    assert "3   a gate fails" in output
    assert "kwc compare old.kwc new.kwc" in output


def test_tensorflow_is_not_imported(a, b):
    code = """
import sys
from launch import cli
assert cli.main(["compare", *sys.argv[1:]]) == 0
heavy = {"tensorflow", "tf_keras", "pandas", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    arguments = [sys.executable, "-c", code, str(a), str(b)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
