"""Multiply-adds, against counts worked out by hand."""

import tensorflow as tf
import tf_keras

from experiments import macs

layers = tf_keras.layers


def spec(*shape, dtype=tf.float32):
    return tf.TensorSpec([None, *shape], dtype)


def test_a_convolution_and_a_matrix():
    inputs = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    model = tf_keras.Model(inputs, layers.Dense(10, use_bias=False)(layers.Flatten()(x)))
    # 8x8 places x 3x3x3 inputs x 16 filters, and 1,024 x 10.
    assert macs.count(model, (spec(8, 8, 3), spec(dtype=tf.int32))) == 64 * 27 * 16 + 1024 * 10


def sentence_model():
    words, mask = (tf_keras.Input([None], dtype=tf.int32, name=name) for name in ("words", "mask"))
    x = layers.Embedding(20, 4)(words) * tf.cast(mask, tf.float32)[..., None]
    return tf_keras.Model({"words": words, "mask": mask}, layers.Dense(6, use_bias=False)(x))


def test_the_data_fixes_the_length_of_a_sentence():
    batch = {name: spec(16, dtype=tf.int32) for name in ("words", "mask", "label")}
    counted = macs.count(sentence_model(), batch)
    # 16 words x a matrix of 4 x 6, and half of the 64 products with the mask.
    assert counted == 16 * 24 + 32


def test_no_count_without_a_length():
    batch = {name: spec(None, dtype=tf.int32) for name in ("words", "mask")}
    assert macs.count(sentence_model(), batch) is None


def test_no_count_of_a_model_without_declared_inputs():
    class Subclassed(tf_keras.Model):
        def call(self, inputs):
            return inputs

    assert macs.count(Subclassed(), spec(3)) is None
