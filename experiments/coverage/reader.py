"""The process that reads an experiment's artifacts into new models and compares the outputs.

python -m experiments.coverage.reader EXPERIMENT FOLDER DATA ALGORITHM...
"""

import functools
import pathlib
import sys
from typing import Any

import numpy as np
from official.core import task_factory

import kwc
from experiments.coverage import stages
from kwc import task as kwc_task

OUTCOMES = "read.json"

# The most that an output may be off, relative to the largest value of that output. Decoding by
# look-up, cast or scale gives the very weights that were trained; a product of matrices is summed
# in another order by NumPy than by TensorFlow, and each layer passes the difference on.
TOLERANCE = 1e-5
TOLERANCE_OF_PRODUCTS = {"low_rank": 1e-3}


def main(experiment: str, folder: pathlib.Path, data: pathlib.Path, algorithms: list[str]) -> None:
    """Writes `read.json`: whether each artifact computes what the trained model computed."""
    done = stages.Stages(folder / OUTCOMES)
    for algorithm in algorithms:
        done.run(algorithm, functools.partial(read, experiment, folder, data, algorithm))


def read(
    experiment: str, folder: pathlib.Path, data: pathlib.Path, algorithm: str
) -> dict[str, Any]:
    """Reads an artifact into a new model, and compares its outputs on the writer's batch.

    Raises:
        ValueError: they differ.
    """
    params = stages.params(experiment, data)
    task = task_factory.get_task(params.task, logging_dir=str(folder))
    model = task.build_model()
    kwc_task.complete(task, model, params)
    kwc.load(folder / f"{algorithm}.kwc", into=model)
    found = stages.outputs(task, model, stages.load_batch(task, params, folder))
    with np.load(folder / f"{algorithm}.npz") as written:
        expected = [written[name] for name in written.files]
    check_equal(expected, found, TOLERANCE_OF_PRODUCTS.get(algorithm, TOLERANCE))
    return {}


def check_equal(expected: list[np.ndarray], found: list[np.ndarray], tolerance: float) -> None:
    """Raises `ValueError` if an output is off by more than a share of its largest value."""
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        if one.shape != other.shape:
            raise ValueError(f"output {index} has shape {other.shape} instead of {one.shape}")
        if not np.issubdtype(one.dtype, np.floating):
            if not np.array_equal(one, other):
                raise ValueError(f"output {index}, of {one.dtype}, differs")
            continue
        scale = max(1.0, np.max(np.abs(one), initial=0.0))
        off = np.max(np.abs(one - other), initial=0.0) / scale
        if not off <= tolerance:
            raise ValueError(f"output {index} is off by {off:.2g}; it may be off by {tolerance:g}")


if __name__ == "__main__":
    name, *folders = sys.argv[1:4]
    main(name, *map(pathlib.Path, folders), sys.argv[4:])
