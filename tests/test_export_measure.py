"""Measuring exported files in processes of their own, and choosing among routes by that."""

import functools
import math
import pathlib
import types

import numpy as np
import pytest
from export_models import artifact, built, convolutional, export, inputs, recurrent, text

from kwc.algorithms import Clustering, Quantization
from kwc.exports import candidates, measure, routes, source, tflite
from kwc.exports.errors import ExportError
from kwc.exports.measure import Figures, Measured

FOUR_BITS = Quantization(4)
bench = functools.partial(measure.Bench, pairs=1)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """What is measured is not looked at: a pair of processes and two short turns do."""
    monkeypatch.setattr(candidates, "Bench", bench)
    monkeypatch.setattr(measure, "TURNS", 2)
    monkeypatch.setattr(measure, "TURN_SECONDS", 0.01)


def opened(build, compressor, folder):
    return source.read(artifact(build, compressor, folder), built(build), inputs(build))


def written(content, to, name, folder):
    route = next(r for r in routes.registered() if (r.to, r.name) == (to, name))
    path = folder / f"{to}_{name}" / route.default_name
    path.parent.mkdir()
    return candidates.write(content, route, path).path


def check(measured, path):
    figures = measured.figures
    assert figures.load_seconds > 0
    assert 0 < figures.p50_seconds <= figures.p90_seconds
    assert 0 <= figures.resident_bytes <= figures.peak_bytes <= measured.process_bytes
    assert figures.nbytes == path.stat().st_size
    assert 0 < figures.zipped_bytes == measure.zipped_size(path)
    assert measured.ratios.p50_seconds > 0


@pytest.mark.parametrize(
    ("build", "names"), [(convolutional, ["int8", "packed"]), (recurrent, ["int8"])]
)
def test_tflite_files_and_packed_ones_are_measured(build, names, tmp_path):
    content = opened(build, FOUR_BITS, tmp_path)
    dense = written(content, "tflite", "float32", tmp_path)
    for name in names:
        path = written(content, "tflite", name, tmp_path)
        measured = bench(content, dense, "tflite").measure(path)
        check(measured, path)
        assert measured.ratios.nbytes == path.stat().st_size / dense.stat().st_size < 1


def test_a_file_that_does_not_run_is_named(tmp_path):
    content = opened(text, FOUR_BITS, tmp_path)
    dense = written(content, "tflite", "float32", tmp_path)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(dense.read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"broken\.tflite does not run in a process of its own: "):
        bench(content, dense, "tflite").measure(broken)


def test_an_archive_holds_all_files(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(np.random.default_rng(0).bytes(1000))
    assert 2000 < measure.zipped_size(folder) < 3000
    assert 1000 < measure.zipped_size(folder / "a") < 1500


def test_figures_are_divided_one_by_one():
    ratios = Figures(1, 2, 3, 4, 5, 6, 0).over(Figures(2, 2, 2, 2, 2, 2, 0))
    assert (ratios.nbytes, ratios.zipped_bytes, ratios.peak_bytes) == (0.5, 1, 3)
    assert math.isnan(ratios.resident_bytes)


def candidate(name, nbytes, latency, peak):
    figures = Figures(nbytes, nbytes, 1, latency, latency, peak, peak)
    file = types.SimpleNamespace(proof=types.SimpleNamespace(nbytes=nbytes, error=0))
    route = types.SimpleNamespace(name=name)
    return candidates.Candidate(route, file, measured=Measured(figures, figures, peak))


@pytest.mark.parametrize(
    ("objective", "expected"), [("size", "small"), ("latency", "fast"), ("memory", "middle")]
)
def test_of_the_best_the_smallest_is_taken(objective, expected):
    there = [
        candidate("large", 400, 1.0, 1000),
        candidate("fast", 300, 1.04, 2000),
        candidate("middle", 200, 1.06, 1049),
        candidate("small", 100, 2.0, 1100),
    ]
    chosen = candidates.best(there, objective)
    assert chosen.route.name == expected
    refused = candidates.Candidate(types.SimpleNamespace(name="none"), refused="it is too blue")
    assert candidates.best([refused, *there], objective) is chosen
    with pytest.raises(ExportError, match=r"no route that can hold it. none: it is too blue"):
        candidates.best([refused], objective)


def test_auto_takes_the_smallest_and_says_why_others_were_not(tmp_path):
    report = export(convolutional, Clustering(4), tmp_path, objective="size")
    there = {c.route.name: c.written.proof.nbytes for c in report.candidates if c.written}
    assert report.route == report.candidates[0].route.name == min(there, key=there.get)
    assert report.path.stat().st_size == report.proof.nbytes == there[report.route]
    refused = {c.route.name: c.refused for c in report.candidates if c.refused}
    assert "cannot hold conv2d/kernel" in refused["int8"]
    assert "call it model.kwc" in refused["packed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.kwc", "model.tflite"]
    assert candidates.table(report.candidates).row_count == len(report.candidates)


@pytest.mark.parametrize("objective", ["latency", "memory"])
def test_auto_measures_what_it_chooses_among(objective, tmp_path):
    report = export(text, FOUR_BITS, tmp_path, objective=objective)
    assert tflite.litert.Interpreter(str(report.path)).get_signature_list()
    for tried in report.candidates:
        assert (tried.measured is None) == bool(tried.refused)
    assert candidates.table(report.candidates).row_count == len(report.candidates)


def test_the_smallest_is_measured_if_asked(tmp_path):
    first, *others = export(text, FOUR_BITS, tmp_path, objective="size", measure=True).candidates
    assert first.measured is not None
    assert others and not any(other.measured for other in others)


def test_a_folder_is_chosen_among_folders(tmp_path):
    report = export(text, FOUR_BITS, tmp_path, "folder", to="saved_model", objective="size")
    assert (report.path / "saved_model.pb").is_file()
    assert {c.route.name for c in report.candidates} == {"at_load", "float32"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "beauty"}, "no objective 'beauty'; it is one of size, latency, memory"),
        ({"objective": "size", "route": "int8"}, "route=int8 leaves no choice"),
        ({"name": "other.kwc", "route": "int8"}, r"int8 to tflite writes no \.kwc file"),
        ({"name": "other.keras", "route": "int8"}, r"int8 to tflite writes no \.keras file"),
    ],
)
def test_what_cannot_be_chosen_is_refused(options, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        export(text, FOUR_BITS, tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["model.kwc"])


def test_the_suffix_of_a_packed_file_asks_for_one(tmp_path):
    assert export(text, FOUR_BITS, tmp_path, "other.kwc").route == "packed"
    assert pathlib.Path(tmp_path / "other.kwc").is_file()
