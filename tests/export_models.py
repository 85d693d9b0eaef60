"""Tiny models of the kinds that are exported, their inputs and their artifacts."""

import functools
import pathlib
import tempfile

import numpy as np
import tf_keras

import kwc
from kwc.artifact import PackedWeight, pack
from kwc.exports import tflite
from kwc.exports.flatbuffer import Graph, dtype_of
from kwc.schedules import Step

keras = tf_keras.layers


def convolutional() -> tf_keras.Model:
    """As LeNet-5."""
    return tf_keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            keras.Conv2D(6, 3, activation="relu"),
            keras.MaxPool2D(),
            keras.Conv2D(12, 3, activation="relu"),
            keras.Flatten(),
            keras.Dense(40, activation="relu"),
            keras.Dense(10),
        ]
    )


def separable() -> tf_keras.Model:
    """As MobileNet: batch norm after each convolution, and depthwise ones."""
    inputs = x = keras.Input((16, 16, 3))
    for layer in (
        keras.Conv2D(16, 3, strides=2, use_bias=False),
        keras.DepthwiseConv2D(3, use_bias=False),
        keras.Conv2D(24, 1, use_bias=False),
    ):
        x = keras.ReLU(6.0)(keras.BatchNormalization()(layer(x)))
    x = keras.GlobalAveragePooling2D()(x)
    return tf_keras.Model(inputs, keras.Dense(10)(x))


def text() -> tf_keras.Model:
    return tf_keras.Sequential(
        [
            keras.Input((7,)),
            keras.Embedding(50, 16),
            keras.GlobalAveragePooling1D(),
            keras.Dense(16, activation="relu"),
            keras.Dense(3),
        ]
    )


def recurrent() -> tf_keras.Model:
    return tf_keras.Sequential(
        [keras.Input((7,)), keras.Embedding(50, 8), keras.LSTM(12), keras.Dense(3)]
    )


INPUTS = {convolutional: (12, 12, 1), separable: (16, 16, 3), text: (7,), recurrent: (7,)}


def built(build) -> tf_keras.Model:
    """A model whose weights, those of batch norm included, are not those that it began with."""
    tf_keras.utils.set_random_seed(0)
    model = build()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            around = float("gamma" in weight.name or "variance" in weight.name)
            weight.assign(rng.uniform(around - 0.5, around + 0.5, weight.shape))
    return model


def inputs(build, examples: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (examples, *INPUTS[build])
    numbers = rng.integers(0, 50, shape) if len(shape) == 2 else rng.normal(size=shape)
    return numbers.astype(np.float32)


@functools.cache
def _packed(build, compressor) -> bytes:
    model = built(build)
    rules = [(".*/(kernel|depthwise_kernel|embeddings|recurrent_kernel)", compressor), (".*", None)]
    kwc.compress(model, kwc.Spec(rules), calibration=[inputs(build)])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.kwc"
        kwc.save(model, path, preset="fast")
        return path.read_bytes()


def artifact(build, compressor, folder):
    """Writes the artifact of a model whose kernels one algorithm compresses; returns its path."""
    path = folder / "model.kwc"
    path.write_bytes(_packed(build, compressor))
    return path


def export(build, compressor, folder, name="model.tflite", **options):
    """Exports it, and returns the report."""
    options = {"to": "tflite", "inputs": inputs(build)} | options
    return kwc.export(artifact(build, compressor, folder), built(build), folder / name, **options)


_convert = tflite.convert
_converted: dict[bytes, bytes] = {}


def convert_once(content) -> bytes:
    """Does what `tflite.convert` does, once for models with the same weights."""
    key = b"".join(weight.decompress().tobytes() for weight in content.weights.values())
    if key not in _converted:
        _converted[key] = _convert(content)
    return _converted[key]


def operations(report) -> list[str]:
    """Names of the operations of a written `.tflite` file."""
    graph = Graph(report.path.read_bytes())
    return [graph.name_of(op) for sub in graph.model.subgraphs for op in sub.operators]


def used(report) -> set[tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor that an operation of the file takes or fills."""
    subgraph = Graph(report.path.read_bytes()).model.subgraphs[0]
    numbers = {n for op in subgraph.operators for n in (*op.inputs, *op.outputs) if n >= 0}
    tensors = [subgraph.tensors[number] for number in numbers]
    return {
        (dtype_of(tensor).name, tuple(() if tensor.shape is None else map(int, tensor.shape)))
        for tensor in tensors
    }


def packed(compressor, info) -> PackedWeight:
    """A random weight as an algorithm packs it."""
    weight = np.random.default_rng(0).normal(size=info.shape).astype(np.float32)
    variables = compressor.init(weight, info, Step(0, 0), {})
    return pack(compressor, compressor.compress(variables, info), info)
