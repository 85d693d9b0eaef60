"""Every algorithm on every route: exported and proved, or refused with a reason."""

import functools
import pathlib

import export_matrix
import pytest
from algorithms import ROWS
from export_models import convert_once

import kwc
from kwc.exports import ExportError, routes, tflite

_GUIDE = pathlib.Path(__file__).parents[1] / "docs" / "export.md"
_SUFFIXES = {"packed": ".kwc", "keras": ".keras"}


@pytest.fixture(autouse=True)
def conversions(monkeypatch):
    """Converts a model with the same weights once."""
    monkeypatch.setattr(tflite, "convert", convert_once)


def check(row, route, artifact, path):
    """Exports, and compares what the file holds with what the table says."""
    reasons = export_matrix.reasons(row, route)
    request = {"to": route.to, "decompress": route.decompress, "route": route.name}
    export = functools.partial(
        kwc.export, artifact, export_matrix.build(), path, inputs=export_matrix.inputs(), **request
    )
    if reasons and all(reasons.values()):
        with pytest.raises(ExportError) as refusal:
            export()
        assert all(named in str(refusal.value) for named in next(iter(reasons.items())))
        assert not path.exists()
        return
    report = export()
    assert {weight.path: weight.reason for weight in report} == reasons
    assert report.proof.error <= route.tolerance + 1e-5
    if route.name not in export_matrix.PLAIN:
        assert report.proof.found >= sum(not reason for reason in reasons.values())


def check_all(row, folder):
    artifact = folder / "model.kwc"
    artifact.write_bytes(export_matrix.artifact(row))
    for route in routes.registered():
        path = folder / f"{route.to}_{route.name}"
        check(row, route, artifact, path.with_suffix(_SUFFIXES.get(route.name, "")))


def test_one_algorithm_on_every_route(tmp_path):
    check_all(next(row for row in ROWS if str(row) == "pruning-quantization"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_algorithm_on_every_route(row, tmp_path):
    check_all(row, tmp_path)


def test_the_guide_has_the_table():
    assert export_matrix.table() in _GUIDE.read_text(encoding="utf-8"), (
        "docs/export.md has another table than `python tests/export_matrix.py` prints."
    )
