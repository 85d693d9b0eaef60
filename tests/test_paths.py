"""Weight paths come from structure: they do not change with names that Keras counts up."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from kwc import paths

keras = tf_keras.layers


def names(model):
    return [weight.path for weight in paths.weights(model)]


def kernels(model):
    return [path for path in names(model) if path.endswith("kernel")]


def axes(model):
    infos = [weight.info for weight in paths.weights(model)]
    return {info.path: (info.input_axes, info.output_axes) for info in infos}


class Net(tf_keras.Model):
    """Layers in attributes, lists, tuples and dicts; variables of its own; a metric."""

    def __init__(self):
        super().__init__()
        self.blocks = [keras.Dense(3), keras.Dense(3)]
        self.heads = {"a": keras.Dense(2), "b": [keras.Dense(2)]}
        self.pair = (keras.Dense(2),)
        self._hidden = keras.Dense(2)
        self.scale = tf.Variable(1.0)
        self.offsets = [tf.Variable([1.0, 2.0])]
        self.add_weight(name="unnamed", shape=(2,))
        self.tracker = tf_keras.metrics.Mean()

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        heads = self.heads["a"](x) + self.heads["b"][0](x) + self.pair[0](x)
        return self._hidden(heads) * self.scale + self.offsets[0]


def build(model, shape):
    model(tf.zeros(shape))
    return model


def functional():
    inputs = keras.Input((8, 8, 3))
    x = keras.Conv2D(4, 3)(inputs)
    x = keras.BatchNormalization()(x)
    x = keras.Conv2D(4, 3, name="last")(x)
    x = keras.GlobalAveragePooling2D()(x)
    x = tf_keras.Sequential([keras.Dense(4), keras.Dense(4)])(x)
    return tf_keras.Model(inputs, keras.Dense(2)(x))


def test_a_functional_model_goes_by_layer_names():
    assert kernels(functional()) == [
        "conv2d/kernel",
        "last/kernel",
        "sequential/dense/kernel",
        "sequential/dense_1/kernel",
        "dense/kernel",
    ]


def test_a_subclassed_model_goes_by_attributes():
    assert sorted(names(build(Net(), [1, 3]))) == sorted(
        [
            "scale",
            "offsets/0",
            "unnamed",
            *(f"hidden/{x}" for x in ("kernel", "bias")),
            *(f"blocks/{i}/{x}" for i in (0, 1) for x in ("kernel", "bias")),
            *(f"heads/a/{x}" for x in ("kernel", "bias")),
            *(f"heads/b/0/{x}" for x in ("kernel", "bias")),
            *(f"pair/0/{x}" for x in ("kernel", "bias")),
        ]
    )


@pytest.mark.parametrize(("make", "shape"), [(functional, [1, 8, 8, 3]), (Net, [1, 3])])
def test_paths_do_not_depend_on_models_built_before(make, shape):
    first = names(build(make(), shape))
    assert first == names(build(make(), shape))
    assert len(set(first)) == len(first)


def test_recurrent_layers_go_by_their_cells():
    model = tf_keras.Sequential(
        [
            keras.Input((5, 4)),
            keras.Bidirectional(keras.LSTM(3, return_sequences=True)),
            keras.TimeDistributed(keras.Dense(4)),
            keras.RNN([keras.LSTMCell(2), keras.GRUCell(2)], return_sequences=True),
            keras.GRU(3),
        ]
    )
    assert kernels(model) == [
        "bidirectional/forward_layer/cell/kernel",
        "bidirectional/forward_layer/cell/recurrent_kernel",
        "bidirectional/backward_layer/cell/kernel",
        "bidirectional/backward_layer/cell/recurrent_kernel",
        "time_distributed/layer/kernel",
        "rnn/cell/cells/0/kernel",
        "rnn/cell/cells/0/recurrent_kernel",
        "rnn/cell/cells/1/kernel",
        "rnn/cell/cells/1/recurrent_kernel",
        "gru/cell/kernel",
        "gru/cell/recurrent_kernel",
    ]


class Tied(tf_keras.Model):
    """An embedding whose table is the head's kernel too."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.Embedding(6, 4)
        self.head = Head(self.embedding)

    def call(self, ids):
        return self.head(self.embedding(ids))


class Head(keras.Layer):
    def __init__(self, embedding):
        super().__init__()
        self.source = embedding

    def build(self, shape):
        self.table = self.source.embeddings
        super().build(shape)

    def call(self, x):
        return tf.matmul(x, self.table, transpose_b=True)


def test_a_tied_weight_is_listed_once_with_both_holders():
    model = Tied()
    model(tf.zeros([1, 2], tf.int32))
    (weight,) = paths.weights(model)
    assert [holder.path for holder in weight.holders] == ["embedding/embeddings", "head/table"]
    assert weight.info.path == "embedding/embeddings"


def test_a_layer_used_twice_is_listed_once():
    inputs = keras.Input((3,))
    shared = keras.Dense(3)
    assert kernels(tf_keras.Model(inputs, shared(shared(inputs)))) == ["dense/kernel"]


def test_equal_names_are_numbered():
    class Twins(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self._dense = keras.Dense(2)
            self.dense = keras.Dense(2)

        def call(self, x):
            return self.dense(self._dense(x))

    assert kernels(build(Twins(), [1, 3])) == ["dense/kernel", "dense_1/kernel"]
    layers = [keras.Dense(4, name="dense_5"), keras.Dense(4), keras.PReLU(name="dense_1")]
    assert names(tf_keras.Sequential([keras.Input((4,)), *layers])) == [
        "dense/kernel",
        "dense/bias",
        "dense_1/kernel",
        "dense_1/bias",
        "dense_1_1/alpha",
    ]


def test_no_weight_is_left_out():
    class Hider(keras.Layer):
        """Tracks a layer without an attribute that leads to it."""

        def __init__(self):
            super().__init__()
            self._self_tracked_trackables.append(keras.Dense(2, name="hidden"))

        def call(self, x):
            return self._self_tracked_trackables[0](x)

    layer = build(Hider(), [1, 3])
    found = paths.weights(layer)
    assert {id(weight.variable) for weight in found} == {id(v) for v in layer.weights}
    assert all(holder.attribute is None for weight in found for holder in weight.holders)


def test_an_attribute_may_be_called_as_keras_calls_its_own():
    """Model Garden's 3D blocks have one that begins with `_self_`, as TensorFlow's lists do."""

    class Gated(keras.Layer):
        def __init__(self):
            super().__init__()
            self._self_gating = keras.Dense(2)

        def call(self, x):
            return x * self._self_gating(x)

    assert names(build(Gated(), [1, 2])) == ["self_gating/kernel", "self_gating/bias"]


def test_metrics_hold_no_weights():
    model = build(Net(), [1, 3])
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.zeros([2, 3]), np.zeros([2, 2]), verbose=0)
    assert not [name for name in names(model) if "total" in name or "count" in name]


def test_layers_by_path():
    found = paths.layers(functional())
    assert isinstance(found["sequential/dense_1"], keras.Dense)
    assert isinstance(found["global_average_pooling2d"], keras.GlobalAveragePooling2D)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (keras.Dense(4), [1, 3], {"kernel": ((0,), (1,)), "bias": ((), (0,))}),
        (keras.Conv2D(4, 3), [1, 8, 8, 2], {"kernel": ((0, 1, 2), (3,))}),
        (keras.DepthwiseConv2D(3), [1, 8, 8, 2], {"depthwise_kernel": ((0, 1), (2, 3))}),
        (keras.Conv1DTranspose(4, 3), [1, 8, 2], {"kernel": ((0, 2), (1,))}),
        (keras.Conv2DTranspose(4, 3), [1, 8, 8, 2], {"kernel": ((0, 1, 3), (2,))}),
        (keras.Conv3DTranspose(4, 3), [1, 8, 8, 8, 2], {"kernel": ((0, 1, 2, 4), (3,))}),
        (
            keras.SeparableConv1D(4, 3),
            [1, 8, 2],
            {"depthwise_kernel": ((0,), (1, 2)), "pointwise_kernel": ((0, 1), (2,))},
        ),
        (keras.EinsumDense("abc,cde->abde", (None, 2, 4)), [1, 5, 3], {"kernel": ((0,), (1, 2))}),
        (keras.EinsumDense("...x,xy->...y", 4), [1, 5, 3], {"kernel": ((0,), (1,))}),
        (
            keras.EinsumDense("abde,dec->abc", (None, 4), bias_axes="c"),
            [1, 5, 2, 3],
            {"kernel": ((0, 1), (2,)), "bias": ((), (0,))},
        ),
        (keras.Embedding(5, 4), [1, 2], {"embeddings": ((0,), (1,))}),
        (keras.GRU(3), [1, 4, 2], {"cell/kernel": ((0,), (1,)), "cell/bias": ((), (0, 1))}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.Layer) else "",
)
def test_axes_follow_the_kind_of_layer(layer, shape, expected):
    layer(tf.zeros(shape))
    assert expected.items() <= axes(layer).items()


def test_the_axes_are_those_that_the_layer_sums_over():
    """A change along the input axes of one output channel changes that channel alone."""
    layer = keras.Conv1DTranspose(4, 3, use_bias=False)
    x = tf.ones([1, 8, 2])
    before = layer(x)
    (weight,) = paths.weights(layer)
    (channel,) = weight.info.output_axes
    index = [slice(None)] * 3
    index[channel] = 1
    value = weight.variable.numpy()
    value[tuple(index)] += 1.0
    weight.variable.assign(value)
    changed = np.any(layer(x).numpy() != before.numpy(), axis=(0, 1))
    assert changed.tolist() == [False, True, False, False]
