"""The `kwc benchmark` command: real processes on a tiny model; what is timed is not looked at."""

import csv
import functools
import json
import shutil

import model_garden
import numpy as np
import pytest
from test_trial import STEPS, run

import kwc
from experiments import trial
from kwc.exports import candidates, measure
from launch import benchmark, cli
from launch.benchmark import rows

pytestmark = pytest.mark.usefixtures("as_new_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return model_garden.write_images(tmp_path_factory.mktemp("data")).parent


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a trial: 4-bit LeNet-300-100 on 8x8 images."""
    folder = tmp_path_factory.mktemp("runs") / "trial"
    run(folder, data, "quantization", trainer=model_garden.trainer(STEPS))
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(benchmark, "Bench", functools.partial(measure.Bench, pairs=1))
    monkeypatch.setattr(measure, "TURNS", 2)
    monkeypatch.setattr(measure, "TURN_SECONDS", 0.01)


def measured(capsys, *arguments):
    status = cli.main(["benchmark", *map(str, arguments)])
    return status, *capsys.readouterr()


def read(path):
    with open(path, newline="") as file:
        return {(row["to"], row["route"]): row for row in csv.DictReader(file)}


def evaluated(finished, capsys):
    assert cli.main(["evaluate", str(finished / "model.kwc"), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["metrics"]


def test_every_route_of_a_target_is_measured_and_evaluated(finished, capsys, tmp_path):
    before = sorted(finished.iterdir())
    file = finished / "model.kwc"
    status, output, errors = measured(
        capsys, file, "--to=tflite", f"--out={tmp_path}", "--examples=100000"
    )
    assert status == 0, errors
    table, image = tmp_path / "model.benchmark.csv", tmp_path / "model.benchmark.png"
    assert output.splitlines()[-2:] == [str(table), str(image)]
    assert image.read_bytes().startswith(b"\x89PNG")
    assert "refused  tflite sparse: " in output
    content = read(table)
    assert list(next(iter(content.values()))) == rows.COLUMNS
    accuracy = evaluated(finished, capsys)["accuracy"]
    for name in ("float32", "int8", "int4", "packed"):
        row = content["tflite", name]
        assert f"tflite {name}" in output
        assert row["metric"] == "accuracy"
        assert float(row["value"]) == pytest.approx(accuracy, abs=1e-6)
        assert float(row["p50_seconds"]) > 0
    assert float(content["tflite", "packed"]["nbytes_ratio"]) < 0.2
    assert content["tflite", "sparse"]["nbytes"] == ""
    assert content["tflite", "sparse"]["refused"]
    assert sorted(finished.iterdir()) == before


def test_named_routes_alone_are_measured(finished, data, capsys, tmp_path):
    alone = shutil.copy(finished / "model.kwc", tmp_path)
    files = next(data.rglob("*test*.tfrecord*"))
    status, _, errors = measured(
        capsys,
        alone,
        *("--route=keras", "--route=at_load", "--examples=1"),
        f"--data={files}",
        f"--config={finished / 'config.gin'}",
    )
    assert status == 0, errors
    content = read(tmp_path / "model.benchmark.csv")
    assert set(content) == {("keras", "keras"), ("saved_model", "at_load")}
    for row in content.values():
        assert float(row["load_seconds"]) > 0
        assert 0 < float(row["p50_seconds"]) <= float(row["p90_seconds"])
        assert 0 < float(row["peak_bytes"]) <= float(row["process_bytes"])
        assert float(row["zipped_bytes"]) > 0
    assert float(content["keras", "keras"]["nbytes_ratio"]) == 1


def test_what_computes_the_outputs_is_what_is_evaluated(finished):
    evaluation = trial.evaluation(finished / "config.gin", 1)
    model, _ = trial.model_and_inputs(finished / "config.gin", 1)
    kwc.load(finished / "model.kwc", into=model)
    examples = []

    def right(inputs):
        return {"outputs": model(inputs["inputs"], training=False).numpy()}

    def wrong(inputs):
        examples.append(len(inputs["inputs"]))
        return {"outputs": np.roll(right(inputs)["outputs"], 1, axis=-1)}

    metrics = evaluation.metrics(right)
    assert next(iter(metrics)) == "accuracy"
    assert evaluation.metrics(wrong)["accuracy"] < metrics["accuracy"]
    assert sum(examples) == len(evaluation.inputs)


def test_a_route_that_does_not_run_is_refused(finished, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(
        candidates, "prove", lambda source, route, path, placed: path.write_bytes(b"broken")
    )
    status, output, errors = measured(
        capsys, finished / "model.kwc", "--route=int8", f"--out={tmp_path}"
    )
    assert (status, output) == (1, "")
    assert "every route was refused: tflite int8: " in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--route=none", "int8 (to=tflite), int4 (to=tflite), sparse (to=tflite)"),
        ("--examples=0", "--examples must be 1 or more"),
        ("--data=nowhere/*", "matches no file"),
    ],
)
def test_what_cannot_be_measured_is_refused(finished, capsys, option, message):
    status, output, errors = measured(capsys, finished / "model.kwc", option)
    assert (status, output) == (1, "")
    assert errors.splitlines()[-1].startswith("kwc: error: ")
    assert message in errors.splitlines()[-1]


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["benchmark", "--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    assert "kwc benchmark model.kwc --to=tflite" in output
    assert "model.benchmark.csv" in output
