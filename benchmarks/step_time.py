"""Train step of a compressed model against the plain one, as ratios within one run.

    python -m benchmarks.step_time --arch=lenet5 --arch=resnet18_small --arch=bert_small
    python -m benchmarks.step_time --arch=resnet50 --arch=bert_base --steps=1 --rounds=5

For each architecture and algorithm, both models take the same number of steps of the task's own
`train_step` on the same batch, in turns, and the median over the rounds is compared. `trace` is how
much longer the first step takes than the second, a median over processes; `compress` is the time of
`kwc.compress`.
"""

import concurrent.futures
import csv
import dataclasses
import gc
import multiprocessing
import pathlib
import statistics
import time

import gin
import tensorflow as tf
import tf_keras
from absl import app, flags
from official.core import task_factory, train_utils
from rich.console import Console
from rich.progress import track
from rich.table import Table

import kwc
from experiments import trial
from kwc import schedules
from kwc.algorithms import (
    EPR,
    Clustering,
    EntropyConstrained,
    FastEPR,
    LilNetX,
    LowRank,
    Pruning,
    Quantization,
)

ALGORITHMS = {
    "quantization": Quantization(bits=4),
    "pruning": Pruning(sparsity=schedules.Polynomial(final=0.8)),
    "clustering": Clustering(clusters=16),
    "low_rank": LowRank(rank=0.25),
    "entropy_constrained": EntropyConstrained(),
    "epr": EPR(),
    "fast_epr": FastEPR(),
    "lilnetx": LilNetX(),
    "prune_cluster": Pruning(sparsity=0.8) >> Clustering(clusters=16),
}
GIN_CONFIGS = pathlib.Path(__file__).parents[1] / "gin_configs"
FULL_SIZE = pathlib.Path(__file__).with_name("archs")

_ARCH = flags.DEFINE_multi_string(
    "arch",
    ["lenet5", "resnet18_small", "bert_small"],
    "Architectures, of gin_configs/archs or benchmarks/archs.",
)
_ALGORITHM = flags.DEFINE_multi_enum("algorithm", [*ALGORITHMS], [*ALGORITHMS], "Algorithms.")
_STEPS = flags.DEFINE_integer("steps", 20, "Steps a round.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds of each model, in turns.")
_TRACES = flags.DEFINE_integer("traces", 3, "Processes that trace each model; the median counts.")
_OUTPUT = flags.DEFINE_string("output", None, "Also write the figures to this CSV file.")


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison; times in milliseconds and seconds."""

    arch: str
    algorithm: str
    plain_step_ms: float
    compressed_step_ms: float
    step_ratio: float
    plain_trace_s: float
    compressed_trace_s: float
    trace_ratio: float
    compress_s: float


class Trained:
    """A model with its optimizer and its traced train step."""

    def __init__(self, experiment: trial.Experiment, compressor: kwc.WeightCompressor | None):
        params = experiment.params()
        task = task_factory.get_task(params.task)
        model = task.build_model()
        optimizer = train_utils.create_optimizer(task, params)
        start = time.perf_counter()
        if compressor is not None:
            spec = kwc.Spec([(".*(kernel|embeddings)", compressor), (".*", None)])
            kwc.compress(model, spec, params.trainer.train_steps, rate_weight=1.0).attach(optimizer)
        self.compress_seconds = time.perf_counter() - start
        metrics = task.build_metrics()
        size = params.task.train_data.global_batch_size
        # Model Garden's dummy input holds one example, whatever the batch size.
        self._batch = tf.nest.map_structure(
            lambda x: tf.repeat(x, size // len(x), axis=0),
            next(iter(task.build_inputs(params.task.train_data))),
        )
        self._step = tf.function(
            lambda batch: task.train_step(batch, model, optimizer, metrics)["loss"]
        )
        # Else a collection of all that was made before falls into the trace of either model.
        gc.collect()
        self.trace_seconds = self.seconds(1) - self.seconds(1)

    def seconds(self, steps: int) -> float:
        """Seconds for a number of steps."""
        start = time.perf_counter()
        for _ in range(steps):
            loss = self._step(self._batch)
        loss.numpy()
        return time.perf_counter() - start


def experiment_of(arch: str) -> trial.Experiment:
    """The experiment that an architecture's gin file describes."""
    gin.clear_config()
    full_size = FULL_SIZE / f"{arch}.gin"
    file = full_size if full_size.exists() else GIN_CONFIGS / f"archs/{arch}.gin"
    gin.parse_config_files_and_bindings([str(file), str(GIN_CONFIGS / "runs/finetune.gin")], [])
    return gin.get_configurable(trial.Experiment)()


def trace_seconds(arch: str, algorithms: list[str]) -> dict[str | None, float]:
    """Seconds to trace and to set up the train step, by algorithm; None for the plain model.

    Each is a median over new processes, which take turns.
    """
    kinds = [None, *algorithms]
    turns = kinds * _TRACES.value
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, max_tasks_per_child=1) as process:
        seconds = list(process.map(_trace_seconds, [arch] * len(turns), turns))
    return {kind: statistics.median(seconds[i :: len(kinds)]) for i, kind in enumerate(kinds)}


def _trace_seconds(arch: str, algorithm: str | None) -> float:
    return Trained(experiment_of(arch), ALGORITHMS.get(algorithm)).trace_seconds


def compare(arch: str, algorithm: str, plain_trace: float, compressed_trace: float) -> Row:
    """Times the steps of one algorithm on one architecture, and adds the seconds of its trace."""
    tf_keras.backend.clear_session()
    experiment = experiment_of(arch)
    plain = Trained(experiment, None)
    compressed = Trained(experiment, ALGORITHMS[algorithm])
    rounds = [
        (plain.seconds(_STEPS.value), compressed.seconds(_STEPS.value))
        for _ in range(_ROUNDS.value + 1)
    ][1:]
    plain_step, compressed_step = (
        1000 * statistics.median(times) / _STEPS.value for times in zip(*rounds, strict=True)
    )
    return Row(
        arch,
        algorithm,
        plain_step,
        compressed_step,
        statistics.median(compressed / plain for plain, compressed in rounds),
        plain_trace,
        compressed_trace,
        compressed_trace / plain_trace,
        compressed.compress_seconds,
    )


def main(_) -> None:
    """Prints the table and writes the file."""
    # Before this process fills the memory with models.
    traces = {arch: trace_seconds(arch, _ALGORITHM.value) for arch in track(_ARCH.value, "tracing")}
    pairs = [(arch, algorithm) for arch in _ARCH.value for algorithm in _ALGORITHM.value]
    rows = [
        compare(arch, algorithm, traces[arch][None], traces[arch][algorithm])
        for arch, algorithm in track(pairs, "comparing")
    ]
    table = Table("arch", "algorithm", "plain ms", "compressed ms", "step ratio", "trace ratio")
    for row in rows:
        table.add_row(
            row.arch,
            row.algorithm,
            f"{row.plain_step_ms:.2f}",
            f"{row.compressed_step_ms:.2f}",
            f"{row.step_ratio:.2f}",
            f"{row.trace_ratio:.2f}",
        )
    Console().print(table)
    if _OUTPUT.value:
        with open(_OUTPUT.value, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))


if __name__ == "__main__":
    app.run(main)
