"""Compressed models are trained as plain ones are, and a step reads no stale weight."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from algorithms import ROWS
from models import LOSS, Same, batch, built, dense, trained

import kwc
from kwc.algorithms import Clustering, LowRank, Pruning, Quantization
from kwc.compressor import Variables, WeightCompressor
from kwc.model import handle_of
from kwc.schedules import Polynomial

keras = tf_keras.layers
X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Squares(WeightCompressor):
    """Expects as many bits as the sum of squares of the weight, and remembers gradients."""

    def init(self, weight, info, step, statistics):
        return Variables({"weight": weight}, {"gradient": np.zeros(info.shape, np.float32)})

    def penalty(self, v, info, seed):
        return tf.reduce_sum(v.params["weight"] ** 2)

    def update(self, v, info, step, gradients):
        return Variables(v.params, {"gradient": gradients["weight"]})


def kernel(model):
    """The reparameterization of the first layer's kernel."""
    return handle_of(model).reparameterizations[0]


def compressed(compressor, **kwargs):
    model = dense()
    kwc.compress(model, kwc.Spec([(".*kernel", compressor), (".*", None)]), **kwargs)
    return model


@pytest.mark.parametrize("row", ROWS[1:], ids=str)
def test_fit_trains_what_an_algorithm_trains(row, tmp_path):
    model = trained("convolutional")
    x, y = batch("convolutional")
    spec = kwc.Spec([(".*[a-z]_kernel|conv2d/kernel", row.compressor), (".*", None)])
    handle = kwc.compress(model, spec, 4, rate_weight=0.01, calibration=[x])
    before = [[v.numpy() for v in r.params.values()] for r in handle.reparameterizations]
    history = model.fit(x, y, batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert handle.clock == 4
    for r, old in zip(handle.reparameterizations, before, strict=True):
        for v, value in zip(r.params.values(), old, strict=True):
            assert np.any(v.numpy() != value), v.name
    report = kwc.save(model, tmp_path / "model.kwc")
    assert {row.reason for row in report} == {""}
    for r in handle.reparameterizations:
        assert row.promise(r.project().numpy(), r.info)
    other = built("convolutional")
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_allclose(other(x), model(x), rtol=0, atol=max(1e-6, row.tolerance))


@pytest.mark.parametrize("order", ["compile first", "compress first"])
def test_compilation_before_and_after_compression_are_one(order):
    model = dense()
    spec = kwc.Spec([(".*kernel", Squares()), (".*", None)])
    if order == "compile first":
        model.compile("sgd", "mse")
    handle = kwc.compress(model, spec, total_steps=2, rate_weight=1.0)
    if order == "compress first":
        model.compile("sgd", "mse")
    model.fit(X, Y, batch_size=4, verbose=0)
    assert handle.clock == 2
    assert np.any(kernel(model).state["gradient"].numpy() != 0)


def test_functions_traced_before_are_forgotten():
    model = dense()
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    before = model.predict(X, verbose=0), model.evaluate(X, Y, verbose=0)
    model.compile("sgd", "mse")
    handle = kwc.compress(model, kwc.Spec([(".*kernel", Clustering(2)), (".*", None)]))
    np.testing.assert_array_equal(model.predict(X, verbose=0), model(X))
    assert np.any(model.predict(X, verbose=0) != before[0])
    assert model.evaluate(X, Y, verbose=0) != before[1]
    old = kernel(model).params["centroids"].numpy()
    model.fit(X, Y, verbose=0)
    assert np.any(kernel(model).params["centroids"].numpy() != old)
    handle.undo()
    np.testing.assert_array_equal(model.predict(X, verbose=0), model(X))


def test_an_optimizer_with_state_is_refused_and_nothing_changed():
    model = dense()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    before = [v.numpy() for v in model.weights], type(model), model.optimizer
    spec = kwc.Spec([(".*kernel", Quantization(2)), (".*", None)])
    with pytest.raises(kwc.CompressionError, match=r"Adam has state.*compile with a new optimizer"):
        kwc.compress(model, spec)
    np.testing.assert_equal([v.numpy() for v in model.weights], before[0])
    assert (type(model), model.optimizer) == before[1:]
    model.fit(X, Y, verbose=0)
    used = model.optimizer
    model.compile("adam", "mse")
    kwc.compress(model, spec)
    with pytest.raises(kwc.CompressionError, match="Adam has state"):
        model.compile(used, "mse")


def test_a_spec_that_replaces_nothing_takes_any_optimizer():
    model = dense()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    kwc.compress(model, kwc.Spec([(".*", None)]))
    model.fit(X, Y, verbose=0)
    kwc.decompress(model)
    model.fit(X, Y, verbose=0)


def test_compiling_again_with_the_same_optimizer_attaches_it_once():
    model = compressed(Squares())
    optimizer = tf_keras.optimizers.SGD()
    model.compile(optimizer, "mse")
    model.compile(optimizer, "mse", metrics=["mae"])
    model.fit(X, Y, verbose=0)
    model.compile(optimizer, "mse")
    model.fit(X, Y, verbose=0)
    assert handle_of(model).clock == 2


def test_decompressing_gives_the_optimizer_back():
    model = compressed(Pruning(0.5))
    optimizer = tf_keras.optimizers.SGD()
    model.compile(optimizer, "mse")
    handle = handle_of(model)
    kwc.decompress(model)
    assert type(optimizer) is tf_keras.optimizers.SGD
    model.compile(optimizer, "mse")
    model.fit(X, Y, verbose=0)
    assert handle.clock == 0


def test_regularizers_read_the_compressed_weight():
    model = dense(kernel_regularizer=tf_keras.regularizers.L2(0.5))
    kwc.compress(model, kwc.Spec([(".*kernel", Clustering(2)), (".*", None)]))
    expected = 0.5 * np.sum(model.layers[0].kernel.numpy() ** 2)
    np.testing.assert_allclose(model.losses[0], expected, rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = model.losses[0]
    assert tape.gradient(loss, kernel(model).params["centroids"]) is not None
    kwc.decompress(model)
    np.testing.assert_allclose(model.losses[0], expected, rtol=1e-6)


@pytest.mark.parametrize("cell", [keras.LSTM, keras.GRU])
@pytest.mark.parametrize("in_a_graph", [False, True])
def test_recurrent_layers_have_gradients(cell, in_a_graph):
    layer = cell(3)
    x = tf.ones([2, 5, 4])
    layer(x)
    kwc.compress(layer, kwc.Spec([(".*kernel", Same()), (".*", None)]))

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.trainable_weights)

    for gradient in (tf.function(gradients) if in_a_graph else gradients)():
        assert gradient is not None
        assert np.any(gradient != 0)


# One decoding within a step


def test_tapes_in_one_function_each_see_the_params():
    model = compressed(Quantization(4))
    v = kernel(model).params["weight"]
    x = tf.constant(X)

    def after_another():
        with tf.GradientTape() as first:
            a = tf.reduce_sum(model(x))
        with tf.GradientTape() as second:
            b = tf.reduce_sum(model(x) ** 2)
        return first.gradient(a, v), second.gradient(b, v)

    def nested():
        with tf.GradientTape() as outer:
            a = tf.reduce_sum(model(x))
            with tf.GradientTape() as inner:
                b = tf.reduce_sum(model(x) ** 2)
            inside = inner.gradient(b, v)
        return outer.gradient(a, v), inside

    def without_a_tape_first():
        a = tf.reduce_sum(model(x))
        with tf.GradientTape(persistent=True) as tape:
            b = tf.reduce_sum(model(x) ** 2)
            a = a + tf.reduce_sum(model(x))
        return tape.gradient(a, v), tape.gradient(b, v)

    expected = after_another()
    for step in (after_another, nested, without_a_tape_first):
        for actual, gradient in zip(tf.function(step)(), expected, strict=True):
            np.testing.assert_allclose(actual, gradient, rtol=1e-5)


def test_a_step_decodes_each_weight_once():
    model = dense(kernel_regularizer="l2")
    kwc.compress(model, kwc.Spec([(".*kernel", LowRank(1)), (".*", None)]))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True)) + tf.add_n(model.losses)
        return tape.gradient(loss, model.trainable_weights)

    graph = step.get_concrete_function(tf.constant(X)).graph
    reads = [op for op in graph.get_operations() if op.type == "ReadVariableOp"]
    products = [
        op
        for op in graph.get_operations()
        if op.type == "MatMul" and op.outputs[0].shape == (4, 3) and "gradient" not in op.name
    ]
    assert reads
    assert len(products) == 1


@pytest.mark.parametrize("attached", [True, False])
def test_a_read_after_an_optimizer_s_step_sees_the_new_value(attached):
    model = compressed(Quantization(8))
    optimizer = tf_keras.optimizers.SGD(0.5)
    if attached:
        handle_of(model).attach(optimizer)
    optimizer.build(model.trainable_variables)
    x = tf.constant(X)

    @tf.function
    def two_steps():
        losses = []
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(x) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            losses.append(loss)
        return (*losses, tf.reduce_sum(model(x) ** 2))

    first, second, third = two_steps()
    assert first != second != third
    np.testing.assert_allclose(third, tf.reduce_sum(model(x) ** 2), rtol=1e-6)


def test_a_read_after_an_assignment_sees_the_new_value():
    model = compressed(Pruning(0.5))
    r = kernel(model)

    @tf.function
    def assigned(x):
        before = model(x)
        r.params["weight"].assign_add(tf.ones([4, 3]))
        between = model(x)
        r.state["mask"].assign(tf.fill([4, 3], True))
        return before, between, model(x)

    outputs = [output.numpy() for output in assigned(tf.constant(X))]
    assert np.any(outputs[0] != outputs[1])
    assert np.any(outputs[1] != outputs[2])
    np.testing.assert_allclose(outputs[2], model(X), atol=1e-5)


# Penalty and update


@pytest.mark.parametrize("rate_weight", [0.0, 0.5])
def test_the_rate_s_gradient_is_added_once(rate_weight):
    model = compressed(Squares(), rate_weight=rate_weight)
    optimizer = tf_keras.optimizers.SGD(1.0)
    model.compile(optimizer, "mse")
    weight, bias = kernel(model).params["weight"], model.layers[0].bias
    zeros = [tf.zeros_like(v) for v in (weight, bias)]
    before = weight.numpy()
    optimizer.apply_gradients(zip(zeros, (weight, bias), strict=True))
    # The loss is rate_weight times the bits for each of the model's 15 weights.
    np.testing.assert_allclose(weight, before - rate_weight * 2 * before / 15, rtol=1e-6)
    np.testing.assert_array_equal(bias, np.zeros(3))
    np.testing.assert_allclose(
        kernel(model).state["gradient"], rate_weight * 2 * before / 15, rtol=1e-6
    )
    np.testing.assert_allclose(handle_of(model).expected_bits(), np.sum(weight.numpy() ** 2))
    assert handle_of(model).report().bits_estimated == pytest.approx(np.sum(weight.numpy() ** 2))


def test_a_penalty_on_an_embedding_adds_to_its_sparse_gradient():
    model = tf_keras.Sequential([keras.Input((2,)), keras.Embedding(6, 4), keras.Flatten()])
    kwc.compress(model, kwc.Spec([(".*", Squares())]), rate_weight=1.0)
    model.compile(tf_keras.optimizers.SGD(1.0), "mse")
    before = kernel(model).params["weight"].numpy()
    model.fit(np.array([[0, 1]]), np.zeros([1, 8]), verbose=0)
    after = kernel(model).params["weight"].numpy()
    np.testing.assert_allclose(after[2:], before[2:] * (1 - 2 / 24), rtol=1e-5)
    np.testing.assert_allclose(after[:2], before[:2] * (1 - 2 / 24 - 2 / 8), rtol=1e-5)


def test_a_chain_s_penalties_add():
    model = compressed(Squares() >> Squares())
    expected = 2 * np.sum(model.layers[0].kernel.numpy() ** 2)
    np.testing.assert_allclose(handle_of(model).expected_bits(), expected, rtol=1e-6)


def test_what_update_returns_is_kept():
    @dataclasses.dataclass(frozen=True)
    class Clipped(WeightCompressor):
        def update(self, v, info, step, gradients):
            return Variables({"weight": tf.clip_by_value(v.params["weight"], -0.1, 0.1)}, v.state)

    model = compressed(Clipped())
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    assert np.max(np.abs(model.layers[0].kernel)) <= 0.1


@pytest.mark.parametrize("steps", [1, 3])
def test_a_short_training_reaches_the_final_sparsity(steps):
    model = compressed(Pruning(Polynomial(final=0.75)), total_steps=steps)
    model.compile("sgd", "mse", jit_compile=True)
    model.fit(X, Y, batch_size=8, epochs=steps, verbose=0)
    assert np.sum(model.layers[0].kernel.numpy() == 0) == 9


def test_loss_scaling_sees_the_penalty_unscaled():
    policy = tf_keras.mixed_precision.Policy("mixed_float16")
    model = dense(dtype=policy)
    kwc.compress(model, kwc.Spec([(".*kernel", Squares()), (".*", None)]), rate_weight=1.0)
    scaled = tf_keras.mixed_precision.LossScaleOptimizer(tf_keras.optimizers.SGD(1.0))
    model.compile(scaled, "mse")
    before = kernel(model).params["weight"].numpy()
    model.fit(np.zeros([8, 4], np.float32), Y, verbose=0)
    np.testing.assert_allclose(kernel(model).params["weight"], before * (1 - 2 / 15), rtol=1e-5)
    with pytest.raises(kwc.CompressionError, match="LossScaleOptimizerV3 has state"):
        handle_of(compressed(Squares())).attach(scaled)


def test_a_seed_is_new_at_each_step_and_differs_by_weight():
    @dataclasses.dataclass(frozen=True)
    class Noisy(WeightCompressor):
        def project(self, v, info, training, seed):
            if training is True:
                return v.params["weight"] + tf.random.stateless_normal(info.shape, seed)
            return v.params["weight"]

    model = built("attention")
    handle = kwc.compress(model, kwc.Spec([(".*kernel", Noisy()), (".*", None)]))
    first, second = handle.reparameterizations[:2]
    noise = [r.project(True) - r.project(False) for r in (first, second)]
    assert np.any(noise[0] != tf.reshape(noise[1], noise[0].shape))
    np.testing.assert_array_equal(first.project(True), first.project(True))
    handle.clock.assign_add(1)
    assert np.any(first.project(True) - first.project(False) != noise[0])
    x, y = batch("attention")
    np.testing.assert_array_equal(model(x), model(x, training=False))
    assert np.any(model(x, training=True) != model(x))
    model.compile("sgd", LOSS)
    model.fit(x, y, verbose=0)
