"""Accuracy against bytes of TFMOT's EPR and FastEPR, on the images of the sweeps on Fashion-MNIST.

    python -m experiments.prepare_data --dataset=fashion_mnist
    python3.11 -m venv tfmot
    tfmot/bin/pip install absl-py dm-tree tensorflow==2.14.1 tensorflow-compression==2.14.1
    git clone https://github.com/tensorflow/model-optimization
    PYTHONPATH=model-optimization tfmot/bin/python benchmarks/tfmot_epr.py \
        --output=results/fashion_mnist/tfmot.csv

It has an environment of its own, since tensorflow-compression ended at TensorFlow 2.14, and takes
TFMOT from its repository, since the package lacks these algorithms. Networks, images, batches,
epochs, Adam and its cosine schedule are those of gin_configs/sweeps/fashion_mnist_trained.gin.
Bytes are those of the compressed model's weights: strings as long as they are, others as arrays.
A trial that the output has already is not run again. About five minutes of a core each.
"""

import csv
import itertools
import pathlib
import time

import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow import keras
from tensorflow_model_optimization.python.core.common.keras.compression.algorithms import epr

_OUTPUT = flags.DEFINE_string("output", None, "CSV file that a row is added to for each trial.")
_DATA = flags.DEFINE_string("data", "data/fashion_mnist", "Folder that prepare_data has written.")
_ARCH = flags.DEFINE_multi_enum(
    "arch",
    ["fashion_lenet_300_100", "fashion_lenet5"],
    ["fashion_lenet_300_100", "fashion_lenet5"],
    "Networks.",
)
_SYSTEM = flags.DEFINE_multi_enum(
    "system", ["TFMOT FastEPR", "TFMOT EPR"], ["TFMOT FastEPR", "TFMOT EPR"], "Algorithms."
)
_WEIGHT = flags.DEFINE_multi_float(
    "weight", [0.3, 1.0, 3.0], "Loss per bit of a weight, in the mean."
)
_RATE = flags.DEFINE_float("learning_rate", None, "Of training on; by default as LEARNING_RATE.")
_SEED = flags.DEFINE_multi_integer("seed", [0, 1, 2], "Seeds, of the dense model too.")

BATCH = 128
EPOCHS = {"fashion_lenet_300_100": 15, "fashion_lenet5": 8}
DENSE_LEARNING_RATE = 1e-3
# At FastEPR's, EPR's scales do not settle on LeNet-5.
LEARNING_RATE = {"TFMOT FastEPR": 2e-3, "TFMOT EPR": 6e-3}
# ImageNet's, as Model Garden's input of images subtracts and divides, of 255 grey levels.
MEAN = 255 * np.array([0.485, 0.456, 0.406])
DEVIATION = 255 * np.array([0.229, 0.224, 0.225])
KEY = ["system", "arch", "weight", "learning_rate", "seed"]
FIELDS = [*KEY, "dense_accuracy", "validation_accuracy", "accuracy", "file_bytes", "seconds"]

Split = tuple[np.ndarray, np.ndarray]


def read(split: str) -> Split:
    """Returns images float32[n, 28, 28, 1] and labels int64[n] of a split."""
    path = pathlib.Path(_DATA.value) / f"{split}.tfrecord"
    images, labels = [], []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        encoded = feature["image/encoded"].bytes_list.value[0]
        images.append(tf.io.decode_image(encoded, channels=1).numpy())
        labels.append(feature["image/class/label"].int64_list.value[0])
    grey = np.stack(images).astype(np.float32)
    return ((grey - MEAN) / DEVIATION).mean(-1, keepdims=True).astype(np.float32), np.array(labels)


def build(arch: str) -> keras.Model:
    """Returns the network of gin_configs/archs of that name, from images to ten logits."""
    layers = keras.layers
    inputs = hidden = layers.Input((28, 28, 1))
    if arch == "fashion_lenet5":
        for filters in (20, 50):
            hidden = layers.Conv2D(filters, 5, activation="relu")(hidden)
            hidden = layers.MaxPool2D(2, 2)(hidden)
    hidden = layers.Flatten()(hidden)
    for units in (500,) if arch == "fashion_lenet5" else (300, 100):
        hidden = layers.Dense(units, activation="relu")(hidden)
    return keras.Model(inputs, layers.Dense(10)(hidden))


def fit(model: keras.Model, images: Split, learning_rate: float, epochs: int) -> None:
    """Trains a model in place."""
    steps = epochs * (len(images[0]) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    model.fit(*images, batch_size=BATCH, epochs=epochs, verbose=0)


def accuracy(model: keras.Model, images: Split) -> float:
    """Returns the share of right answers."""
    logits = model.predict(images[0], batch_size=500, verbose=0)
    return round(float(np.mean(logits.argmax(1) == images[1])), 4)


def bytes_of(weight: tf.Variable) -> int:
    """Returns the bytes of a weight of a compressed model."""
    if weight.dtype == tf.string:
        return int(tf.reduce_sum(tf.strings.length(weight, unit="BYTE")))
    return int(tf.size(weight)) * weight.dtype.size


def compress(trial: dict[str, object], dense: keras.Model, images: Split) -> keras.Model:
    """Returns the compressed model that TFMOT makes of a dense one by training it further."""
    fast = trial["system"] == "TFMOT FastEPR"
    algorithm = epr.FastEPR(trial["weight"]) if fast else epr.EPR(trial["weight"])
    training = algorithm.get_training_model(dense)
    fit(training, images, trial["learning_rate"], EPOCHS[trial["arch"]])
    return algorithm.compress_model(training)


def append(row: dict[str, object]) -> None:
    """Adds a row to the output, under a header if it is the first."""
    path = pathlib.Path(_OUTPUT.value)
    header = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerow(row)


def finished() -> set[tuple[str, ...]]:
    """Returns the keys of the output's rows."""
    path = pathlib.Path(_OUTPUT.value)
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {tuple(row[name] for name in KEY) for row in csv.DictReader(file)}


def main(arguments: list[str]) -> None:
    """Runs the trials that the output lacks."""
    if len(arguments) > 1:
        raise app.UsageError(f"Unexpected arguments: {arguments[1:]}.")
    splits = {split: read(split) for split in ("train", "validation", "test")}
    done = finished()
    for seed, arch in itertools.product(_SEED.value, _ARCH.value):
        given = itertools.product(_WEIGHT.value, _SYSTEM.value)
        settings = (
            (system, arch, weight, _RATE.value or LEARNING_RATE[system], seed)
            for weight, system in given
        )
        missing = [s for s in settings if tuple(map(str, s)) not in done]
        if not missing:
            continue
        keras.utils.set_random_seed(seed)
        dense = build(arch)
        fit(dense, splits["train"], DENSE_LEARNING_RATE, EPOCHS[arch])
        for setting in missing:
            trial = dict(zip(KEY, setting, strict=True))
            keras.utils.set_random_seed(seed)
            start = time.perf_counter()
            compressed = compress(trial, dense, splits["train"])
            row = trial | {
                "dense_accuracy": accuracy(dense, splits["test"]),
                "validation_accuracy": accuracy(compressed, splits["validation"]),
                "accuracy": accuracy(compressed, splits["test"]),
                "file_bytes": sum(map(bytes_of, compressed.weights)),
                "seconds": round(time.perf_counter() - start),
            }
            append(row)
            print(row, flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("output")
    app.run(main)
