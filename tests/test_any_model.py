"""Any tf_keras model: every kind of layer, wherever it keeps its weights."""

import functools
import operator

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import kwc
from kwc.algorithms import LowRank, Quantization

keras = tf_keras.layers


class Containers(keras.Layer):
    """Weights in a list that two attributes hold, in a dict with a layer, and in a tuple."""

    def build(self, shape):
        def weight(name, **kwargs):
            return self.add_weight(name=name, shape=(shape[-1], shape[-1]), **kwargs)

        self.pair = [weight("first", regularizer="l2"), weight("second")]
        self.again = self.pair
        self.by_name = {"third": weight("third"), "deeper": [weight("fourth"), keras.Dense(4)]}
        self.fixed = (weight("fifth"), 0.5)

    def call(self, x):
        for weight in self.pair:
            x = x @ weight
        inner, layer = self.by_name["deeper"]
        return layer(x @ self.by_name["third"] @ inner @ self.again[1]) @ self.fixed[0]


class Cell(keras.Layer):
    """A recurrent cell with its weights in a list."""

    state_size = output_size = 4

    def build(self, shape):
        self.kernels = [self.add_weight(shape=(n, 4)) for n in (shape[-1], 4)]

    def call(self, x, states):
        state = tf.tanh(x @ self.kernels[0] + states[0] @ self.kernels[1])
        return state, [state]


class Around(keras.Layer):
    """Reads its weight as the argument of a function with a gradient of its own."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4))

    def call(self, x):
        @tf.custom_gradient
        def doubled(weight):
            return tf.identity(weight), lambda upstream: 2 * upstream

        return x @ doubled(self.kernel)


class Recomputed(keras.Layer):
    """Reads its weight before and within a function that is computed again for its gradient."""

    def __init__(self, again=True):
        super().__init__()
        self.recompute = tf.recompute_grad if again else lambda function: function

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), regularizer="l2")

    def call(self, x):
        before = x @ self.kernel
        return before + self.recompute(lambda y: tf.tanh(y @ self.kernel))(x)


class Nested(keras.Layer):
    """Layers within layers, one of which is used twice."""

    def __init__(self):
        super().__init__()
        self.shared = keras.Dense(4)
        self.inner = tf_keras.Sequential([keras.Dense(4), Containers()])

    def call(self, x):
        return self.shared(self.inner(self.shared(x)))


LAYERS = {
    "LSTM": (lambda: keras.LSTM(3), (5, 4)),
    "GRU": (lambda: keras.GRU(3), (5, 4)),
    "SimpleRNN": (lambda: keras.SimpleRNN(3), (5, 4)),
    "Bidirectional": (lambda: keras.Bidirectional(keras.GRU(3)), (5, 4)),
    "TimeDistributed": (lambda: keras.TimeDistributed(keras.Dense(3)), (5, 4)),
    "StackedRNNCells": (lambda: keras.RNN([keras.LSTMCell(3), keras.GRUCell(2)]), (5, 4)),
    "RNN over a custom cell": (lambda: keras.RNN(Cell()), (5, 4)),
    "ConvLSTM1D": (lambda: keras.ConvLSTM1D(2, 2), (3, 4, 2)),
    "ConvLSTM2D": (lambda: keras.ConvLSTM2D(2, 2), (3, 4, 4, 2)),
    "Conv1D": (lambda: keras.Conv1D(6, 2, groups=2), (5, 4)),
    "Conv3D": (lambda: keras.Conv3D(3, 2), (3, 3, 3, 2)),
    "SeparableConv1D": (lambda: keras.SeparableConv1D(3, 2, depth_multiplier=2), (5, 4)),
    "SeparableConv2D": (lambda: keras.SeparableConv2D(3, 2), (5, 5, 2)),
    "DepthwiseConv1D": (lambda: keras.DepthwiseConv1D(2), (5, 4)),
    "DepthwiseConv2D": (lambda: keras.DepthwiseConv2D(2, depth_multiplier=2), (5, 5, 2)),
    "Conv1DTranspose": (lambda: keras.Conv1DTranspose(3, 2), (5, 4)),
    "Conv2DTranspose": (lambda: keras.Conv2DTranspose(3, 2), (5, 5, 2)),
    "Conv3DTranspose": (lambda: keras.Conv3DTranspose(3, 2), (3, 3, 3, 2)),
    "LocallyConnected1D": (lambda: keras.LocallyConnected1D(3, 2), (5, 4)),
    "EinsumDense": (lambda: keras.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="de"), (5, 4)),
    "PReLU": (lambda: keras.PReLU(alpha_initializer="ones"), (5, 4)),
    "Containers": (Containers, (4,)),
    "Nested": (Nested, (4,)),
    "Around": (Around, (4,)),
    "Recomputed": (Recomputed, (4,)),
}


def network(make, shape):
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([keras.Input(shape), make()])


def batch(shape):
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


def gradients(model, x):
    """Gradients of the squared outputs and the penalties of regularizers, by a graph."""

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = tf.add_n([tf.reduce_sum(outputs**2), *model.losses])
        return tape.gradient(loss, model.trainable_variables)

    return step()


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_is_compressed_trained_saved_and_loaded(name, tmp_path):
    make, shape = LAYERS[name]
    model, x = network(make, shape), batch(shape)
    handle = kwc.compress(model, kwc.Spec([(".*", Quantization(4))]))
    assert {row.reason for row in handle.report()} == {""}
    assert len(handle.reparameterizations) == len(model.trainable_variables)
    moved = gradients(model, x)
    assert all(np.any(tf.convert_to_tensor(gradient) != 0) for gradient in moved)
    for v, gradient in zip(model.trainable_variables, moved, strict=True):
        v.assign_sub(0.01 * tf.convert_to_tensor(gradient))
    expected = model(x)
    kwc.save(model, tmp_path / "model.kwc")
    other = network(make, shape)
    kwc.load(tmp_path / "model.kwc", into=other)
    np.testing.assert_array_equal(other(x), expected)
    kwc.decompress(model)
    np.testing.assert_array_equal(model(x), expected)


# Weights in containers


def test_weights_in_containers_are_each_on_their_own():
    model, x = network(Containers, (4,)), batch((4,))
    before = model(x).numpy()
    rules = [("containers/pair/0", LowRank(2)), (".*third", Quantization(2)), (".*", None)]
    handle = kwc.compress(model, kwc.Spec(rules))
    first, third = handle.reparameterizations
    assert (first.info.path, third.info.path) == ("containers/pair/0", "containers/by_name/third")
    (layer,) = model.layers
    np.testing.assert_array_equal(layer.pair[0], first.project())
    np.testing.assert_array_equal(layer.again[0], first.project())
    assert isinstance(layer.pair[1], tf.Variable)
    assert layer.pair[1] is layer.again[1]
    np.testing.assert_allclose(model.losses[0], 0.01 * np.sum(first.project() ** 2), rtol=1e-6)
    assert np.any(model(x) != before)


def test_containers_are_put_back_as_they_were():
    model = network(Containers, (4,))
    (layer,) = model.layers
    fields, order = list(vars(layer)), [id(v) for v in model.weights]
    containers = layer.pair, layer.by_name, layer.fixed
    kwc.compress(model, kwc.Spec([(".*bias", None), (".*", LowRank(2))]))
    kwc.decompress(model)
    assert list(vars(layer)) == fields
    assert [id(v) for v in model.weights] == order
    assert all(map(operator.is_, (layer.pair, layer.by_name, layer.fixed), containers))


def test_checkpoints_hold_no_weight_that_was_replaced(tmp_path):
    model = network(Containers, (4,))
    kwc.compress(model, kwc.Spec([(".*bias", None), (".*", LowRank(1))]))
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    shapes = [shape for _, shape in tf.train.list_variables(path)]
    assert [4, 4] not in shapes
    assert shapes.count([4, 1]) == shapes.count([1, 4]) == 6


# Functions with gradients of their own


@pytest.mark.parametrize("compressor", [Quantization(8), LowRank(4)], ids=repr)
def test_recomputing_for_the_gradient_changes_no_gradient(compressor):
    x = batch((4,))
    models = [network(functools.partial(Recomputed, again), (4,)) for again in (True, False)]
    for model in models:
        kwc.compress(model, kwc.Spec([(".*", compressor)]))
    again, once = (gradients(model, x) for model in models)
    for actual, expected in zip(again, once, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_custom_gradient_reaches_the_params():
    model, x = network(Around, (4,)), batch((4,))
    (dense,) = gradients(model, x)
    kwc.compress(model, kwc.Spec([(".*", Quantization(8))]))
    (actual,) = gradients(model, x)
    np.testing.assert_allclose(actual, dense, rtol=0.1, atol=0.1)


# What Keras's own verbs see


def test_weights_are_got_and_set_in_their_order():
    model, other = (network(Nested, (4,)) for _ in range(2))
    for each in (model, other):
        kwc.compress(each, kwc.Spec([(".*", Quantization(4))]))
    for v in model.trainable_variables:
        v.assign_add(tf.ones_like(v))
    assert [v.name for v in model.trainable_weights] == [v.name for v in model.weights][
        : len(model.trainable_weights)
    ]
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other(batch((4,))), model(batch((4,))))


def test_a_layer_frozen_after_compression_is_not_trained():
    model, x = network(Nested, (4,)), batch((4,))
    handle = kwc.compress(model, kwc.Spec([(".*", Quantization(4))]))
    model.layers[0].inner.trainable = False
    model.compile("sgd", "mse")
    params = {r.info.path: r.params["weight"] for r in handle.reparameterizations}
    before = {path: v.numpy() for path, v in params.items()}
    model.fit(x, x, verbose=0)
    moved = {path for path, v in params.items() if np.any(v.numpy() != before[path])}
    assert moved == {"nested/shared/kernel", "nested/shared/bias"}
