"""What exported files take against the dense export of the same model, beside what is asked.

    python -m benchmarks.deploy --output=results/deploy.csv --document=docs/deploy.md

MobileNetV2 at 224 pixels and three Dense layers of 2048 are not trained. Kernels are drawn from
normal distributions, which trained ones resemble more than the uniform ones that Keras begins with;
only sizes of entropy codes depend on that. Batch norms are drawn too. LeNet-5 is the smallest
artifact of results/fashion_mnist. Files are measured as by `kwc benchmark`, in fresh processes in
turns with the dense one. Nothing else should run meanwhile.
"""

import csv
import dataclasses
import itertools
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tf_keras
from absl import app, flags, logging
from official.core import exp_factory, task_factory
from rich.progress import track

import kwc
from experiments import registry_imports  # noqa: F401  (registers the experiments)
from kwc.algorithms import Clustering, LowRank, Pruning, Quantization
from kwc.exports import candidates, routes, source
from kwc.exports.errors import ExportError
from kwc.exports.measure import Bench, Measured
from kwc.report import describe

ROOT = pathlib.Path(__file__).parents[1]
LENET5 = ROOT / "results" / "fashion_mnist" / "lenet5_trained" / "model.kwc"
PAIRS = 3

_OUTPUT = flags.DEFINE_string("output", None, "Also write the figures to this CSV file.")
_DOCUMENT = flags.DEFINE_string("document", None, "Also replace the table in this document.")
_MODEL = flags.DEFINE_multi_string(
    "model", None, "Measure these models alone, and keep the other rows of --output."
)


def mobilenet_v2() -> tf_keras.Model:
    """MobileNetV2 without its softmax, with batch norms that do something."""
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    rng = _draw_kernels(model)
    for norm in (x for x in model.layers if isinstance(x, tf_keras.layers.BatchNormalization)):
        for weight, around in zip(norm.weights, (1.0, 0.0, 0.0, 1.0), strict=True):
            weight.assign(rng.uniform(around - 0.5, around + 0.5, weight.shape))
    return model


def dense_heavy() -> tf_keras.Model:
    """12.6 million weights in three products."""
    tf_keras.utils.set_random_seed(0)
    hidden = [tf_keras.layers.Dense(2048, "relu") for _ in range(3)]
    inputs = tf_keras.layers.Input((2048,))
    model = tf_keras.Sequential([inputs, *hidden, tf_keras.layers.Dense(10)])
    _draw_kernels(model)
    return model


def _draw_kernels(model: tf_keras.Model) -> np.random.Generator:
    """Gives kernels normally distributed weights of the scale that they begin with."""
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if weight.shape.rank > 1:
            weight.assign(rng.normal(scale=np.std(weight), size=weight.shape))
    return rng


def lenet5() -> tf_keras.Model:
    """The architecture of the artifact."""
    return task_factory.get_task(exp_factory.get_exp_config("lenet5_mnist").task).build_model()


INPUTS = {mobilenet_v2: (224, 224, 3), dense_heavy: (2048,), lenet5: (28, 28, 3)}


@dataclasses.dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        model: builds the model.
        compressor: compresses its kernels; None stands for the trained artifact of LeNet-5.
        to: the target.
        route: name of the route.
        ratios: what the ratios to the dense export are to be at most, by figure.
        limits: what the figures themselves are to be at most, in bytes and seconds.
    """

    model: Callable[[], tf_keras.Model]
    compressor: kwc.WeightCompressor | None
    to: str
    route: str
    ratios: Mapping[str, float] = dataclasses.field(default_factory=dict)
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from other lines: the columns `KEY`."""
        algorithm = "trained" if self.compressor is None else describe(self.compressor)
        return self.model.__name__, algorithm, self.to, self.route


KEY = ("model", "algorithm", "to", "route")
EIGHT_BITS, FOUR_BITS, CLUSTERS = Quantization(8), Quantization(4), Clustering(16)
SPARSE, HALF = Pruning(0.8) >> Quantization(8), LowRank(0.25)
# Those of one artifact follow each other.
CASES = [
    Case(
        *(mobilenet_v2, CLUSTERS, "tflite", "packed"),
        {"nbytes": 0.13, "p50_seconds": 1.05},
        {"load_seconds": 0.3},
    ),
    Case(mobilenet_v2, EIGHT_BITS, "tflite", "float32"),
    Case(mobilenet_v2, EIGHT_BITS, "tflite", "int8", {"nbytes": 0.28, "p50_seconds": 1.05}),
    Case(
        *(mobilenet_v2, EIGHT_BITS, "tflite", "hybrid"),
        {"nbytes": 0.30, "p50_seconds": 0.85, "peak_bytes": 0.6},
    ),
    Case(mobilenet_v2, EIGHT_BITS, "tflite", "float16"),
    Case(mobilenet_v2, EIGHT_BITS, "tflite", "in_graph"),
    Case(mobilenet_v2, EIGHT_BITS, "saved_model", "float32"),
    Case(
        *(mobilenet_v2, EIGHT_BITS, "saved_model", "at_load"),
        {"zipped_bytes": 0.30, "p50_seconds": 1.05, "resident_bytes": 1.1},
    ),
    Case(mobilenet_v2, EIGHT_BITS, "saved_model", "at_call"),
    Case(mobilenet_v2, FOUR_BITS, "tflite", "int4"),
    Case(dense_heavy, SPARSE, "tflite", "float32"),
    Case(dense_heavy, SPARSE, "tflite", "sparse", {"nbytes": 0.20, "p50_seconds": 1.1}),
    Case(dense_heavy, HALF, "tflite", "in_graph", {"nbytes": 0.55, "p50_seconds": 0.9}),
    Case(lenet5, None, "tflite", "packed", limits={"nbytes": 9000}),
]

_NAMES = {
    "nbytes": "bytes",
    "zipped_bytes": "zipped",
    "load_seconds": "load",
    "p50_seconds": "latency",
    "peak_bytes": "peak",
    "resident_bytes": "memory",
}
_BEGIN, _END = "<!-- make bench-deploy: begin -->\n", "<!-- make bench-deploy: end -->\n"


class Exports:
    """The exports of one artifact, dense ones and others, in a folder."""

    def __init__(self, case: Case, folder: pathlib.Path):
        tf_keras.backend.clear_session()
        artifact = LENET5 if case.compressor is None else folder / "model.kwc"
        if case.compressor is not None:
            model = case.model()
            rules = [(".*/(kernel|depthwise_kernel)", case.compressor), (".*", None)]
            kwc.compress(model, kwc.Spec(rules))
            kwc.save(model, artifact, preset="fast")
        self._source = source.read(artifact, case.model(), _inputs(case.model))
        self._folder = folder
        self._written: dict[routes.Route, candidates.Written] = {}

    def run(self, case: Case) -> dict[str, str]:
        """Writes a file and the dense one to the same target, and measures them.

        Raises:
            ExportError: a route cannot hold the model, or a file fails its proof.
        """
        route = next(r for r in routes.registered() if (r.to, r.name) == (case.to, case.route))
        dense, written = self._export(routes.dense(case.to)), self._export(route)
        measured = Bench(self._source, dense.path, case.to, PAIRS).measure(written.path)
        return _row(case, measured, written.proof.error)

    def _export(self, route: routes.Route) -> candidates.Written:
        if route not in self._written:
            path = self._folder / f"{route.to}_{route.name}" / route.default_name
            path.parent.mkdir()
            self._written[route] = candidates.write(self._source, route, path)
        return self._written[route]


def _inputs(model: Callable[[], tf_keras.Model]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, *INPUTS[model])).astype(np.float32)


def _row(case: Case, measured: Measured, error: float) -> dict[str, str]:
    figures, ratios = vars(measured.figures), vars(measured.ratios)
    limits = [
        _limit(kind, key, value, found[key])
        for kind, asked, found in (("of dense", case.ratios, ratios), ("", case.limits, figures))
        for key, value in asked.items()
    ]
    return {
        **dict(zip(KEY, case.key, strict=True)),
        **{
            key: f"{value:.6g}" if "seconds" in key else str(value)
            for key, value in figures.items()
        },
        **{f"{key}_ratio": f"{value:.4f}" for key, value in ratios.items()},
        "output_error": f"{error:.1e}",
        "asked": "; ".join(limits),
    }


def _limit(kind: str, key: str, limit: float, found: float) -> str:
    text = f"{_NAMES[key]} {limit:g} {kind}".strip()
    return text if found <= limit else f"{text}: not met"


def document(rows: Iterable[Mapping[str, str]]) -> str:
    """Returns the table in Markdown; ratios to the dense export in brackets."""
    lines = [
        "| model | weights | route | bytes | zipped | load, s | latency, ms | peak, MB "
        "| memory after, MB | outputs within | at most |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        cells = [
            row["model"],
            row["algorithm"],
            f"`{row['to']}` `{row['route']}`",
            *(_cell(row, key) for key in _NAMES),
            row["output_error"],
            row["asked"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(row: Mapping[str, str], key: str) -> str:
    value = float(row[key])
    if key in ("nbytes", "zipped_bytes"):
        text = f"{value:,.0f}"
    elif key.endswith("_bytes"):
        text = f"{value / 1e6:.1f}"
    else:
        text = f"{value:.3f}" if key == "load_seconds" else f"{1e3 * value:.3f}"
    ratio = float(row[f"{key}_ratio"])
    return f"{text} ({ratio:.3f})" if ratio < 0.1 else f"{text} ({ratio:.2f})"


def main(_) -> None:
    """Prints the table; what is measured is written at once."""
    logging.set_verbosity(logging.WARNING)
    wanted = [case for case in CASES if not _MODEL.value or case.model.__name__ in _MODEL.value]
    rows = _kept()
    cases = track(wanted, "exporting and measuring")
    for _, group in itertools.groupby(cases, lambda case: (case.model, case.compressor)):
        with tempfile.TemporaryDirectory() as folder:
            exports = None
            for case in group:
                exports = exports or Exports(case, pathlib.Path(folder))
                try:
                    rows[case.key] = exports.run(case)
                except ExportError as error:
                    print(f"{' '.join(case.key)}: {error}")
                write([rows[case.key] for case in CASES if case.key in rows])
    print(document(rows.values()))


def _kept() -> dict[tuple[str, ...], Mapping[str, str]]:
    """The rows of the file that are not measured again, by the keys of their cases."""
    if not _MODEL.value or not _OUTPUT.value or not pathlib.Path(_OUTPUT.value).exists():
        return {}
    with open(_OUTPUT.value, newline="") as file:
        return {tuple(row[name] for name in KEY): row for row in csv.DictReader(file)}


def write(rows: Sequence[Mapping[str, str]]) -> None:
    """Writes the files that flags name."""
    if _OUTPUT.value and rows:
        with open(_OUTPUT.value, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if _DOCUMENT.value:
        path = pathlib.Path(_DOCUMENT.value)
        before, _, rest = path.read_text().partition(_BEGIN)
        _, _, after = rest.partition(_END)
        path.write_text(f"{before}{_BEGIN}{document(rows)}{_END}{after}")


if __name__ == "__main__":
    app.run(main)
