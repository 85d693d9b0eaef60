"""Compression without training in Model Garden: statistics from the task's own training input."""

import gin
import model_garden
import pytest
import tf_keras
from official.core import task_factory
from test_task import BERT, VISION, configure, run

from experiments import runner
from kwc.compressor import CompressionError

pytestmark = [
    pytest.mark.usefixtures("as_new_process"),
    # The stock task passes the labels to the model.
    pytest.mark.filterwarnings("ignore:.*Input dict contained keys:UserWarning"),
]


@pytest.fixture(autouse=True)
def spec(as_new_process):
    gin.parse_config_files_and_bindings(
        [str(model_garden.SPECS / "rate_quantization.gin")],
        ["RATE = 1e-9", "task.CompressionTrainer.calibration = {'examples': 64}"],
    )


@pytest.mark.parametrize("strategy", ["one_device", "mirrored"])
def test_images(strategy, images, tmp_path):
    params = configure(VISION, model_garden.resnet(images), train_steps=0)
    params.override({"runtime": {"distribution_strategy": strategy}})
    content = run(params, runner.COMPRESS, tmp_path)
    rows = {row["path"]: row for row in content["weights"]}
    kernels = [row for path, row in rows.items() if path.endswith("kernel")]
    assert kernels and not any(row["uncalibrated"] for row in kernels)
    model_garden.assert_same_metrics(content)
    assert content["sizes"]["file_bytes"] < 0.7 * content["sizes"]["dense_bytes"]


def test_sentences(sentences, tmp_path):
    params = configure(BERT, model_garden.bert(sentences), train_steps=0)
    content = run(params, runner.COMPRESS, tmp_path)
    unknown = {row["path"] for row in content["weights"] if row["uncalibrated"]}
    assert {path for path in unknown if path.endswith(("kernel", "embeddings"))} == {
        "network/position_embedding_layer/position_embeddings"
    }
    model_garden.assert_same_metrics(content)


def test_a_validation_step_that_asks_for_more_than_training_data_has(
    sentences, tmp_path, monkeypatch
):
    params = configure(BERT, model_garden.bert(sentences), train_steps=0)
    task_class = type(task_factory.get_task(params.task))
    original = task_class.validation_step

    def asks_for_more(self, inputs, model, metrics):
        if metrics:
            return original(self, inputs, model, metrics)
        raise KeyError("unique_ids")

    artifacts = []
    for name in ("own", "asking"):
        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(0)
        run(params, runner.COMPRESS, tmp_path / name)
        artifacts.append((tmp_path / name / runner.ARTIFACT).read_bytes())
        monkeypatch.setattr(task_class, "validation_step", asks_for_more)
    assert artifacts[0] == artifacts[1]


def test_the_seed_of_the_input_decides_the_bytes(images, tmp_path):
    def written(name, seed):
        task = model_garden.resnet(images)
        task["train_data"]["seed"] = seed
        tf_keras.backend.clear_session()
        tf_keras.utils.set_random_seed(0)
        run(configure(VISION, task, train_steps=0), runner.COMPRESS, tmp_path / name)
        return (tmp_path / name / runner.ARTIFACT).read_bytes()

    first = written("first", 1)
    assert written("again", 1) == first
    assert written("other", 2) != first


def test_training_data_that_is_not_there_is_named(images, tmp_path):
    task = model_garden.resnet(images)
    task["train_data"]["input_path"] = str(tmp_path / "nowhere.tfrecord")
    with pytest.raises(CompressionError, match=r"statistics .* task\.train_data, which cannot be"):
        run(configure(VISION, task, train_steps=0), runner.COMPRESS, tmp_path)
