"""Loads one exported file as its users do, runs it, and says what that takes.

    python -m kwc.runtime.timed tflite model.tflite inputs.npz '{"structure": ["x", "y"]}'

It is the process that `kwc.exports.measure` starts anew for each file, so it imports no more than
the file needs. It prints a line of JSON when the file has given its first outputs, and one for each
line that it reads: how many seconds to go on for.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], Any]


def tflite(path: pathlib.Path, inputs: dict[str, np.ndarray], **_: Any) -> Callable[[], Call]:
    """Prepares to load a `.tflite` file, or a packed one; LiteRT runs it on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    from kwc import artifact, runtime

    def load() -> Call:
        if path.suffix == artifact.SUFFIX:
            interpreter = Interpreter(model_content=runtime.expand(path), num_threads=1)
        else:
            interpreter = Interpreter(model_path=str(path), num_threads=1)
        runner = interpreter.get_signature_runner()

        def call() -> None:
            runner(**inputs)
            # Recurrent layers would go on from the state in which this call left them.
            interpreter.reset_all_variables()

        return call

    return load


def saved_model(path: pathlib.Path, inputs: dict[str, np.ndarray], **_: Any) -> Callable[[], Call]:
    """Prepares to load a SavedModel; TensorFlow runs its signature on one thread."""
    tf = _tensorflow()
    tensors = {name: tf.constant(array) for name, array in inputs.items()}

    def load() -> Call:
        model = tf.saved_model.load(path)

        def call() -> None:
            # The signature alone would not keep the variables.
            signature = model.signatures[tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
            for output in signature(**tensors).values():
                output.numpy()

        return call

    return load


def keras(
    path: pathlib.Path, inputs: dict[str, np.ndarray], structure: Any, modules: list[str]
) -> Callable[[], Call]:
    """Prepares to load a Keras model, after the modules of its layers; it runs as a function."""
    tf = _tensorflow()
    import tf_keras

    for module in modules:
        importlib.import_module(module)
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    nested = tf.nest.map_structure(tensors.get, structure)

    def load() -> Call:
        model = tf_keras.models.load_model(path, compile=False)
        function = tf.function(lambda x: model(x, training=False))

        def call() -> None:
            tf.nest.map_structure(lambda output: output.numpy(), function(nested))

        return call

    return load


def _tensorflow() -> Any:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.constant(0) + 1  # Sets up what any use of TensorFlow does.
    return tf


KINDS = {loader.__name__: loader for loader in (tflite, saved_model, keras)}


def main(kind: str, path: str, inputs: str, options: str) -> None:
    """Measures one file until there is no more input.

    Args:
        kind: one of `KINDS`.
        path: the file or folder.
        inputs: an `.npz` file with one example: arrays by name, each with a first axis of 1.
        options: a JSON object of what a Keras model needs: `structure`, the names of inputs as the
            model takes them, and `modules`, which define the classes of its layers.
    """
    answers = _answers()
    # Those of bytes are arrays of objects.
    with np.load(inputs, allow_pickle=True) as arrays:
        example = dict(arrays)
    load = KINDS[kind](pathlib.Path(path), example, **json.loads(options))
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # Forgets the most that was resident.
    before = _resident("VmRSS")
    start = time.perf_counter()
    call = load()
    call()
    _answer(answers, load_seconds=time.perf_counter() - start, before_bytes=before)
    for line in sys.stdin:
        seconds = _calls(call, float(line))
        resident, peak = _resident("VmRSS"), _resident("VmHWM")
        _answer(answers, seconds=seconds, resident_bytes=resident, peak_bytes=peak)


def _calls(call: Call, seconds: float) -> list[float]:
    """How long each call takes, in seconds, of as many as it takes to fill the time."""
    taken = []
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        stop = time.perf_counter()
        taken.append(stop - start)
        if stop >= end:
            return taken


def _resident(name: str) -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", status)[1])


def _answers() -> Any:
    """The standard output, which from now on nothing else in this process writes to."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _answer(answers: Any, **content: Any) -> None:
    print(json.dumps(content), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
