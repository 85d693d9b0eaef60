"""Compression in place: nothing else of a model changes, and the way back is exact."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from models import LOSS, MODELS, Same, batch, built, dense, trained

import kwc
from kwc import paths
from kwc.algorithms import Clustering, LowRank, Pruning, Quantization
from kwc.model import handle_of

keras = tf_keras.layers
EVERY_KIND = pytest.mark.parametrize("name", MODELS)
KERNELS = [(".*(kernel|embeddings|head)", Quantization(4)), (".*", None)]


def values(model):
    return {weight.path: weight.variable.numpy() for weight in paths.weights(model)}


def assert_same(actual, desired):
    assert actual.keys() == desired.keys()
    for path, value in desired.items():
        np.testing.assert_array_equal(actual[path], value, err_msg=path)


# Identity


@EVERY_KIND
@pytest.mark.parametrize("compressor", [None, Same()], ids=repr)
def test_a_spec_that_loses_nothing_changes_nothing(name, compressor, tmp_path):
    model = trained(name)
    x, y = batch(name)
    before, eager, loss = (
        model.predict(x, verbose=0),
        model(x).numpy(),
        model.evaluate(x, y, verbose=0),
    )
    weights = values(model)
    kwc.compress(model, kwc.Spec([(".*", compressor)]))
    np.testing.assert_array_equal(model(x), eager)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    assert model.evaluate(x, y, verbose=0) == loss
    report = kwc.save(model, tmp_path / "model.kwc")
    assert report.sizes.file_bytes == (tmp_path / "model.kwc").stat().st_size
    other = built(name)
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_array_equal(other.predict(x, verbose=0), before)
    kwc.decompress(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    assert_same(values(model), weights)


@EVERY_KIND
def test_decompressing_restores_the_account_of_the_weights(name):
    model = trained(name)
    order = [id(v) for v in model.weights]
    classes = [type(layer) for layer in model.submodules]
    fields = [list(vars(layer)) for layer in model.submodules]
    kwc.compress(model, kwc.Spec([(".*", Same())]))
    assert not {id(v) for v in model.trainable_weights} & set(order)
    kwc.decompress(model)
    assert [id(v) for v in model.weights] == order
    assert [type(layer) for layer in model.submodules] == classes
    assert [list(vars(layer)) for layer in model.submodules] == fields
    kwc.compress(model, kwc.Spec([(".*", Same())]))


@EVERY_KIND
def test_the_file_holds_what_the_compressed_model_computes(name, tmp_path):
    model = trained(name)
    x, _ = batch(name)
    kwc.compress(model, kwc.Spec(KERNELS))
    expected, in_a_graph = model(x), model.predict(x, verbose=0)
    kwc.save(model, tmp_path / "model.kwc")
    decoded = kwc.runtime.load(tmp_path / "model.kwc")
    other = built(name)
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_array_equal(other(x), expected)
    assert_same(values(other), decoded)
    kwc.decompress(model)
    np.testing.assert_array_equal(model(x), expected)
    # In a graph, the same numbers may be added up in another order.
    np.testing.assert_allclose(model.predict(x, verbose=0), in_a_graph, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("file", ["model.keras", "model.h5", "model"])
def test_a_decompressed_model_is_an_ordinary_keras_model(file, tmp_path):
    model = trained("convolutional")
    x, y = batch("convolutional")
    kwc.compress(model, kwc.Spec(KERNELS))
    kwc.decompress(model)
    model.compile("sgd", LOSS)
    model.fit(x, y, verbose=0)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / file)
    loaded = tf_keras.models.load_model(tmp_path / file)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)


def test_a_compressed_model_exports_as_a_saved_model(tmp_path):
    model = trained("convolutional")
    x, _ = batch("convolutional")
    kwc.compress(model, kwc.Spec(KERNELS))
    tf.saved_model.save(model, str(tmp_path))
    exported = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    (output,) = exported(tf.constant(x)).values()
    np.testing.assert_allclose(output, model(x), atol=1e-6)


def test_checkpoints_hold_params_state_and_clock(tmp_path):
    def compressed():
        model = trained("convolutional")
        kwc.compress(model, kwc.Spec([(".*kernel", Pruning(0.5)), (".*", None)]), total_steps=8)
        return model

    model = compressed()
    x, y = batch("convolutional")
    model.fit(x, y, batch_size=4, verbose=0)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    other = compressed()
    tf.train.Checkpoint(model=other).read(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    assert handle_of(other).clock == 4
    model.save_weights(tmp_path / "weights.h5")
    third = compressed()
    third.load_weights(tmp_path / "weights.h5")
    np.testing.assert_array_equal(third.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_plain_model_is_saved_as_it_is(tmp_path):
    model = trained("convolutional")
    x, y = batch("convolutional")
    model.fit(x, y, verbose=0)
    optimizer, kind = model.optimizer, type(model)
    report = kwc.save(model, tmp_path / "model.kwc", metadata={"note": "dense"})
    assert model.optimizer is optimizer
    assert type(model) is kind
    model.fit(x, y, verbose=0)
    assert {row.algorithm for row in report} == {"lossless"}


def test_a_report_is_printed_as_a_table_and_a_handle_in_a_line(tmp_path):
    model = trained("convolutional")
    handle = kwc.compress(model, kwc.Spec(KERNELS))
    report = kwc.save(model, tmp_path / "model.kwc")
    rows = {line.split()[1]: line for line in str(report).splitlines() if len(line.split()) > 5}
    for weight in report:
        assert weight.algorithm in rows[weight.path]
        assert f" {weight.written_bytes:,} " in rows[weight.path]
    compressed = len(handle.reparameterizations)
    assert f"{compressed} of {len(report.weights)} weights" in repr(handle)


# Which weights


def test_batch_normalization_statistics_are_left_alone():
    model = trained("convolutional")
    handle = kwc.compress(model, kwc.Spec([(".*", Quantization(8))]))
    reasons = {row.path: row.reason for row in handle.report() if row.reason}
    assert reasons == {
        "batch_normalization/moving_mean": "not_trainable",
        "batch_normalization/moving_variance": "not_trainable",
    }
    layer = model.get_layer(index=2)
    before = layer.moving_mean.numpy()
    model.fit(*batch("convolutional"), verbose=0)
    assert np.any(layer.moving_mean.numpy() != before)


def test_weights_that_cannot_be_replaced_say_why():
    class Holder(keras.Layer):
        def __init__(self):
            super().__init__()
            self.add_weight(name="unnamed", shape=(2,))
            self.count = tf.Variable([1, 2])

        def call(self, x):
            return x * self.trainable_weights[0]

    layer = Holder()
    layer(tf.ones([1, 2]))
    handle = kwc.compress(layer, kwc.Spec([(".*", Quantization(4))]))
    assert {row.path: row.reason for row in handle.report()} == {
        "count": "not_floating",
        "unnamed": "not_an_attribute",
    }


def test_a_frozen_layer_is_compressed_and_not_trained():
    model = dense()
    model.layers[0].trainable = False
    handle = kwc.compress(model, kwc.Spec(KERNELS))
    assert handle.report().weights[0].algorithm == "quantization(bits=4)"
    assert not model.trainable_weights
    model.layers[0].trainable = True
    assert len(model.trainable_weights) == 2


class Tied(tf_keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = keras.Embedding(6, 4)
        self.embedding.build(None)
        self.table = self.embedding.embeddings

    def call(self, ids):
        return tf.matmul(self.embedding(ids), self.table, transpose_b=True)


def test_a_tied_weight_is_replaced_at_both_places(tmp_path):
    ids = tf.constant([[1, 2]])
    model = Tied()
    model(ids)
    (original,) = model.weights
    handle = kwc.compress(
        model, kwc.Spec([("embedding/embeddings", Quantization(2)), (".*", None)])
    )
    assert len(handle.report().weights) == 1
    assert len(model.trainable_weights) == 1
    np.testing.assert_array_equal(model.table, model.embedding.embeddings)
    assert len(np.unique(model.table)) <= 3 * 4
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(ids) ** 2)
    assert np.all(np.any(tape.gradient(loss, model.trainable_weights)[0] != 0, axis=0))
    expected = model(ids)
    kwc.save(model, tmp_path / "model.kwc")
    other = Tied()
    other(ids)
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_array_equal(other(ids), expected)
    kwc.decompress(model)
    assert model.table is model.embedding.embeddings is original


def test_rules_that_disagree_on_a_tied_weight_are_refused():
    model = Tied()
    model(tf.constant([[1, 2]]))
    rules = [("embedding/embeddings", Quantization(2)), ("table", Quantization(4))]
    with pytest.raises(kwc.CompressionError, match=r"several paths whose rules disagree.*'table'"):
        kwc.compress(model, kwc.Spec(rules))


def test_a_layer_alone_can_be_compressed(tmp_path):
    layer = keras.Dense(3)
    layer(tf.ones([1, 4]))
    kwc.compress(layer, kwc.Spec([("kernel", Quantization(2)), ("bias", None)]))
    expected = layer(tf.ones([1, 4]))
    kwc.save(layer, tmp_path / "layer.kwc")
    kwc.decompress(layer)
    assert isinstance(layer.kernel, tf.Variable)
    np.testing.assert_array_equal(layer(tf.ones([1, 4])), expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
@pytest.mark.parametrize("compressor", [Same(), Quantization(8)], ids=repr)
def test_precision_policies(policy, compressor, tmp_path):
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        model, other = built("attention"), built("attention")
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    x, _ = batch("attention")
    before = model(x).numpy()
    kwc.compress(model, kwc.Spec([(".*", compressor)]))
    expected = model(x).numpy()
    assert expected.dtype == before.dtype
    if compressor == Same():
        np.testing.assert_array_equal(expected, before)
    kwc.save(model, tmp_path / "model.kwc")
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_array_equal(other(x), expected)


def test_a_weight_that_keras_does_not_cast_is_not_cast():
    class Exact(keras.Layer):
        def build(self, shape):
            self.cast = self.add_weight(name="cast", shape=(2,))
            self.kept = self.add_weight(name="kept", shape=(2,), experimental_autocast=False)

        def call(self, x):
            return self.cast + tf.cast(x, self.cast.dtype), self.kept + tf.cast(x, self.kept.dtype)

    layer = Exact(dtype="mixed_float16")
    layer(tf.ones([2]))
    kwc.compress(layer, kwc.Spec([(".*", Same())]))
    assert [output.dtype for output in layer(tf.ones([2]))] == [tf.float16, tf.float32]


def test_the_report_tells_rule_algorithm_bytes_and_error(tmp_path):
    model = dense()
    report = kwc.compress(
        model, kwc.Spec([("dense/kernel", LowRank(1) >> Quantization(8)), (".*", None)])
    ).report()
    kernel, bias = report
    assert (kernel.path, kernel.shape, kernel.rule) == ("dense/kernel", (4, 3), "dense/kernel")
    assert kernel.algorithm == "low_rank(rank=1, least=8) >> quantization(bits=8)"
    assert (kernel.dense_bytes, kernel.written_bytes, bias.error) == (48, None, 0.0)
    dense_kernel = model.layers[0]._kwc_kernel
    assert 0 < kernel.error < 1
    written = kwc.save(model, tmp_path / "model.kwc")
    assert written.sizes.payload_bytes == sum(row.written_bytes for row in written)
    assert dense_kernel.info.path == "dense/kernel"


def test_clusters_are_found_per_weight(tmp_path):
    model = trained("recurrent")
    kwc.compress(model, kwc.Spec([(".*kernel", Clustering(3)), (".*", None)]))
    kwc.save(model, tmp_path / "model.kwc")
    for path, value in kwc.runtime.load(tmp_path / "model.kwc").items():
        assert not path.endswith("kernel") or len(np.unique(value)) <= 3
