"""The process that trains an experiment, plain and compressed, and writes the artifacts.

python -m experiments.coverage.writer EXPERIMENT FOLDER DATA ALGORITHM...
"""

import functools
import pathlib
import sys
from typing import Any

import gin
import numpy as np
from official.core import task_factory, train_utils
from official.core.config_definitions import ExperimentConfig

from experiments.coverage import control, rows, stages
from kwc import compression, paths
from kwc import task as kwc_task

OUTCOMES = "written.json"
# A smaller change of the plain weight, relative to its largest element, may be less than float32
# resolves in the variables that stand for it.
NOTABLE = 1e-6
SPECS = pathlib.Path(__file__).parents[2] / "gin_configs" / "specs"
CALIBRATION = pathlib.Path(__file__).with_name("calibration.gin")


def main(experiment: str, folder: pathlib.Path, data: pathlib.Path, algorithms: list[str]) -> None:
    """Writes `written.json`, and for each algorithm that trains an artifact and the outputs."""
    done = stages.Stages(folder / OUTCOMES)
    moved: set[str] = set()

    def plain() -> dict[str, Any]:
        params = stages.params(experiment, data)
        model, changes = control.run(params, str(folder))
        weights = paths.weights(model)
        moved.update(w.path for w in weights if changes.get(id(w.variable), 0.0) > NOTABLE)
        if not moved:
            raise ValueError("training moves no weight")
        task = task_factory.get_task(params.task, logging_dir=str(folder))
        stages.save_batch(task, params, folder)
        return {"params": sum(weight.info.size for weight in weights)}

    if done.run(rows.CONTROL, plain):
        for algorithm in algorithms:
            compressed = functools.partial(compress, experiment, folder, data, algorithm, moved)
            done.run(algorithm, compressed)


def compress(
    experiment: str, folder: pathlib.Path, data: pathlib.Path, algorithm: str, moved: set[str]
) -> dict[str, Any]:
    """Trains an experiment with a shipped spec, and nothing else changed; writes the artifact.

    Args:
        experiment: the registered name.
        folder: for `<algorithm>.kwc` and, last, `<algorithm>.npz` with the outputs.
        data: the folder of the small data sets.
        algorithm: name of the spec in `gin_configs/specs`.
        moved: paths of the weights that training moves notably in the plain model.

    Returns:
        Fields of the `Outcome`.

    Raises:
        ValueError: compressed weights stay as they are though the plain ones move.
    """
    params = stages.params(experiment, data)
    trainer = create_trainer(params, folder, algorithm)
    changes = control.train(trainer.task, trainer.model, trainer.optimizer, params)
    compressed = trainer.compression.reparameterizations
    still = [
        r.info.path
        for r in compressed
        if r.params
        and r.info.path in moved
        and not any(id(v) in changes for v in r.params.values())
    ]
    if still:
        raise ValueError(f"training moves {len(still)} weights no more: {', '.join(still[:5])}")
    kwc_task.adopt_average(trainer)
    trainer.compression.save(folder / f"{algorithm}.kwc")
    batch = stages.load_batch(trainer.task, params, folder)
    outputs = stages.outputs(trainer.task, trainer.model, batch)
    np.savez(folder / f"{algorithm}.npz", *outputs)
    return coverage(trainer.compression)


def create_trainer(
    params: ExperimentConfig, folder: pathlib.Path, algorithm: str
) -> kwc_task.CompressionTrainer:
    """Returns the trainer that Model Garden's drivers make with a shipped spec."""
    gin.clear_config()
    gin.parse_config_files_and_bindings([SPECS / f"{algorithm}.gin", CALIBRATION], [])
    task = task_factory.get_task(params.task, logging_dir=str(folder))
    return train_utils.create_trainer(params, task, train=True, evaluate=True)


def coverage(handle: compression.Compression) -> dict[str, Any]:
    """Returns how much of a model an algorithm replaced, as fields of the `Outcome`.

    Matrices are weights with input and output axes: of rank 2 and more, but no biases.
    """
    matrices = [e for e in handle.entries if e.weight.info.input_axes]
    left = [e for e in matrices if e.reparameterization is None]
    size = sum(e.weight.info.size for e in matrices)
    covered = size - sum(e.weight.info.size for e in left)
    left.sort(key=lambda e: -e.weight.info.size)
    return {
        "covered_share": covered / size if size else None,
        "uncovered": tuple(e.weight.path for e in left),
        "params": sum(e.weight.info.size for e in handle.entries),
    }


if __name__ == "__main__":
    name, *folders = sys.argv[1:4]
    main(name, *map(pathlib.Path, folders), sys.argv[4:])
