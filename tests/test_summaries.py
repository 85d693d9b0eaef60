"""What TensorBoard shows of a compression, against hand-computed numbers and written files."""

import dataclasses

import gin
import model_garden
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from official.core import exp_factory
from official.modeling import hyperparams

import experiments.registry_imports  # noqa: F401  (registers the experiments)
import kwc
from experiments import events, runner
from kwc import summaries
from kwc.algorithms import Clustering, LowRank, Pruning, Quantization
from kwc.compressor import WeightCompressor

keras = tf_keras.layers


@dataclasses.dataclass(frozen=True)
class SumOfSquares(WeightCompressor):
    """Expects one bit for each unit of the squared weight."""

    def penalty(self, v, info, seed):
        return tf.reduce_sum(v.params["weight"] ** 2)


def make(dtype="float32"):
    rng = np.random.default_rng(0)
    layers = [keras.Dense(240, dtype=dtype), keras.Dense(10, dtype=dtype)]
    model = tf_keras.Sequential([keras.Input((300,)), *layers])
    for weight in model.weights:
        weight.assign(rng.laplace(size=weight.shape))
    return model


@pytest.fixture
def model():
    return make()


def compress(model, compressor):
    return kwc.compress(model, kwc.Spec([("dense/kernel", compressor), (".*", None)]))


@pytest.mark.parametrize(
    ("array", "bits"),
    [
        (np.array([0, 0, 1, 1], np.int8), 4),
        (np.array([[3, 5], [7, 9]], np.uint8), 8),
        (np.array([True, False, False, False]), 4 * 0.8112781244591328),
        (np.array([1, 1 + 256, 1 + 65536, 1], np.int32), 8 * 0.8112781244591328),
        (np.ones(100, np.float32), 0),
        (np.zeros((0, 3), np.float32), 0),
        (np.float32(1.5), 0),
    ],
)
def test_entropy_of_a_few_elements(array, bits):
    assert summaries.entropy(np.asarray(array)) == pytest.approx(bits)


def test_entropy_of_a_large_array_is_that_of_a_sample():
    """Its channels differ, so that every second element would not do."""
    columns = np.arange(16) % 2
    array = np.random.default_rng(0).integers(1 + 3 * columns, size=(60_000, 16)).astype(np.int8)
    zeros = (1 + 1 / 4) / 2
    others = 1 / 8
    expected = -(zeros * np.log2(zeros) + 3 * others * np.log2(others))
    assert summaries.entropy(array) == pytest.approx(expected * array.size, rel=0.01)


@given(hypothesis_numpy.arrays(hypothesis_numpy.integer_dtypes(), st.integers(0, 50)))
def test_entropy_is_at_most_the_bytes(array):
    assert 0 <= summaries.entropy(array) <= 8 * array.nbytes


@pytest.mark.parametrize(
    "compressor",
    [
        Quantization(bits=4),
        Pruning(sparsity=0.9),
        Clustering(clusters=16),
        LowRank(rank=0.25),
        Pruning(sparsity=0.8) >> Quantization(bits=4),
        None,
    ],
    ids=str,
)
def test_bits_per_weight_foretell_the_file(compressor, model, tmp_path):
    weights = model.count_params()
    compression = compress(model, compressor)
    bits = summaries.scalars(compression)["kwc/bits_per_weight"]
    sizes = compression.save(tmp_path / "model.kwc").sizes
    assert bits == pytest.approx(8 * sizes.payload_bytes / weights, rel=0.03)


def test_the_penalty_is_the_bits_of_the_weights_that_have_one(model):
    kernel = model.layers[0].kernel.numpy()
    rest = [w.numpy() for w in model.weights if w is not model.layers[0].kernel]
    logs = summaries.scalars(compress(model, SumOfSquares()))
    assert logs["kwc/penalty"] == pytest.approx(np.sum(kernel**2), rel=1e-5)
    assert logs["kwc/penalty/dense/kernel"] == logs["kwc/penalty"]
    stored = sum(map(summaries.entropy, rest))
    weights = kernel.size + sum(array.size for array in rest)
    assert logs["kwc/bits_per_weight"] == pytest.approx((logs["kwc/penalty"] + stored) / weights)


def test_sparsity_is_that_of_the_compressed_weights(model):
    logs = summaries.scalars(compress(model, Pruning(sparsity=0.75)))
    assert logs["kwc/sparsity"] == pytest.approx(0.75)
    assert "kwc/penalty" not in logs
    kwc.decompress(model)
    assert "kwc/sparsity" not in summaries.scalars(compress(model, None))


def test_live_scalars_take_one_percent_of_the_time(model, monkeypatch):
    """Each time costs 2 s: of 200 s at the start, then of 200 s more for each."""
    now = 0.0

    def scalars(compression):
        nonlocal now
        now += 2.0
        return {"kwc/bits_per_weight": now}

    monkeypatch.setattr(summaries, "scalars", scalars)
    monkeypatch.setattr(summaries.time, "monotonic", lambda: now)
    live = summaries.Live(compress(model, None))
    taken = []
    for step in range(1, 11):
        now = 50.0 * step
        if live():
            taken.append(step)
    assert taken == [1, 4, 8]


def test_histograms_before_and_after(model, tmp_path):
    before = model.layers[0].kernel.numpy()
    compression = compress(model, Pruning(sparsity=0.5))
    summaries.histograms(compression, tmp_path, step=7)
    (path,) = tmp_path.iterdir()
    found = {
        value.tag: (event.step, tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert set(found) == {"weights/dense/kernel/before", "weights/dense/kernel/after"}
    for tag, value in (("before", before), ("after", model.layers[0].kernel.numpy())):
        step, buckets = found[f"weights/dense/kernel/{tag}"]
        assert step == 7
        assert buckets.shape == (30, 3)
        assert buckets[:, 2].sum() == value.size
        np.testing.assert_allclose([buckets[0, 0], buckets[-1, 1]], [value.min(), value.max()])
        counts, _ = np.histogram(value, bins=30)
        np.testing.assert_allclose(buckets[:, 2], counts, atol=2)


def test_mixed_precision_changes_nothing(model):
    compressor = Pruning(sparsity=0.75) >> Quantization(bits=4)
    expected = summaries.scalars(compress(model, compressor))
    assert summaries.scalars(compress(make("mixed_bfloat16"), compressor)) == expected


# The stock task passes the labels to the model.
@pytest.mark.filterwarnings("ignore:.*Input dict contained keys:UserWarning")
def test_training_logs_the_scalars(sentences, tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "_SHARE", float("inf"))  # On a busy machine they would pause.
    gin.clear_config()
    gin.parse_config_files_and_bindings([str(model_garden.SPECS / "pruning.gin")], ["RATE = 0.5"])
    overrides = {"task": model_garden.bert(sentences), "trainer": model_garden.trainer(4)}
    params = hyperparams.override_params_dict(
        exp_factory.get_exp_config("bert/sentence_prediction"), overrides, is_strict=True
    )
    content = runner.run(params, "train", tmp_path, name="of this test")
    gin.clear_config()
    curves = events.scalars(tmp_path / "train")
    assert [step for step, _ in curves["kwc/sparsity"]] == [2, 4]
    assert curves["kwc/sparsity"][-1][1] == pytest.approx(0.5, abs=1e-3)
    sizes = content["sizes"]
    bits = 8 * sizes["payload_bytes"] / sizes["weights"]
    # So small a model takes many bytes for what the estimate leaves out: tables, names.
    assert 0.7 * bits < curves["kwc/bits_per_weight"][-1][1] < bits
