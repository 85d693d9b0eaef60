"""The folder that `kwc demo` writes, and what it refuses; no npm and no browser is needed."""

import base64
import gzip
import hashlib
import json
import pathlib
import re
import shutil
import urllib.request

import export_models
import model_garden
import numpy as np
import pytest
from demo_pages import demo, fake_modules, fake_npm, finished, served
from official.vision.ops import preprocess_ops
from test_trial import write_config

from experiments import data as prepared_data
from experiments import trial as experiments_trial
from kwc import algorithms
from kwc.exports import tflite
from launch import cli
from launch.demo import folder, models, server
from launch.errors import LaunchError

pytestmark = pytest.mark.usefixtures("as_new_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return model_garden.write_images(tmp_path_factory.mktemp("data")).parent


@pytest.fixture(scope="module")
def trial(data, tmp_path_factory):
    return finished(data, tmp_path_factory.mktemp("runs") / "trial")


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    return fake_modules(tmp_path_factory.mktemp("npm") / "node_modules")


@pytest.fixture(scope="module")
def page(trial, modules, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages") / "page"
    assert demo(trial, out, f"--runtime={modules}") == 0
    return out


@pytest.fixture(scope="module")
def told(page):
    return json.loads((page / "demo.json").read_text())


def test_the_folder_holds_all_that_the_page_asks_for(page, modules):
    names = {str(path.relative_to(page)) for path in page.rglob("*") if path.is_file()}
    asked = {"demo.json", "models/dense.tflite", "models/compressed.tflite", "models/packed.kwc"}
    text = (page / "index.html").read_text()
    asked |= {"index.html", *re.findall(r'(?:src|href)="([\w.]+)"', text)}
    for script in page.glob("*.js"):
        asked |= {script.name, *re.findall(r'from "\./([\w.]+)"', script.read_text())}
    runtime = {name for name in names if name.startswith("runtime/")}
    assert names - runtime == asked
    assert set(re.findall(r'"\./(runtime/[^"]+)"', text)) < runtime
    assert {name.removeprefix("runtime/") for name in runtime} == {
        str(path.relative_to(modules)) for path in modules.rglob("*") if path.is_file()
    }


def test_sizes_are_those_of_the_files(page, told):
    assert list(told["files"]) == ["dense", "compressed", "packed"]
    for file in told["files"].values():
        content = (page / "models" / file["name"]).read_bytes()
        assert file["bytes"] == len(content)
        assert file["gzip"] == len(gzip.compress(content, mtime=0))
    assert [file["route"] for file in told["files"].values()] == ["float32", "int4", "packed"]
    dense, compressed, packed = (file["bytes"] for file in told["files"].values())
    assert packed < compressed < dense / 5


def test_the_models_take_one_example_and_say_what_the_artifact_does(trial, page, told):
    import kwc

    model, inputs = experiments_trial.model_and_inputs(trial / "config.gin", 3)
    kwc.load(trial / "model.kwc", into=model)
    expected = model(inputs, training=False)
    for role in ("dense", "compressed"):
        runner = tflite.litert.Interpreter(
            str(page / "models" / told["files"][role]["name"])
        ).get_signature_runner()
        assert list(runner.get_input_details()["inputs"]["shape_signature"]) == [1, 8, 8, 3]
        for one, outputs in zip(inputs, expected, strict=True):
            found = runner(inputs=one[None])["outputs"][0]
            np.testing.assert_allclose(found, outputs, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("compressor", "route"),
    [
        (algorithms.Quantization(bits=8), "int8"),
        (algorithms.Quantization(bits=4), "int4"),
        (algorithms.Pruning(sparsity=0.9), "sparse"),
        (algorithms.Clustering(clusters=16), "float16"),
        (algorithms.Lossless(), "float16"),
    ],
)
def test_the_smallest_exact_form_is_taken(compressor, route, tmp_path):
    build = export_models.convolutional
    artifact = export_models.artifact(build, compressor, tmp_path)
    exporter = models.Exporter(build(), export_models.inputs(build), tmp_path)
    file = exporter.compressed(artifact, None)
    assert file.route == route
    assert file.bytes < exporter.dense(artifact).bytes


def test_the_page_is_told_how_the_task_gives_pixels(trial, told):
    np.testing.assert_allclose(np.reciprocal(told["scale"]), preprocess_ops.STDDEV_RGB, rtol=1e-6)
    shift = -np.divide(preprocess_ops.MEAN_RGB, preprocess_ops.STDDEV_RGB)
    np.testing.assert_allclose(told["shift"], shift, rtol=1e-6)
    assert told["shape"] == [8, 8, 3]
    assert told["classes"] == [str(digit) for digit in range(10)]
    assert (told["name"], told["data"]) == ("lenet_300_100_mnist", "digits")


def test_two_pictures_of_each_class_are_shown(data, told):
    images, labels = prepared_data.read_images(
        prepared_data.load_manifest(data, "digits"), "test", 1000
    )
    assert [picture["label"] for picture in told["pictures"]] == sorted([*range(10)] * 2)
    known = {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}
    for picture in told["pictures"]:
        assert (base64.b64decode(picture["pixels"]), picture["label"]) in known


def test_the_import_map_is_the_one_that_the_page_allows(page):
    text = (page / "index.html").read_text()
    (imports,) = re.findall(r'<script type="importmap">(.*?)</script>', text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in text


def test_a_page_is_replaced_and_nothing_else(trial, page, modules, tmp_path, capsys):
    out = shutil.copytree(page, tmp_path / "page")
    (out / "models" / "dense.tflite").write_bytes(b"old")
    other = ["--route=int8", f"--dense={trial / 'model.kwc'}"]
    assert demo(trial, out, f"--runtime={modules}", *other) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    files = json.loads((out / "demo.json").read_text())["files"]
    assert files["compressed"]["route"] == "int8"
    assert files["dense"]["bytes"] == (out / "models" / "dense.tflite").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def refused(capsys, message, trial, out, *arguments):
    before = sorted(out.parent.iterdir())
    assert demo(trial, out, *arguments) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.splitlines()[-1].startswith("kwc: error: ")
    assert re.search(message, errors.splitlines()[-1])
    assert sorted(out.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("route", "message"),
    [("none", "There is no route 'none' to tflite"), ("packed", "writes a .kwc file")],
)
def test_a_route_that_no_browser_runs_is_refused(route, message, trial, modules, tmp_path, capsys):
    refused(capsys, message, trial, tmp_path / "p", f"--runtime={modules}", f"--route={route}")


def test_a_folder_of_other_things_is_left_alone(trial, modules, tmp_path, capsys):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.tex").touch()
    refused(capsys, "is no page of an artifact", trial, out, f"--runtime={modules}")
    refused(capsys, "is no page of", trial, out / "thesis.tex", f"--runtime={modules}")
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_without_npm_the_error_says_what_to_do(trial, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = r"apt-get install npm.* @litertjs/core@[\d.]+ .*--runtime"
    refused(capsys, message, trial, tmp_path / "page")


def test_what_npm_says_is_told(trial, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", fake_npm(tmp_path / "bin", "echo 'no network' >&2; exit 1"))
    refused(capsys, "npm cannot install .* no network The first time", trial, tmp_path / "page")


def test_npm_installs_what_is_pinned(trial, modules, tmp_path, monkeypatch):
    """By `npm ci`, which takes nothing that has not the checksums of the lock file."""
    script = f'test "$1" = ci && test -f package-lock.json && cp -r {modules} .'
    monkeypatch.setenv("PATH", fake_npm(tmp_path / "bin", script))
    assert demo(trial, tmp_path / "page", "--route=int4") == 0
    lock = pathlib.Path(models.__file__).with_name("npm") / "package-lock.json"
    packages = json.loads(lock.read_text())["packages"]
    assert {name for name, about in packages.items() if "integrity" in about} == {
        "node_modules/@litertjs/core",
        "node_modules/@litertjs/wasm-utils",
    }


def test_another_version_of_the_runtime_is_refused(trial, tmp_path, capsys):
    other = fake_modules(tmp_path / "node_modules", version="0.0.1")
    refused(capsys, "holds @litertjs/core 0.0.1, and", trial, tmp_path / "p", f"--runtime={other}")
    refused(capsys, "core not at all, and", trial, tmp_path / "p", f"--runtime={tmp_path}")


CROPPED = {
    "model": {"input_size": [8, 8, 3]},
    "validation_data": {"aug_crop": True},
}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": None}, "names no prepared data set"),
        ({"task": CROPPED}, "more to the pictures of digits than scale and shift"),
        ({"name": "nothing"}, "not the config of a trial that can be shown"),
    ],
)
def test_a_task_that_cannot_be_drawn_for_is_refused(
    fields, message, trial, data, modules, tmp_path, capsys
):
    config = write_config(tmp_path / "other", data, "quantization", **fields)
    arguments = [f"--runtime={modules}", f"--config={config}"]
    refused(capsys, message, trial, tmp_path / "page", *arguments)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "sentence_prediction"}, "holds a data set for sentence_prediction"),
        ({"channels": 3}, "holds pictures in colour"),
        ({"image_size": (224, 224)}, "holds pictures of 224x224 pixels"),
        ({"image_size": None}, "holds pictures of varying pixels"),
    ],
)
def test_pictures_that_cannot_be_drawn_are_refused(fields, message, data):
    import dataclasses

    from launch.demo import pictures

    manifest = dataclasses.replace(prepared_data.load_manifest(data, "digits"), **fields)
    with pytest.raises(LaunchError, match=message):
        pictures.check(manifest)


def test_a_damaged_artifact_is_refused_before_anything_is_written(trial, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(trial, damaged)
    content = (damaged / "model.kwc").read_bytes()
    (damaged / "model.kwc").write_bytes(content[:-9])
    refused(capsys, "model.kwc", damaged, tmp_path / "page")


def test_a_server_answers_on_this_machine(page):
    with served(page) as address:
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == (page / "index.html").read_bytes()
        wasm = "runtime/@litertjs/core/wasm/litert_wasm_internal.wasm"
        with urllib.request.urlopen(address + wasm) as answer:
            assert answer.headers["Content-Type"] == "application/wasm"
        port = int(address.strip("/").rpartition(":")[2])
        with pytest.raises(LaunchError, match=f"Port {port} cannot be served"):
            server.bind(page, port)


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["demo", "--help"])
    assert exit_.value.code == 0
    assert "--out=page --serve" in capsys.readouterr().out


def test_the_page_writes_where_nothing_was(tmp_path):
    with folder.writing(tmp_path / "new" / "page") as written:
        assert (written / folder.INDEX).is_file()
        assert not (tmp_path / "new" / "page").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page"]
