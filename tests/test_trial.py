"""One trial from one gin text: what it measures, how it starts, and that it repeats itself."""

import functools
import json
import os
import shutil
import zlib

import gin
import model_garden
import numpy as np
import pytest
import tensorflow as tf
from official.core import task_factory

import kwc
from experiments import data as prepared_data
from experiments import events, runner, threads, trial
from kwc.compressor import CompressionError
from kwc.spec import SpecError
from launch import gin_merge

STEPS = 4


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The folder of prepared data sets; only `digits` is in it."""
    return model_garden.write_images(tmp_path_factory.mktemp("data")).parent


@pytest.fixture(scope="session")
def dense(data, tmp_path_factory):
    """The folder of a dense trial."""
    folder = tmp_path_factory.mktemp("dense") / "trial"
    run(folder, data, trainer=model_garden.trainer(40, checkpoint_interval=40))
    return folder


def write_config(folder, data_dir, spec=None, **fields):
    """Writes the config.gin of a LeNet-300-100 on 8x8 images, as a sweep would."""
    fields = {
        "name": "lenet_300_100_mnist",
        "data": "digits",
        "data_dir": str(data_dir),
        "task": {"model": {"input_size": [8, 8, 3]}},
        "trainer": model_garden.trainer(STEPS),
    } | fields
    bindings = "".join(f"trial.Experiment.{key} = {value!r}\n" for key, value in fields.items())
    sources = [f"from experiments import trial\n{bindings}"]
    if spec is not None:
        rate = model_garden.RATES[spec]
        sources += [(model_garden.SPECS / f"{spec}.gin").read_text(), f"RATE = {rate}"]
    config = gin_merge.merge(gin_merge.Source(f"<{n}>", text) for n, text in enumerate(sources))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.gin").write_text(config.text())
    return folder / "config.gin"


def run(folder, data_dir, spec=None, **fields):
    return trial.run(write_config(folder, data_dir, spec, **fields), folder)


@pytest.fixture(scope="session")
def finetuned(data, dense, tmp_path_factory):
    """The folder of a compressed fine-tuning from the dense trial, by spec; each runs once."""

    @functools.cache
    def folder(spec):
        folder = tmp_path_factory.mktemp("finetuned") / spec
        run(folder, data, spec, dense=str(dense))
        return folder

    return folder


def read_result(folder):
    return json.loads((folder / "result.json").read_text())


def read_artifact(folder):
    return (folder / runner.ARTIFACT).read_bytes()


@pytest.mark.parametrize("spec", model_garden.RATES)
def test_a_trial_measures_its_own_artifact(spec, data, dense, finetuned):
    """Every figure in result.json is that of the file beside it."""
    content = read_result(finetuned(spec))
    file = finetuned(spec) / runner.ARTIFACT
    assert content["sizes"]["file_bytes"] == os.path.getsize(file)
    assert content["sizes"]["dense_bytes"] == 4 * content["sizes"]["weights"]
    assert (content["seed"], content["steps"]) == (0, STEPS)
    assert content["experiment"] == "lenet_300_100_mnist"
    assert content["checkpoint"] == "final"
    assert content["train_batch_size"] == 128

    sizes, decoded = content["sizes"], kwc.runtime.load(file)
    counts = {path: int(np.count_nonzero(weight)) for path, weight in decoded.items()}
    assert {row["path"]: row["nonzeros"] for row in content["weights"]} == counts
    assert sizes["nonzeros"] == sum(counts.values())
    assert sizes["zipped_bytes"] == len(zlib.compress(file.read_bytes(), 9))
    # Three matrices; biases, activations and the softmax are a few hundred more.
    products = 64 * 300 + 300 * 100 + 100 * 10
    assert products <= sizes["macs"] <= 1.02 * products

    metrics = content["metrics"]
    assert metrics["dense"] == read_result(dense)["metrics"]["dense"]
    assert metrics["training_graph"] != metrics["dense"]
    if spec == "low_rank":  # A matrix product, whose rounding is the machine's.
        examples = prepared_data.load_manifest(data, "digits").splits["test"].examples
        graph, written = metrics["training_graph"], metrics["artifact"]
        assert abs(graph["accuracy"] - written["accuracy"]) <= 1.01 / examples
        np.testing.assert_allclose(graph["validation_loss"], written["validation_loss"], rtol=1e-4)
    else:
        model_garden.assert_same_metrics(content)

    task = {
        "model": {"input_size": [8, 8, 3]},
        "validation_data": {"input_path": str(data / "digits" / "test.tfrecord")},
    }
    params = trial.Experiment("lenet_300_100_mnist", task=task).params()
    task = task_factory.get_task(params.task)
    model = task.build_model()
    kwc.load(file, into=model)
    again = runner.evaluate(params, task, model, tf.distribute.get_strategy())
    assert again == pytest.approx(metrics["artifact"], rel=1e-6, abs=0)


@pytest.mark.parametrize("spec", ["clustering", "low_rank", "pruning", "quantization"])
def test_a_trial_reruns_to_the_same_bytes(spec, finetuned, tmp_path):
    """From its config.gin alone, wherever that lies and whatever ran in the process before."""
    config = tmp_path / "config.gin"
    config.write_bytes((finetuned(spec) / "config.gin").read_bytes())
    content = trial.run(config, tmp_path)
    assert content == read_result(tmp_path) | {"weights": content["weights"]}
    assert content["metrics"] == read_result(finetuned(spec))["metrics"]
    assert read_artifact(tmp_path) == read_artifact(finetuned(spec))


def test_the_dense_trial_is_measured_on_the_test_split(data, dense):
    content = read_result(dense)
    assert content["metrics"]["artifact"] is None and content["artifact"] is None
    assert content["sizes"]["file_bytes"] is None
    assert content["metrics"]["dense"]["accuracy"] > 0.5  # Chance is 0.1.
    assert content["sizes"]["zipped_bytes"] is None
    assert 0.8 < content["sizes"]["dense_zipped_bytes"] / content["sizes"]["dense_bytes"] < 1
    assert content["provenance"]["data_checksum"]
    assert content["provenance"]["initial_checkpoint_sha256"] is None
    assert not (dense / runner.ARTIFACT).exists()


def test_the_best_and_the_last_validation_metric_stand_beside_the_final_one(data, tmp_path):
    content = run(tmp_path, data, trainer=model_garden.trainer(8, validation_interval=2))
    history = dict(events.scalars(tmp_path / "validation")["accuracy"])
    assert len(history) == 4
    best = content["best_validation"]
    assert best["value"] == max(history.values()) == history[best["step"]]
    assert content["last_validation"] == {"step": 8, "value": history[8]}


def test_a_result_names_the_machine_and_the_packages(dense):
    provenance = read_result(dense)["provenance"]
    hardware = provenance["hardware"]
    assert hardware["cores"] == os.cpu_count()
    assert hardware["threads"] == threads.count()
    assert hardware["cpu"] and hardware["memory_gb"] > 0
    assert len(hardware["gpus"]) == len(tf.config.list_physical_devices("GPU"))
    assert provenance["packages"]["tensorflow"] == tf.__version__
    assert {"kwc", "numpy", "tf-models-official"} <= set(provenance["packages"])


def test_a_trial_is_run_again_by_one_command(data, finetuned, tmp_path):
    config = finetuned("quantization") / "config.gin"
    arguments = [f"--config={config}", f"--folder={tmp_path}"]
    code, output = model_garden.run("experiments.rerun", arguments)
    assert code == 0, output
    assert "artifact        accuracy 0." in output
    assert read_artifact(tmp_path) == read_artifact(finetuned("quantization"))


def test_a_trial_is_run_again_with_as_many_threads(data, finetuned, tmp_path):
    config = tmp_path / "trial" / "config.gin"
    config.parent.mkdir()
    config.write_bytes((finetuned("quantization") / "config.gin").read_bytes())
    result = {"provenance": {"hardware": {"threads": 1}}}
    (config.parent / "result.json").write_text(json.dumps(result))
    first, second = tmp_path / "first", tmp_path / "second"
    for start, folder in ((config, first), (first / "config.gin", second)):
        arguments = [f"--config={start}", f"--folder={folder}"]
        code, output = model_garden.run("experiments.rerun", arguments)
        assert code == 0, output
        assert read_result(folder)["provenance"]["hardware"]["threads"] == 1
        (folder / "config.gin").write_bytes(config.read_bytes())
    assert read_artifact(first) == read_artifact(second)


def test_a_config_that_is_not_there_is_named(tmp_path):
    arguments = [f"--config={tmp_path}/nope.gin", f"--folder={tmp_path}"]
    code, output = model_garden.run("experiments.rerun", arguments)
    assert (code, output) == (1, f"There is no {tmp_path}/nope.gin.\n")


def test_a_trial_names_the_checkpoint_that_it_started_from(data, dense, tmp_path):
    content = run(tmp_path, data, "quantization", mode="compress", dense=str(dense))
    again = run(tmp_path / "again", data, "pruning", mode="compress", dense=str(dense))
    checksum = content["provenance"]["initial_checkpoint_sha256"]
    assert len(checksum) == 64
    assert checksum == again["provenance"]["initial_checkpoint_sha256"]


def test_compress_does_not_train(data, dense, tmp_path):
    """A lossless artifact of no steps holds the very weights of the dense checkpoint."""
    content = run(tmp_path, data, "lossless", mode="compress", dense=str(dense))
    assert content["steps"] == 0
    assert content["metrics"]["artifact"] == content["metrics"]["dense"]
    # Of as many training steps, the figure that selects is that of the validation data.
    params = gin.get_configurable(trial.Experiment)().params()
    metrics, _ = runner.measure(params, tmp_path / runner.ARTIFACT)
    expected = {"step": 0, "value": metrics["accuracy"]}
    assert content["best_validation"] == content["last_validation"] == expected
    assert not list(tmp_path.glob("ckpt-*"))


def test_the_seed_decides_the_initial_weights(data, tmp_path):
    def compressed(name, seed):
        run(tmp_path / name, data, "lossless", mode="compress", seed=seed)
        return read_artifact(tmp_path / name)

    first, second = compressed("a", 1), compressed("b", 2)
    assert first != second
    assert compressed("c", 1) == first


def test_the_seed_decides_the_order_of_the_data(data, dense, finetuned, tmp_path):
    content = run(tmp_path, data, "lossless", seed=1, dense=str(dense))
    assert content["metrics"] != read_result(finetuned("lossless"))["metrics"]


def test_a_missing_dense_trial_is_named(data, tmp_path):
    with pytest.raises(CompressionError, match=r"nowhere is not there; run it first"):
        run(tmp_path, data, "lossless", dense="nowhere")


def test_a_dense_trial_without_a_checkpoint_is_named(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CompressionError, match=r"no checkpoint in .*empty; train the dense"):
        run(tmp_path / "trial", data, "lossless", dense="../empty")


def test_a_dense_trial_of_another_model_is_refused(data, dense, tmp_path):
    with pytest.raises(CompressionError, match="not one of this experiment's dense model"):
        run(tmp_path / "shape", data, "lossless", dense=str(dense), task={})
    with pytest.raises(CompressionError, match="not one of this experiment's dense model"):
        task = {"model": {"input_size": [28, 28, 3]}}
        run(tmp_path / "kind", data, "lossless", dense=str(dense), name="lenet5_mnist", task=task)


@pytest.mark.parametrize("spec", ["clustering", "lossless", "pruning"])
def test_a_checkpoint_of_another_spec_in_the_folder_is_refused(
    spec, data, dense, finetuned, tmp_path
):
    """Model Garden would restore what fits by name and leave the rest at its initial values."""
    folder = shutil.copytree(finetuned("quantization"), tmp_path / "trial")
    (folder / "result.json").unlink()
    with pytest.raises(CompressionError, match="is of another model or spec"):
        run(folder, data, spec, dense=str(dense))
    assert not (folder / "result.json").exists()


def test_data_that_is_not_prepared_is_named_with_its_command(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"prepare_data --dataset=mnist_5k --data_dir="):
        run(tmp_path, data, "lossless", data="mnist_5k")


def test_data_of_one_s_own_that_is_not_there_is_named(data, tmp_path):
    task = {"validation_data": {"input_path": str(tmp_path / "nope*")}}
    with pytest.raises(FileNotFoundError, match=r"task.validation_data.input_path=.*nope\*"):
        run(tmp_path, data, "lossless", data=None, task=task, mode="compress")


def test_unknown_parameters_and_experiments_are_named(data, tmp_path):
    with pytest.raises(KeyError, match="nope"):
        run(tmp_path, data, task={"nope": 1})
    with pytest.raises(LookupError, match="lenet9"):
        run(tmp_path, data, name="lenet9")


def test_a_rule_that_matches_nothing_stops_the_trial(data, tmp_path):
    rule = "from kwc import spec\nspec.Spec.rules = [('.*/filters', None), ('.*', None)]\n"
    path = write_config(tmp_path, data, "lossless")
    path.write_text(path.read_text() + rule.splitlines()[1] + "\n")
    with pytest.raises(SpecError, match="matches no weight"):
        trial.run(path, tmp_path)


@pytest.fixture(scope="module", params=["bert_small", "mobilenet_v2_small"])
def architecture(request):
    """Two builds of a shipped architecture, the first with the initial weights that it keeps."""
    gin.clear_config()
    text = (model_garden.ROOT / "gin_configs" / "archs" / f"{request.param}.gin").read_text()
    gin.parse_config(text + "\ntrial.Experiment.data = None\n")
    task = task_factory.get_task(gin.get_configurable(trial.Experiment)().params().task)
    model = task.build_model()
    return model, model.get_weights(), task.build_model()


@pytest.mark.parametrize("spec", model_garden.RATES)
def test_shipped_architectures_take_every_shipped_spec(spec, architecture, tmp_path):
    model, initial, decoded = architecture
    gin.clear_config()
    bindings = [f"RATE = {model_garden.RATES[spec]}"]
    gin.parse_config_files_and_bindings([str(model_garden.SPECS / f"{spec}.gin")], bindings)
    model.set_weights(initial)
    kwc.compress(model, gin.get_bindings("kwc.task.CompressionTrainer")["spec"])
    report = kwc.save(model, tmp_path / "model.kwc")
    kwc.decompress(model)
    kwc.load(tmp_path / "model.kwc", into=decoded)
    for ours, theirs in zip(model.get_weights(), decoded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    assert not [row for row in report if row.reason]
    compressed = {row.path for row in report if row.error}
    if spec == "lossless":
        assert not compressed
    else:
        matrices = {row.path for row in report if row.path.endswith(("kernel", "embeddings"))}
        assert compressed == matrices
        assert report.sizes.file_bytes < 0.8 * report.dense_bytes
