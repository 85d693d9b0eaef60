"""Which route holds which algorithm: the table of docs/export.md.

`python tests/export_matrix.py` prints it.
"""

import dataclasses
import functools
import pathlib
import tempfile

import numpy as np
import tf_keras
from algorithms import ROWS, Row

import kwc
from kwc.artifact import from_bytes
from kwc.compressor import WeightCompressor, links
from kwc.exports import routes
from kwc.exports.routes import TARGETS, TIMES, Route

PLAIN = ("float32", "keras")


def build() -> tf_keras.Model:
    """A convolution with a window, and a dense layer."""
    tf_keras.utils.set_random_seed(0)
    # Some algorithms let small weights be 0.
    normal = functools.partial(tf_keras.initializers.RandomNormal, stddev=0.5)
    return tf_keras.Sequential(
        [
            tf_keras.layers.Input((5, 5, 8)),
            tf_keras.layers.Conv2D(16, 3, activation="relu", kernel_initializer=normal()),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(16, kernel_initializer=normal()),
        ]
    )


def inputs(examples: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(examples, 5, 5, 8)).astype(np.float32)


@functools.cache
def artifact(row: Row) -> bytes:
    """The model, whose kernels a row's algorithm has compressed."""
    model = build()
    spec = kwc.Spec([(".*/kernel", row.compressor), (".*", None)])
    kwc.compress(model, spec, calibration=[inputs(64)])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.kwc"
        kwc.save(model, path, preset="fast")
        return path.read_bytes()


def reasons(row: Row, route: Route) -> dict[str, str]:
    """Why a route cannot hold a weight, empty if it can, of each compressed one."""
    weights = from_bytes(artifact(row)).weights.values()
    compressed = [weight for weight in weights if not weight.compressor.is_identity]
    return {weight.info.path: route.why_not(weight) for weight in compressed}


def table() -> str:
    """The table: what of the model each route holds."""
    columns = [route for route in routes.registered() if route.name not in PLAIN]
    columns.sort(key=lambda route: (TARGETS.index(route.to), TIMES.index(route.decompress)))
    lines = [
        "| algorithm | " + " | ".join(f"`{route.name}`" for route in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for row in ROWS:
        if not row.compressor.is_identity:
            cells = [_cell(reasons(row, route)) for route in columns]
            name = " >> ".join(map(_spelled, links(row.compressor)))
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spelled(compressor: WeightCompressor) -> str:
    """An algorithm as one writes it in Python."""
    given = [
        f"{field.name}={compressor.config()[field.name]}"
        for field in dataclasses.fields(compressor)
        if getattr(compressor, field.name) != field.default
    ]
    return f"{type(compressor).__name__}({', '.join(given)})"


def _cell(why_not: dict[str, str]) -> str:
    held = [path.partition("/")[0] for path, reason in why_not.items() if not reason]
    return "yes" if len(held) == len(why_not) else held[0] if held else "no"


if __name__ == "__main__":
    print(table())
