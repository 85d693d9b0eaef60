"""Packed files: entropy-coded weights and a skeleton, which expand to the plain `.tflite` file."""

import subprocess
import sys

import format_reader
import numpy as np
import pytest
from algorithms import ROWS
from export_models import artifact, built, convolutional, export, inputs, recurrent, separable, text
from models import keras, tf_keras
from test_floors import BLOCKED, ROOT

import kwc
from kwc.algorithms import Clustering, LowRank, Pruning, Quantization
from kwc.exports import ExportError, skeleton, source, tflite

EXPAND = BLOCKED[: BLOCKED.index("import numpy")] + "import kwc\nkwc.runtime.expand(*sys.argv[1:])"


def outputs(data, x):
    return tflite.litert.Interpreter(model_content=data).get_signature_runner()(inputs=x)["outputs"]


@pytest.mark.parametrize(
    ("build", "compressor"),
    [
        (convolutional, Quantization(4)),
        (separable, Clustering(8)),
        (text, LowRank(0.5)),
        (recurrent, Pruning(0.5)),
    ],
)
def test_a_packed_file_expands_to_the_plain_file_bit_by_bit(build, compressor, tmp_path):
    report = export(build, compressor, tmp_path, "packed.kwc", route="packed")
    assert {weight.form for weight in report} == {"packed"}
    assert report.proof.weight_error == 0
    assert report.proof.nbytes == report.path.stat().st_size
    expanded = kwc.runtime.expand(report.path)
    plain = tflite.convert(source.read(tmp_path / "model.kwc", built(build), inputs(build)))
    assert expanded == skeleton.strip(plain) == format_reader.expand(report.path.read_bytes())
    x = inputs(build)[:1]
    np.testing.assert_array_equal(outputs(expanded, x), outputs(plain, x))
    assert len(expanded) < len(plain)


def test_every_algorithm_is_packed_and_expands_without_tensorflow(tmp_path):
    layers = [keras.Dense(6) for _ in ROWS]
    model = tf_keras.Sequential([keras.Input((6,)), *layers])
    rules = [(f"dense{f'_{i}' if i else ''}/kernel", row.compressor) for i, row in enumerate(ROWS)]
    kwc.compress(model, kwc.Spec([*rules, (".*", None)]), calibration=[np.eye(6)])
    kwc.save(model, tmp_path / "model.kwc")
    kwc.decompress(model)
    x = np.eye(6, dtype=np.float32)
    report = kwc.export(
        tmp_path / "model.kwc",
        model,
        tmp_path / "packed.kwc",
        to="tflite",
        route="packed",
        inputs=x,
    )
    assert not [weight for weight in report if weight.form != "packed"]
    subprocess.run(
        [sys.executable, "-c", EXPAND, report.path, tmp_path / "m.tflite"], check=True, cwd=ROOT
    )
    made = outputs((tmp_path / "m.tflite").read_bytes(), x)
    np.testing.assert_allclose(made, model(x), rtol=0, atol=1e-4 * np.abs(made).max())


def test_a_packed_file_is_not_called_tflite(tmp_path):
    with pytest.raises(ExportError, match=r"call it model\.kwc, not model\.tflite"):
        export(text, Quantization(4), tmp_path, route="packed")


def test_equal_artifacts_make_equal_packed_files(tmp_path):
    made = [
        export(text, Quantization(4), tmp_path, name, route="packed").path.read_bytes()
        for name in ("a.kwc", "b.kwc")
    ]
    assert made[0] == made[1]


def test_what_no_weight_makes_stays_plain_with_a_reason(tmp_path, monkeypatch):
    convert = tflite.convert

    def doubled(content):
        graph = tflite.Graph(convert(content))
        for buffer in graph.model.buffers:
            if buffer.data is not None and len(buffer.data) == 4 * 40 * 10:
                values = buffer.data.view(np.float32) + np.float32(1e-9)
                buffer.data = values.view(np.uint8)
        return graph.pack()

    monkeypatch.setattr(tflite, "convert", doubled)
    artifact(convolutional, Quantization(4), tmp_path)
    report = export(convolutional, Quantization(4), tmp_path, "packed.kwc", route="packed")
    plain = {weight.path: weight.reason for weight in report if weight.form == "float32"}
    assert list(plain) == ["dense_1/kernel"]
    assert "no constant of the converted model is this weight" in plain["dense_1/kernel"]


def test_a_bias_of_zeros_that_the_converter_leaves_out_is_named(tmp_path):
    model = tf_keras.Sequential([keras.Input((3,)), keras.Dense(4)])
    kwc.compress(model, kwc.Spec([(".*", Quantization(4))]))
    kwc.save(model, tmp_path / "m.kwc")
    report = kwc.export(
        tmp_path / "m.kwc",
        kwc.decompress(model),
        tmp_path / "packed.kwc",
        to="tflite",
        route="packed",
        inputs=np.eye(3, dtype=np.float32),
    )
    reasons = {weight.path: weight.reason for weight in report}
    left_out = "it is all zeros, and the converter has left it out"
    assert reasons == {"dense/kernel": "", "dense/bias": left_out}


@pytest.mark.parametrize("outputs_last", [True, False])
def test_factors_are_found_to_the_last_bit_and_sign(outputs_last):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 3, 2, 7)).astype(np.float32)
    weight[..., 3] = 0
    factor = rng.normal(size=(7 if outputs_last else 2, 1)[: 1 if outputs_last else 2])
    factor = -np.abs(factor).astype(np.float32)
    constant = np.ascontiguousarray((weight * factor).transpose(3, 0, 1, 2))
    found = skeleton._exact(weight, constant)
    assert found.apply(weight).tobytes() == constant.tobytes()
