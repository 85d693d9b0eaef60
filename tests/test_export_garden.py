"""Models of Model Garden and tf_keras, each by real builders, on the routes that ship them."""

import functools
import pathlib

import export_garden
import export_models
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.nlp.modeling import models

LENGTH, WIDTH, HEADS, WORDS = 6, 16, 2, 40


def lstm():
    build = export_models.recurrent
    return export_models.built(build), export_models.inputs(build)


class Encoder(models.Seq2SeqTransformer):
    """The first half of a translation: sentences to what the decoder attends to."""

    def call(self, words):
        mask = tf.cast(tf.not_equal(words, 0), tf.float32)
        x = self.embedding_lookup(words) * mask[..., None]
        x += self.position_embedding(x)
        return self.encoder_layer(x, attention_mask=mask[:, :, None] * mask[:, None, :])


class DecodeStep(models.Seq2SeqTransformer):
    """One step of the second half: a word and what is known of those before, to logits."""

    def call(self, inputs):
        past = {"key": inputs["key"], "value": inputs["value"]}
        position = tf.shape(past["key"])[1]
        timing = self.position_embedding(inputs=None, length=position + 1)
        x = self.embedding_lookup(inputs["word"]) + timing[position]
        x = self.decoder_layer(
            x,
            inputs["encoded"],
            self_attention_mask=tf.ones([1, 1, position + 1]),
            cross_attention_mask=inputs["mask"][:, None],
            cache={"0": past},
        )
        logits = self._embedding_linear(self.embedding_lookup.embeddings, x)
        return {"logits": logits, **past}


def _layers():
    return {"num_layers": 1, "num_attention_heads": HEADS, "intermediate_size": 32}


def encoder():
    model = Encoder(WORDS, WIDTH, encoder_layer=models.TransformerEncoder(**_layers()))
    words = np.random.default_rng(0).integers(1, WORDS, (3, LENGTH)).astype(np.int32)
    words[1:, -2:] = 0
    return model, words


def decode_step():
    model = DecodeStep(WORDS, WIDTH, decoder_layer=models.TransformerDecoder(**_layers()))
    rng = np.random.default_rng(0)
    past = (3, LENGTH, HEADS, WIDTH // HEADS)
    return model, {
        "word": rng.integers(1, WORDS, (3, 1)).astype(np.int32),
        "key": rng.normal(size=past).astype(np.float32),
        "value": rng.normal(size=past).astype(np.float32),
        "encoded": rng.normal(size=(3, LENGTH, WIDTH)).astype(np.float32),
        "mask": np.ones((3, LENGTH), np.float32),
    }


EXPERIMENTS = {
    "lenet5": (
        "lenet5_mnist",
        {"validation_data": {"input_path": "{data}/classification.tfrecord"}},
    ),
    "mobilenet_v2": ("mobilenet_imagenet", {}),
    "mobilenet_v3": (
        "mobilenet_imagenet",
        {"model": {"backbone": {"mobilenet": {"model_id": "MobileNetV3Small"}}}},
    ),
    "resnet": ("resnet_imagenet", {}),
    "deeplab": ("seg_deeplabv3plus_pascal", {}),
    "bert": ("bert/sentence_prediction", {}),
}
OTHERS = {"lstm": lstm, "seq2seq_encoder": encoder, "seq2seq_decode_step": decode_step}
# Nothing that the task takes of the model depends on them, and the converter leaves them out.
UNUSED = {
    "bert": {"network/pooler_layer/kernel"},
    "deeplab": {
        f"backbone/residual_block_3/{name}/kernel" for name in ("shortcut", "conv1", "conv2")
    },
}
FAST = ["lenet5", "bert"]
NAMES = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
    for name in [*EXPERIMENTS, *OTHERS]
]
ROUTES = {
    "float32": ("tflite", "model.tflite"),
    "int8": ("tflite", "model.tflite"),
    "packed": ("tflite", "model.kwc"),
    "at_load": ("saved_model", "model"),
}


@functools.cache
def made(name: str, folder: pathlib.Path) -> export_garden.Subject:
    """Builds a model once, and writes its artifact."""
    folder = folder / name
    if name in EXPERIMENTS:
        return export_garden.subject(EXPERIMENTS[name][0], folder, EXPERIMENTS[name][1])
    tf_keras.utils.set_random_seed(0)
    model, inputs = OTHERS[name]()
    model(inputs)
    folder.mkdir()
    return export_garden.compressed(model, inputs, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    yield tmp_path_factory.mktemp("models")
    made.cache_clear()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", NAMES)
def test_each_model_is_exported_by_each_route(name, route, folder, tmp_path):
    own, (to, file) = made(name, folder), ROUTES[route]
    report = own.export(tmp_path / file, to=to, route=route, inputs=own.inputs)
    assert report.proof.error < 1e-4
    plain = {weight.path for weight in report if weight.form == "float32"}
    left_out = UNUSED.get(name, set()) if to == "tflite" else set()
    assert plain == (left_out if route != "float32" else {weight.path for weight in report})
    assert route == "float32" or report.proof.weight_error < 1e-6
