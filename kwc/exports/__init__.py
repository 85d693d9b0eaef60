"""Ships an artifact: one file or folder that others run, proved before it gets its name.

>>> from kwc.exports import routes
>>> [route.name for route in routes.asked_for("keras", "before")]
['keras']
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import tf_keras

from kwc.exports import (  # noqa: F401  (some register their routes)
    candidates,
    in_graph,
    keras,
    native,
    packed,
    routes,
    saved_model,
    source,
)
from kwc.exports.errors import ExportError, ProofError
from kwc.exports.report import ExportReport, WeightExport
from kwc.exports.routes import Placed, Route
from kwc.exports.signatures import SIGNATURE, Signature
from kwc.exports.source import Source
from kwc.report import dense_bytes, describe

__all__ = ["ExportError", "ExportReport", "ProofError", "Signature", "export"]


def export(
    artifact: str | os.PathLike,
    model: tf_keras.layers.Layer,
    path: str | os.PathLike,
    *,
    to: str,
    inputs: Any = None,
    decompress: str = "before",
    route: str = routes.AUTO,
    signatures: Mapping[str, Signature] | None = None,
    objective: str | None = None,
    measure: bool = False,
) -> ExportReport:
    """Writes an artifact as a file that others run, proves it, and only then gives it its name.

    Args:
        artifact: the `.kwc` file.
        model: a plain, built model of its architecture, which is filled with its decoded weights.
        path: the file or folder to write, whole or not at all; one that is there is replaced.
        to: `tflite`, `saved_model` or `keras`.
        inputs: a batch of real inputs as the model takes it, 2 examples or more: an array, or lists
            and mappings of arrays. They fix all axes but the batch, and prove the outputs. Not
            needed with `signatures`, which have inputs of their own.
        decompress: `before` to decode weights once, when the file is loaded; `during` to do so in
            every inference.
        route: name of a route; `auto` takes the first that holds a compressed weight.
        signatures: functions over the model that a SavedModel serves, by name, in the place of the
            model's own call; one of them is the default, `serving_default`.
        objective: lets `auto` write and prove every route and take the best: for `size` the
            smallest file; for `latency` the fastest and for `memory` the one with the lowest peak,
            measured on this machine in fresh processes. Of those within 5 % of it, the smallest.
        measure: measures what is written, latency and memory beside the dense export of the same
            model, each in a fresh process; takes some seconds, and Linux.

    Returns:
        How each compressed weight is held, what the proof found, and the routes that were tried or
        measured.

    Raises:
        ExportError: there is no such route or objective, it holds none of the compressed weights,
            an optional package is missing, the model cannot be converted, the inputs are no such
            batch, the path has a suffix of another kind of file, or there is a folder with other
            things than a SavedModel.
        ProofError: what was written is not right, or not compressed. Nothing is kept of it.
        ArtifactError: the artifact is damaged, forged or for another model.
        OSError: a file cannot be read or written.
    """
    allowed = routes.asked_for(to, decompress, route)
    _check_objective(objective, route)
    _check_signatures(signatures, to)
    content = source.read(artifact, model, inputs, signatures)
    path = pathlib.Path(path)
    _check_place(path, to)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as name:
        folder = pathlib.Path(name)
        if objective is None:
            chosen = _first_that_holds(allowed, content, path)
            written = candidates.write(content, chosen, folder / path.name)
            tried = []
        else:
            tried = candidates.choose(content, allowed, folder, path.name, objective)
            chosen, written = tried[0].route, tried[0].written
        if measure and objective not in ("latency", "memory"):
            tried = [_measured(content, chosen, written, folder), *tried[1:]]
        if path.is_dir():
            path.rename(folder / "replaced")
        os.replace(written.path, path)
    placed, proof = written.placed, written.proof
    weights = tuple(_row(content, name, placed[name]) for name in content.compressed)
    dense = sum(dense_bytes(weight.info) for weight in content.weights.values())
    return ExportReport(path, chosen.name, content.file_bytes, dense, proof, weights, tuple(tried))


def _measured(
    content: Source, route: Route, written: candidates.Written, folder: pathlib.Path
) -> candidates.Candidate:
    with candidates.beside_dense(content, route.to, folder) as bench:
        once = dataclasses.replace(bench, pairs=1)
        found = candidates.measured(candidates.Candidate(route, written), once)
    if found.refused:
        raise ExportError(f"Nothing was written. {found.refused}")
    return found


def _check_signatures(signatures: Mapping[str, Signature] | None, to: str) -> None:
    if signatures is None:
        return
    if to != "saved_model":
        raise ExportError(f"An export to {to} takes no signatures; a SavedModel does.")
    if SIGNATURE not in signatures:
        raise ExportError(
            f"One of the signatures must be {SIGNATURE}, which loaders take where none is named; "
            f"given were {', '.join(signatures) or 'none'}."
        )


def _check_objective(objective: str | None, route: str) -> None:
    if objective is None:
        return
    if objective not in candidates.OBJECTIVES:
        raise ExportError(
            f"There is no objective {objective!r}; it is one of {', '.join(candidates.OBJECTIVES)}."
        )
    if route != routes.AUTO:
        raise ExportError(
            f"The objective {objective} chooses among routes, and route={route} leaves no choice. "
            "Leave out one of the two."
        )


def _first_that_holds(allowed: list[Route], content: Source, path: pathlib.Path) -> Route:
    for route in allowed[:-1]:
        try:
            route.check_name(path)
            route.check_holds_any(content)
        except ExportError:
            continue
        return route
    return allowed[-1]


def _check_place(path: pathlib.Path, to: str) -> None:
    """Raises `ExportError` where something would be replaced that no export has written."""
    if path.is_file() and to == "saved_model":
        raise ExportError(f"{path} is a file, and a SavedModel a folder: name another path.")
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise ExportError(
            f"{path} is a folder that holds other things than a SavedModel. Name a path that is "
            "new, an empty folder, or an earlier export."
        )


def _row(content: Source, path: str, how: Placed) -> WeightExport:
    weight = content.weights[path]
    dense = dense_bytes(weight.info)
    nbytes = sum(array.nbytes for array in how.arrays) if how.is_compressed else dense
    algorithm = describe(weight.compressor)
    return WeightExport(path, algorithm, how.form, how.reason, dense, nbytes)
