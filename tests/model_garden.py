"""Tiny data and tiny experiments of Model Garden's stock tasks, for the integration tests."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments.data import prepare, tfrecords

ROOT = pathlib.Path(__file__).parents[1]
SPECS = ROOT / "gin_configs" / "specs"
RATES = {
    "entropy_constrained": 0.5,
    "epr": 0.3,
    "lilnetx": 0.3,
    "fast_epr": 0.5,
    "quantization": 4,
    "clustering": 8,
    "pruning": 0.5,
    "low_rank": 0.5,
    "lossless": None,
}


def write_images(folder):
    """Prepares the 8x8 digits; returns the folder of their three splits."""
    return prepare("digits", folder).folder


def write_sentences(folder, count=32, length=16, words=50):
    """Writes sentences whose label says whether a word is in them, in the decoder's format."""
    rng = np.random.default_rng(0)

    def records(split):
        for label in rng.permutation(np.arange(count) % 3):
            ids = [int(rng.integers(10, words)) if i else int(label) + 1 for i in range(length)]
            yield tfrecords.serialize(
                {
                    "input_ids": ids,
                    "input_mask": [1] * length,
                    "segment_ids": [0] * length,
                    "label_ids": [int(label)],
                }
            )

    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        tfrecords.write_split(folder, split, records(split), lambda: None)
    return folder


def trainer(steps, **fields):
    return {
        "train_steps": steps,
        "steps_per_loop": 2,
        "summary_interval": 2,
        "checkpoint_interval": 2,
        "validation_interval": 1000,
        "validation_steps": -1,
        "max_to_keep": 10,
        "optimizer_config": {
            "optimizer": {"type": "adam"},
            "learning_rate": {"type": "constant", "constant": {"learning_rate": 0.01}},
            "warmup": {"type": None},
        },
        **fields,
    }


def images_task(data, **fields):
    """Overrides for `image_classification` on the digits; every experiment of it takes them."""
    split = {"dtype": "float32", "decode_jpeg_only": False, "aug_crop": False}
    return {
        "model": {"num_classes": 10, "input_size": [8, 8, 3]},
        "train_data": split
        | {
            "input_path": str(data / "train.tfrecord"),
            "global_batch_size": 32,
            "aug_rand_hflip": False,
            "cache": True,
        },
        "validation_data": split
        | {
            "input_path": str(data / "validation.tfrecord"),
            "global_batch_size": 60,
            "drop_remainder": False,
        },
        **fields,
    }


def resnet(data, **fields):
    """Overrides that make `resnet_imagenet` a narrow ResNet-10 on the digits."""
    task = images_task(data, **fields)
    task["model"] |= {
        "backbone": {"type": "resnet", "resnet": {"model_id": 10, "depth_multiplier": 0.125}},
        "norm_activation": {"use_sync_bn": False, "norm_momentum": 0.9},
        "dropout_rate": 0.0,
    }
    return task


def bert(data, **fields):
    """Overrides that make `bert/sentence_prediction` a BERT of one layer on made-up sentences."""
    split = {"seq_length": 16, "global_batch_size": 8}
    return {
        "model": {
            "num_classes": 3,
            "encoder": {
                "type": "bert",
                "bert": {
                    "vocab_size": 50,
                    "num_layers": 1,
                    "hidden_size": 16,
                    "num_attention_heads": 2,
                    "intermediate_size": 32,
                    "max_position_embeddings": 16,
                },
            },
        },
        "train_data": split | {"input_path": str(data / "train.tfrecord")},
        "validation_data": split
        | {"input_path": str(data / "validation.tfrecord"), "drop_remainder": False},
        **fields,
    }


def assert_same_metrics(content, tolerance=1e-6):
    """The model decoded from the artifact does what the trained one does.

    The weights are the same to the bit; sums over a batch are in an order that threads choose.
    """
    expected = pytest.approx(content["metrics"]["training_graph"], rel=tolerance, abs=0)
    assert content["metrics"]["artifact"] == expected


def flags(experiment, mode, folder, task, train, spec=None, **more):
    """The command-line flags that Model Garden's drivers and ours have in common."""
    given = {
        "experiment": experiment,
        "mode": mode,
        "model_dir": folder,
        "params_override": json.dumps({"task": task, "trainer": train}),
        **more,
    }
    if spec is not None:
        given |= {"gin_file": SPECS / f"{spec}.gin"}
        if RATES[spec] is not None:
            given |= {"gin_params": f"RATE={RATES[spec]}"}
    return [f"--{name}={value}" for name, value in given.items()]


def start(module, arguments):
    """Starts `python -m module` in the repository with its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(module, arguments):
    """Runs `python -m module`; returns its exit code and output."""
    process = start(module, arguments)
    output, _ = process.communicate(timeout=900)
    return process.returncode, output
