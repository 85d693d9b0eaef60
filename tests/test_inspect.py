"""The `kwc inspect` command."""

import csv
import io
import subprocess
import sys

import numpy as np
import pytest
from artifact_forge import forge_weight, small
from test_artifact_format import golden_weights

from kwc import algorithms, artifact
from kwc.algorithms import Pruning, Quantization
from kwc.compressor import WeightCompressor, WeightInfo
from launch import artifacts, cli
from launch.errors import LaunchError

LONG = "encoder/" + "a_rather_long_layer_name/" * 8 + "kernel[/red]"


@pytest.fixture
def path(tmp_path):
    quantized = {"levels": small(30, 40, dtype=np.int8) % 8, "scale": np.ones(40, np.float32)}
    mask = np.zeros((3, 4), bool)
    mask[0, 1] = True
    artifact.write(
        tmp_path / "m.kwc",
        [
            artifact.pack(Quantization(4), quantized, WeightInfo(LONG, (30, 40))),
            artifact.pack(
                Pruning(0.9), {"mask": mask, "weight": small(3, 4)}, WeightInfo("p", (3, 4))
            ),
            artifact.pack(None, {"weight": np.float32(1.5).reshape(())}, WeightInfo("s", ())),
        ],
    )
    return tmp_path / "m.kwc"


def inspect(capsys, *arguments):
    status = cli.main(["inspect", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.fixture
def of_mine(tmp_path, monkeypatch):
    """An artifact whose algorithm a module registers that nothing has imported."""
    (tmp_path / "of_mine.py").write_text(
        "import dataclasses\nfrom kwc import WeightCompressor, algorithms\n\n"
        "@algorithms.register\n@dataclasses.dataclass(frozen=True)\n"
        "class OfMine(WeightCompressor):\n    width: int = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(algorithms, "_registry", {**algorithms._registry})
    path = tmp_path / "m.kwc"
    info = WeightInfo("w", (2,))
    named = type("Named", (WeightCompressor,), {"name": "of_mine"})()
    artifact.write(path, [artifact.pack(named, {"weight": small(2)}, info)])
    yield path
    sys.modules.pop("of_mine", None)


def test_a_module_with_an_algorithm_is_imported(of_mine, capsys):
    assert "--import=MODULE" in inspect(capsys, of_mine)[2]
    status, output, _ = inspect(capsys, of_mine, "--import=of_mine")
    assert status == 0
    assert "of_mine(width=3)" in output
    assert "No module named 'of_yours'" in inspect(capsys, of_mine, "--import=of_yours")[2]


def test_commands_that_read_a_config_import_what_it_imports(of_mine):
    config = of_mine.with_name("config.gin")
    config.write_text("from __gin__ import dynamic_registration\n\nimport nonesuch\n")
    with pytest.raises(LaunchError, match="No algorithm is called 'of_mine'"):
        artifacts.config_of(of_mine, None)
    config.write_text("from __gin__ import dynamic_registration\n\nimport of_mine\n")
    assert artifacts.config_of(of_mine, None) == config


def test_the_table_shows_each_weight_and_the_totals(path, capsys):
    status, output, errors = inspect(capsys, path)
    assert (status, errors) == (0, "")
    rows = [[c.strip() for c in line.split("│")[1:-1]] for line in output.splitlines()]
    content = artifact.read(path)
    written = sum(content.weights[LONG].nbytes.values())
    bits = f"{8 * written / 1200:.2f}"
    assert [LONG, "30x40", "quantization(bits=4)", "4,800", f"{written:,}", bits] in rows
    assert "scalar" in output
    sizes = content.sizes
    assert (
        f"file     {sizes.file_bytes:,} bytes: payload {sizes.payload_bytes:,}, "
        f"header {sizes.header_bytes:,}\n"
    ) in output
    assert f"dense    4,852 bytes: {4852 / sizes.file_bytes:.2f} times the file\n" in output
    assert f"weights  1,213: {8 * sizes.file_bytes / 1213:.3f} bits each" in output
    assert "nonzero" not in output


def test_columns_that_a_file_says_nothing_about_are_left_out(path, capsys):
    output = inspect(capsys, path)[1]
    assert "error" not in output
    assert "because" not in output


def test_decode_counts_what_is_not_zero(path, capsys):
    output = inspect(capsys, path, "--decode")[1]
    assert output.endswith(f"nonzero  {1050 + 1 + 1:,}: {1052 / 1213:.2%}\n")


def test_csv_has_one_line_a_weight(path, capsys):
    status, output, _ = inspect(capsys, path, "--csv")
    rows = list(csv.DictReader(io.StringIO(output)))
    assert status == 0
    assert [row["path"] for row in rows] == [LONG, "p", "s"]
    assert rows[0]["algorithm"] == "quantization(bits=4)"
    assert rows[0]["shape"] == "30x40"
    weights = artifact.read(path).weights
    assert [int(row["bytes"]) for row in rows] == [sum(w.nbytes.values()) for w in weights.values()]
    assert [row["dense_bytes"] for row in rows] == ["4800", "48", "4"]
    assert float(rows[2]["bits_per_weight"]) == 8 * int(rows[2]["bytes"])


@pytest.mark.parametrize("name", golden_weights())
def test_every_golden_file_can_be_inspected(name, tmp_path, capsys):
    path = tmp_path / "golden.kwc"
    artifact.write(path, golden_weights()[name])
    for options in ([], ["--csv"], ["--decode"]):
        assert inspect(capsys, path, *options)[0] == 0


def test_a_file_without_weights_can_be_inspected(tmp_path, capsys):
    artifact.write(tmp_path / "m.kwc", [])
    for options in ([], ["--csv"], ["--decode"]):
        assert inspect(capsys, tmp_path / "m.kwc", *options)[0] == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text", "is no kwc artifact"),
        (b"", "is empty"),
        (b"kwc\1", "is damaged"),
        (forge_weight(["nonesuch", {}], {}), "No algorithm is called 'nonesuch'"),
    ],
)
def test_errors_are_one_clear_line(data, message, tmp_path, capsys):
    path = tmp_path / "bad.kwc"
    path.write_bytes(data)
    status, output, errors = inspect(capsys, path)
    assert (status, output) == (1, "")
    assert errors.startswith(f"kwc: error: {path} ")
    assert message in errors
    assert errors.count("\n") == 1


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path, capsys):
    missing = tmp_path / "missing.kwc"
    assert inspect(capsys, missing) == (
        1,
        "",
        f"kwc: error: {missing} cannot be read: No such file or directory\n",
    )
    assert "Is a directory" in inspect(capsys, tmp_path)[2]


def test_what_does_not_decode_is_an_error_with_decode(tmp_path, capsys):
    path = tmp_path / "m.kwc"
    path.write_bytes(forge_weight(["lossless", {}], {"other": small(3, 4)}))
    assert inspect(capsys, path)[0] == 0
    status, _, errors = inspect(capsys, path, "--decode")
    assert status == 1
    assert "the arrays of w (other) are not those of lossless" in errors


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["inspect", "--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    assert "kwc inspect model.kwc --csv > model.csv" in output
    assert "TensorFlow" in output


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_tensorflow_is_not_imported(path):
    code = """
import sys
from launch import cli
for option in ([], ["--csv"], ["--decode"]):
    assert cli.main(["inspect", sys.argv[1], *option]) == 0
heavy = {"tensorflow", "tf_keras", "pandas", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run(code, path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", [[], ["--csv"]])
def test_a_pipe_that_closes_early_is_no_error(path, option):
    code = """
import os, sys
from launch import cli
read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
status = cli.main(["inspect", *sys.argv[1:]])
sys.exit(status)
"""
    done = run(code, path, *option)
    assert done.stderr == ""
    assert done.returncode == 1
