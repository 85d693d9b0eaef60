"""The `kwc export` command."""

import re
import shutil

import model_garden
import numpy as np
import pytest
import tensorflow as tf
from test_trial import STEPS, run

import kwc
from experiments import trial
from kwc.exports import ExportError, measure, routes, tflite
from launch import cli


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return model_garden.write_images(tmp_path_factory.mktemp("data")).parent


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a trial: 4-bit LeNet-300-100 on 8x8 images."""
    folder = tmp_path_factory.mktemp("runs") / "trial"
    run(folder, data, "quantization", trainer=model_garden.trainer(STEPS))
    return folder


def export(capsys, *arguments):
    # A measurement starts two processes; one test is of it.
    status = cli.main(["export", "--no-measure", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.mark.usefixtures("as_new_process")
def test_an_artifact_becomes_a_tflite_file_by_the_config_beside_it(finished, capsys, tmp_path):
    out = tmp_path / "model.tflite"
    status, output, errors = export(
        capsys, finished / "model.kwc", "--to=tflite", f"--out={out}", "--route=float32"
    )
    assert status == 0, errors
    assert "route    float32, outputs within" in output
    assert f"written  {out.stat().st_size:,} bytes" in output
    assert output.splitlines()[-1] == str(out)
    runner = tflite.litert.Interpreter(str(out)).get_signature_runner()
    model, inputs = trial.model_and_inputs(finished / "config.gin", 8)
    assert runner(inputs=inputs)["outputs"].shape == model(inputs, training=False).shape


@pytest.mark.usefixtures("as_new_process")
def test_a_file_is_measured_beside_the_dense_export(finished, capsys, tmp_path):
    out = tmp_path / "model.tflite"
    status, output, errors = export(
        capsys, finished / "model.kwc", "--to=tflite", "--route=int8", f"--out={out}", "--measure"
    )
    assert status == 0, errors
    assert out.is_file() and list(tmp_path.iterdir()) == [out]
    heads, row = (re.split("[│┃]", line)[1:-1] for line in output.splitlines()[1:4:2])
    shown = dict(zip(map(str.strip, heads), map(str.strip, row), strict=True))
    assert "refused because" not in shown
    assert shown["route"] == "int8"
    assert int(shown["bytes"].replace(",", "")) == out.stat().st_size
    assert float(shown["latency ms"]) > 0 and float(shown["/ dense"]) > 0


@pytest.mark.usefixtures("as_new_process")
def test_a_file_that_does_not_run_elsewhere_is_not_written(finished, tmp_path, monkeypatch):
    def fails(*_):
        raise ExportError("model.tflite does not run in a process of its own: it ended with 1")

    monkeypatch.setattr(measure.Bench, "measure", fails)
    model, inputs = trial.model_and_inputs(finished / "config.gin", 8)
    with pytest.raises(ExportError, match=r"Nothing was written.*process of its own"):
        kwc.export(
            finished / "model.kwc",
            model,
            tmp_path / "model.tflite",
            to="tflite",
            inputs=inputs,
            measure=True,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("as_new_process")
def test_inputs_are_those_of_the_test_split(finished, data):
    _, inputs = trial.model_and_inputs(finished / "config.gin", 3)
    assert inputs.shape == (3, 8, 8, 3)
    assert inputs.dtype == np.float32
    assert np.ptp(inputs) > 0


@pytest.mark.usefixtures("as_new_process")
def test_a_saved_model_serves_what_the_tasks_own_export_does(finished, capsys, tmp_path):
    out = tmp_path / "served"
    status, _, errors = export(capsys, finished / "model.kwc", "--to=saved_model", f"--out={out}")
    assert status == 0, errors
    signature = tf.saved_model.load(out).signatures["serving_default"]
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3)).astype(np.uint8)
    outputs = signature(inputs=tf.constant(images))
    assert {name: value.shape for name, value in outputs.items()} == dict.fromkeys(
        ("logits", "probs"), (3, 10)
    )
    np.testing.assert_allclose(np.sum(outputs["probs"], axis=1), 1, rtol=1e-5)


@pytest.mark.usefixtures("as_new_process")
def test_a_saved_model_serves_the_model_itself_if_asked(finished, capsys, tmp_path):
    out = tmp_path / "served"
    status, _, errors = export(
        capsys, finished / "model.kwc", "--to=saved_model", "--signature=model", f"--out={out}"
    )
    assert status == 0, errors
    signature = tf.saved_model.load(out).signatures["serving_default"]
    assert signature(inputs=tf.ones([2, 8, 8, 3]))["outputs"].shape == (2, 10)


def refused(capsys, message, *arguments):
    status, output, errors = export(capsys, *arguments)
    assert (status, output) == (1, "")
    assert errors.splitlines()[-1].startswith("kwc: error: ")
    assert message in errors.splitlines()[-1]


@pytest.mark.usefixtures("as_new_process")
def test_an_unknown_route_is_refused(finished, capsys, tmp_path):
    refused(
        capsys,
        "There is no route 'none' to tflite",
        finished / "model.kwc",
        "--to=tflite",
        "--route=none",
        f"--out={tmp_path / 'model.tflite'}",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("as_new_process")
def test_a_signature_that_the_task_does_not_have_is_refused(finished, capsys, tmp_path):
    refused(
        capsys,
        "Model Garden has no export of ImageClassificationTask with the signature serve, but with "
        "image_tensor, image_bytes, tf_example, tflite. Take the signature model",
        finished / "model.kwc",
        "--to=saved_model",
        "--signature=serve",
        f"--out={tmp_path / 'served'}",
    )


def test_a_signature_of_a_tflite_file_is_refused(finished, capsys, tmp_path):
    refused(
        capsys,
        "--signature=task is for --to=saved_model",
        finished / "model.kwc",
        "--to=tflite",
        "--signature=task",
        f"--out={tmp_path / 'model.tflite'}",
    )


def test_an_artifact_without_config_is_refused(finished, capsys, tmp_path):
    alone = shutil.copy(finished / "model.kwc", tmp_path)
    refused(capsys, "Pass the gin file", alone, "--to=tflite", f"--out={tmp_path}/m.tflite")


class _Task:
    """Calls its model as detection does, with more than the inputs."""

    def validation_step(self, batch, model, metrics):
        model(batch[0], anchor_boxes=3, training=False)


def test_a_task_that_gives_its_model_more_than_inputs_is_named():
    from models import dense

    from kwc import task as kwc_task
    from kwc.compressor import CompressionError

    with pytest.raises(CompressionError, match="more than its inputs: anchor_boxes"):
        kwc_task.inputs_of(_Task(), dense(), (tf.ones([2, 4]), tf.ones([2])))


class _ModelFree:
    """A task that computes without its model."""

    def validation_step(self, batch, model, metrics):
        return {}


def test_a_task_that_does_not_call_its_model_is_named():
    from models import dense

    from kwc import task as kwc_task
    from kwc.compressor import CompressionError

    with pytest.raises(CompressionError, match="_ModelFree does not call its model"):
        kwc_task.inputs_of(_ModelFree(), dense(), (tf.ones([2, 4]), tf.ones([2])))


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["export", "--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    assert "--to=tflite --route=int8 --out=model.tflite" in output
    for route in routes.registered():
        assert route.name in output
