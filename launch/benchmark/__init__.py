"""One artifact by every route on this machine: what its files take, and what they are worth."""

import pathlib
import tempfile
from collections.abc import Callable, Sequence

import tensorflow as tf

from experiments.exported import Evaluation
from kwc.exports import candidates, routes, source
from kwc.exports.candidates import Candidate
from kwc.exports.measure import Bench
from kwc.exports.routes import Route
from kwc.exports.source import Source
from launch.benchmark.rows import Row

_EXAMPLES_PROVED = 8

Tell = Callable[[str], None]


def steps(wanted: Sequence[Route]) -> int:
    """How often `run` says what it does."""
    return 3 * len(wanted) + len({route.to for route in wanted})


def run(
    artifact: pathlib.Path, evaluation: Evaluation, wanted: Sequence[Route], tell: Tell
) -> list[Row]:
    """Writes an artifact by each route, measures the files and evaluates them.

    Args:
        artifact: the `.kwc` file.
        evaluation: the task and its data; its model is filled from the artifact.
        wanted: the routes. Each is compared with the dense export to its target.
        tell: called with what is done next.

    Raises:
        ArtifactError: the file is damaged, forged, or of another model.
        ExportError: the inputs are no batch that an export takes.
    """
    inputs = tf.nest.map_structure(
        lambda array: array if array is None else array[:_EXAMPLES_PROVED], evaluation.inputs
    )
    content = source.read(artifact, evaluation.model, inputs)
    rows = []
    for to in dict.fromkeys(route.to for route in wanted):
        with tempfile.TemporaryDirectory() as folder:
            of_target = [route for route in wanted if route.to == to]
            rows += _target(content, evaluation, of_target, pathlib.Path(folder), tell)
    return rows


def _target(
    content: Source,
    evaluation: Evaluation,
    wanted: Sequence[Route],
    folder: pathlib.Path,
    tell: Tell,
) -> list[Row]:
    rows = []
    dense_route = routes.dense(wanted[0].to)
    tell(f"{dense_route.to} {dense_route.name}: write, to compare with")
    dense = _written(content, dense_route, folder)
    for route in wanted:
        name = f"{route.to} {route.name}"
        tell(f"{name}: write")
        candidate = dense if route is dense_route else _written(content, route, folder)
        tell(f"{name}: measure")
        if dense.written is None:
            candidate = Candidate(route, refused=dense.refused)
        else:
            bench = Bench(content, dense.written.path, route.to)
            candidate = candidates.measured(candidate, bench)
        tell(f"{name}: evaluate")
        metrics = {}
        if candidate.written is not None:
            metrics = evaluation.metrics(route.read(content, candidate.written.path))
        rows.append(Row.of(candidate, metrics))
    return rows


def _written(content: Source, route: Route, folder: pathlib.Path) -> Candidate:
    (candidate,) = candidates.tried(content, [route], folder, lambda route: route.default_name)
    return candidate
