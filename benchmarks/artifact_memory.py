"""Memory that an artifact of a large model takes while it is written and read.

    python -m benchmarks.artifact_memory --output=results/artifact_memory.csv

BERT-base, 110 million weights, is written by `kwc.save`, read by `kwc.load` into a model, and read
by `kwc.runtime.load` without TensorFlow, each in a process of its own. Memory is the most resident
bytes while that runs, over those before it; the model's own weights count as 1. So `ratio` is how
many times the float32 weights are held in all: what is asked of it is 2. The weights are of a model
that is not trained, whose sizes say nothing. The coders are compiled before: that takes 0.1 GB,
once on a machine.
"""

import csv
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from absl import app, flags
from rich.console import Console
from rich.table import Table

CASES = ("lossless/fast", "quantization/fast", "lossless/small", "quantization/small")
STEPS = ("save", "load", "runtime")

_CASE = flags.DEFINE_multi_enum("case", [*CASES], [*CASES], "Algorithms and presets.")
_OUTPUT = flags.DEFINE_string("output", None, "Also write the figures to this CSV file.")
_STEP = flags.DEFINE_enum("step", None, STEPS, "Measure this one in this process; prints JSON.")
_FILE = flags.DEFINE_string("file", None, "The artifact of --step.")


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement; bytes, seconds, and multiples of the float32 size."""

    case: str
    step: str
    dense_bytes: int
    file_bytes: int
    extra_bytes: int
    ratio: float
    seconds: float


def build():
    """Returns BERT-base as Model Garden registers it."""
    from official.core import exp_factory, task_factory

    from experiments import registry_imports  # noqa: F401  (registers the experiments)

    task = exp_factory.get_exp_config("bert/sentence_prediction").task
    task.model.num_classes = 2
    return task_factory.get_task(task).build_model()


def measure(case: str, step: str, path: pathlib.Path) -> Row:
    """Runs one step in this process, which has done nothing before."""
    import kwc
    import kwc.runtime

    algorithm, _, preset = case.partition("/")
    if step == "runtime":
        start = _start()
        weights = kwc.runtime.load(path)
        extra, seconds = _stop(start)
        dense = sum(weight.nbytes for weight in weights.values())
        return _row(case, step, dense, path, extra - dense, seconds)
    model = build()
    dense = sum(4 * int(variable.shape.num_elements()) for variable in model.variables)
    if step == "load":
        start = _start()
        kwc.load(path, into=model)
        return _row(case, step, dense, path, *_stop(start))
    if algorithm == "quantization":
        from kwc.algorithms import Quantization

        rules = [(".*(kernel|embeddings)", Quantization(bits=8)), (".*", None)]
        kwc.compress(model, kwc.Spec(rules))
    start = _start()
    kwc.save(model, path, preset=preset)
    return _row(case, step, dense, path, *_stop(start))


def compile_coders() -> None:
    """Runs the compiled coders once, in a process of their own."""
    code = """
import numpy as np
from kwc import coding
for dtype in ("int8", "int32", "float32"):
    coding.encode(np.arange(100).astype(dtype))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def _row(case: str, step: str, dense: int, path: pathlib.Path, extra: int, seconds: float) -> Row:
    ratio = round(1 + extra / dense, 2)
    return Row(case, step, dense, path.stat().st_size, extra, ratio, round(seconds, 1))


def _start() -> tuple[int, float]:
    """Forgets the most memory that was resident; returns what is now, and the time."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS"), time.perf_counter()


def _stop(start: tuple[int, float]) -> tuple[int, float]:
    """Returns the most bytes resident beyond the start, and the seconds since."""
    before, began = start
    return _resident("VmHWM") - before, time.perf_counter() - began


def _resident(name: str) -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", status)[1])


def in_own_process(case: str, step: str, path: pathlib.Path) -> Row:
    command = [sys.executable, "-m", "benchmarks.artifact_memory"]
    flags_ = [f"--case={case}", f"--step={step}", f"--file={path}"]
    done = subprocess.run([*command, *flags_], stdout=subprocess.PIPE, text=True, check=True)
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def main(_) -> None:
    if _STEP.value:
        row = measure(_CASE.value[0], _STEP.value, pathlib.Path(_FILE.value))
        print(json.dumps(dataclasses.asdict(row)))
        return
    names = [field.name for field in dataclasses.fields(Row)]
    table, rows = Table(*names), []
    compile_coders()
    for case in _CASE.value:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.kwc"
            for step in STEPS:
                rows.append(dataclasses.astuple(in_own_process(case, step, path)))
                print(*rows[-1], flush=True)
                table.add_row(*map(str, rows[-1]))
        if _OUTPUT.value:
            with open(_OUTPUT.value, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([names, *rows])
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
