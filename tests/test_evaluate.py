"""The `kwc evaluate` command."""

import json
import pathlib
import shutil

import model_garden
import pytest
from artifact_forge import small
from test_trial import STEPS, run, write_config

from kwc import artifact
from kwc.compressor import WeightInfo
from launch import cli


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return model_garden.write_images(tmp_path_factory.mktemp("data")).parent


@pytest.fixture(scope="module")
def trial(data, tmp_path_factory):
    """What is kept of a finished trial: artifact and config, without the dense trial."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder / "dense", data, trainer=model_garden.trainer(STEPS, checkpoint_interval=STEPS))
    content = run(folder / "trial", data, "quantization", dense="../dense")
    kept = folder / "kept"
    kept.mkdir()
    for name in ("model.kwc", "config.gin"):
        shutil.copy(folder / "trial" / name, kept)
    shutil.rmtree(folder / "dense")
    return kept / "model.kwc", content


def evaluate(capsys, *arguments):
    status = cli.main(["evaluate", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.mark.usefixtures("as_new_process")
def test_a_trial_s_accuracy_is_reproduced_from_artifact_and_config_alone(trial, capsys):
    path, content = trial
    before = sorted(path.parent.iterdir())
    status, output, _ = evaluate(capsys, path, "--json")
    assert status == 0
    shown = json.loads(output)
    assert shown["split"] == "test"
    assert shown["metrics"] == content["metrics"]["artifact"]
    assert next(iter(shown["metrics"])) == content["primary_metric"]
    assert shown["sizes"] == {key: content["sizes"][key] for key in ("file_bytes", "dense_bytes")}
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.usefixtures("as_new_process")
def test_the_table_shows_metrics_and_sizes(trial, data, capsys, tmp_path):
    path, content = trial
    alone = shutil.copy(path, tmp_path)
    config = path.with_name("config.gin")
    status, output, _ = evaluate(capsys, alone, f"--config={config}")
    assert status == 0
    accuracy, sizes = content["metrics"]["artifact"]["accuracy"], content["sizes"]
    assert "test data" in output
    row = next(line for line in output.splitlines() if "accuracy" in line)
    assert f"{accuracy:.4f}" in row
    ratio = sizes["dense_bytes"] / sizes["file_bytes"]
    assert f"file     {sizes['file_bytes']:,} bytes\n" in output
    assert f"dense    {sizes['dense_bytes']:,} bytes: {ratio:.2f} times the file\n" in output


def refused(capsys, message, *arguments):
    status, output, errors = evaluate(capsys, *arguments)
    assert (status, output) == (1, "")
    assert errors.splitlines()[-1].startswith("kwc: error: ")
    assert message in errors.splitlines()[-1]


def test_a_missing_config_is_named(trial, capsys, tmp_path):
    alone = pathlib.Path(shutil.copy(trial[0], tmp_path))
    refused(capsys, f"There is no {tmp_path}/config.gin", alone)
    refused(capsys, "Pass the gin file of its trial as --config", alone)


def test_what_is_no_artifact_is_refused(trial, capsys, tmp_path):
    refused(capsys, "is no kwc artifact", trial[0].with_name("config.gin"))
    refused(capsys, "No such file", tmp_path / "none.kwc")


@pytest.mark.usefixtures("as_new_process")
def test_a_config_of_another_model_is_refused(trial, data, capsys, tmp_path):
    config = write_config(tmp_path, data, name="lenet5_mnist", task={})
    refused(capsys, "is for another model", trial[0], f"--config={config}")
    refused(capsys, "config.gin describes the model", trial[0], f"--config={config}")


@pytest.mark.usefixtures("as_new_process")
def test_data_that_is_not_prepared_is_named_with_the_command(trial, capsys, tmp_path):
    config = write_config(tmp_path, tmp_path / "nowhere")
    message = "digits is not prepared in"
    refused(capsys, message, trial[0], f"--config={config}")
    refused(capsys, "experiments.prepare_data --dataset=digits", trial[0], f"--config={config}")


@pytest.mark.usefixtures("as_new_process")
def test_a_config_that_is_none_is_refused(trial, capsys, tmp_path):
    config = tmp_path / "config.gin"
    for text in ("nonsense", "import nowhere\n", "trial.Experiment.name = 'none'\n"):
        config.write_text(text)
        refused(capsys, "is not the config of a trial", trial[0], f"--config={config}")


def test_an_artifact_of_no_model_is_refused(trial, capsys, tmp_path):
    packed = artifact.pack(None, {"weight": small(3, 4)}, WeightInfo("w", (3, 4)))
    artifact.write(tmp_path / "m.kwc", [packed])
    config = trial[0].with_name("config.gin")
    refused(capsys, "is for another model", tmp_path / "m.kwc", f"--config={config}")


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["evaluate", "--help"])
    assert exit_.value.code == 0
    assert "experiments.prepare_data --dataset=fashion_mnist" in capsys.readouterr().out
