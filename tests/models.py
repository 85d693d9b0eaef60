"""Tiny trained tf_keras models of every kind, and an algorithm that changes nothing."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
import tf_keras

from kwc import algorithms
from kwc.compressor import WeightCompressor

keras = tf_keras.layers
LOSS = "sparse_categorical_crossentropy"


@algorithms.register
@dataclasses.dataclass(frozen=True)
class Same(WeightCompressor):
    """Replaces the weight by a param that is the weight."""


@dataclasses.dataclass(frozen=True)
class Squares(WeightCompressor):
    """Expects as many bits as the sum of squares of the weight."""

    def penalty(self, v, info, seed):
        return tf.reduce_sum(v.params["weight"] ** 2)


def convolutional() -> tf_keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.Conv2D(4, 3, kernel_regularizer="l2")(inputs)
    x = keras.BatchNormalization(momentum=0.5)(x)
    x = keras.SeparableConv2D(4, 3)(x)
    x = keras.Conv2DTranspose(4, 3)(x)
    x = keras.GlobalAveragePooling2D()(x)
    return tf_keras.Model(inputs, keras.Dense(3, activation="softmax")(x))


def recurrent() -> tf_keras.Model:
    return tf_keras.Sequential(
        [
            keras.Input((5,)),
            keras.Embedding(7, 4, embeddings_regularizer="l2"),
            keras.Bidirectional(keras.LSTM(3, return_sequences=True)),
            keras.GRU(3),
            keras.Dense(3, activation="softmax"),
        ]
    )


def attention() -> tf_keras.Model:
    inputs = keras.Input((5, 4))
    x = keras.MultiHeadAttention(2, 2)(inputs, inputs)
    x = keras.LayerNormalization()(x)
    x = tf_keras.Sequential([keras.Dense(6, activation="relu"), keras.Dense(4)])(x)
    x = keras.GlobalAveragePooling1D()(x)
    return tf_keras.Model(inputs, keras.Dense(3, activation="softmax")(x))


class Subclassed(tf_keras.Model):
    """Layers in a list, a weight of the model itself, and a metric."""

    def __init__(self):
        super().__init__()
        self.blocks = [keras.Dense(6, activation="relu"), keras.Dense(6, activation="relu")]
        self.head = self.add_weight(name="head", shape=(6, 3))
        self.tracker = tf_keras.metrics.Mean()

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return tf.nn.softmax(tf.matmul(x, self.head))


MODELS = {
    "convolutional": (convolutional, (8, 8, 3)),
    "recurrent": (recurrent, (5,)),
    "attention": (attention, (5, 4)),
    "subclassed": (Subclassed, (6,)),
}


def batch(name: str, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Seeded inputs and labels 0 to 2."""
    rng = np.random.default_rng(0)
    shape = (size, *MODELS[name][1])
    x = rng.integers(0, 7, shape) if name == "recurrent" else rng.normal(size=shape)
    return x.astype(np.float32), rng.integers(0, 3, size)


def built(name: str) -> tf_keras.Model:
    """A new model, called once."""
    tf_keras.utils.set_random_seed(0)
    model = MODELS[name][0]()
    model(batch(name)[0])
    return model


def trained(name: str) -> tf_keras.Model:
    """A model after a few steps, so that its statistics and biases are not those it began with."""
    model = built(name)
    model.set_weights(_trained_weights(name))
    model.compile("adam", LOSS)
    return model


@functools.cache
def _trained_weights(name: str) -> list[np.ndarray]:
    model = built(name)
    model.compile("adam", LOSS)
    model.fit(*batch(name), batch_size=4, verbose=0)
    return model.get_weights()


def dense(units: int = 3, inputs: int = 4, **kwargs) -> tf_keras.Sequential:
    """A Sequential model of one Dense layer called `dense`."""
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([keras.Input((inputs,)), keras.Dense(units, **kwargs)])
