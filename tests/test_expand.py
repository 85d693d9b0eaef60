"""Expanding packed files: what is laid where, and files that lie. No TensorFlow is needed."""

import json
import random
import tracemalloc

import format_reader
import numpy as np
import pytest
from artifact_forge import small
from mutations import edit, seal

import kwc
from kwc import artifact
from kwc.algorithms import Quantization
from kwc.artifact import ArtifactError
from kwc.compressor import WeightInfo
from kwc.runtime import packed
from launch import cli

pytestmark = pytest.mark.usefixtures("hang_guard")

SKELETON = np.arange(10, dtype=np.uint8)
FACTORS = np.array([2, 0.5, -1], np.float32)
LEVELS, SCALE = small(2, 3, dtype=np.int8) - 2, np.array([1, 2, 4], np.float32)
KERNEL = LEVELS * SCALE
BIAS = small(4)
PLACES = [
    {"skip": 3, "weight": 0, "axes": [1, 0], "factor": [1]},
    {"skip": 0, "weight": 1, "part": [1, 3]},
    {"skip": 4, "weight": 0},
]
PLAN = {"version": 1, "places": PLACES}
WEIGHTS = {"k": (Quantization(4), {"levels": LEVELS, "scale": SCALE}, KERNEL.shape)}
WEIGHTS |= {"b": (None, {"weight": BIAS}, BIAS.shape)}
EXTRA = {packed.SKELETON: SKELETON, packed.FACTORS: FACTORS}


def written(folder, metadata, extra=EXTRA):
    """Writes a file of a kernel, a bias, these arrays and this metadata; returns its path."""
    weights = [artifact.pack(c, a, WeightInfo(p, s)) for p, (c, a, s) in WEIGHTS.items()]
    weights += [
        artifact.pack(None, {"weight": a}, WeightInfo(path, a.shape, a.dtype.name))
        for path, a in extra.items()
    ]
    artifact.write(folder / "evil.kwc", weights, metadata)
    return folder / "evil.kwc"


def constant(array):
    return array.astype("<f4").tobytes()


EXPANDED = b"".join(
    [
        bytes([0, 1, 2]),
        constant((KERNEL * [2, 0.5, -1]).T),
        constant(BIAS[1:3]),
        bytes([3, 4, 5, 6]),
        constant(KERNEL),
        bytes([7, 8, 9]),
    ]
)


def test_weights_are_laid_into_the_skeleton(tmp_path):
    path = written(tmp_path, {"tflite": PLAN})
    assert kwc.runtime.expand(path, tmp_path / "m.tflite", max_bytes=10000) == EXPANDED
    assert (tmp_path / "m.tflite").read_bytes() == EXPANDED
    assert format_reader.expand(path.read_bytes()) == EXPANDED


def test_what_is_written_is_what_is_read(tmp_path):
    path = written(tmp_path, {"tflite": PLAN})
    content = artifact.read(path)
    parsed = packed.parse(content, "it", 10000)
    extra, metadata = packed.dump(parsed, list(WEIGHTS))
    weights = [content.weights[name] for name in WEIGHTS]
    assert metadata == content.metadata
    assert artifact.to_bytes([*weights, *extra], metadata) == path.read_bytes()


def test_the_command_writes_the_file(tmp_path, capsys):
    path, out = written(tmp_path, {"tflite": PLAN}), tmp_path / "m.tflite"
    assert cli.main(["expand", str(path), f"--out={out}"]) == 0
    assert out.read_bytes() == EXPANDED
    assert f"{len(EXPANDED)} bytes, from {path.stat().st_size}\n{out}\n" == capsys.readouterr().out


@pytest.mark.parametrize("name", ["none.kwc", "evil.kwc"])
def test_the_command_says_what_is_wrong_in_one_line(name, tmp_path, capsys):
    written(tmp_path, {})
    assert cli.main(["expand", str(tmp_path / name), f"--out={tmp_path / 'm.tflite'}"]) == 1
    assert capsys.readouterr().err.startswith("kwc: error: ")
    assert not (tmp_path / "m.tflite").exists()


def refused(path, message, max_bytes=10000, most=1 << 20):
    """Expanding raises an error with this message, in little memory, and writes nothing."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=message) as caught:
            kwc.runtime.expand(path, path.with_name("m.tflite"), max_bytes)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert "evil.kwc" in str(caught.value)
    assert not path.with_name("m.tflite").exists()


def place(number=1, **changes):
    """The plan with one place changed; None takes a key away."""
    changed = {k: v for k, v in (PLACES[number] | changes).items() if v is not None}
    return {"places": [*PLACES[:number], changed, *PLACES[number + 1 :]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is packed in version 2; this kwc reads version 1"),
        ({"version": None}, "is packed in version None"),
        ({"more": 1}, "a version and a list of places, and nothing else"),
        ({"places": {}}, "a version and a list of places, and nothing else"),
        ({"places": [7]}, "7 stands where an object belongs"),
        ({"places": PLACES[:0]}, "3 factors belong to no place"),
        (place(skip=8), "8 stands where an integer from 0 to 7 belongs"),
        (place(skip=-1), "-1 stands where"),
        (place(skip=1.0), "1.0 stands where"),
        (place(skip=None), "is no place"),
        (place(more=1), "is no place"),
        (place(weight=4), "4 stands where an integer from 0 to 3"),
        (place(weight=2), "tflite/skeleton cannot be laid so: it is uint8"),
        (place(weight=True), "True stands where"),
        (place(factor=[0]), "b cannot be laid so"),
        (place(part=[1, 5]), "5 stands where"),
        (place(part=[2, 2]), "is no part of b"),
        (place(part=[1]), "is no part of b"),
        (place(part=3), "3 stands where a list belongs"),
        (place(0, axes=[0, 0]), "is no order of the 2 axes of k"),
        (place(0, axes=[0]), "is no order of the 2 axes of k"),
        (place(0, axes=[0, 2]), "2 stands where an integer from 0 to 1"),
        (place(0, axes={"0": 1}), "stands where a list belongs"),
        (place(0, factor=[0]), "1 factors belong to no place"),
        (place(0, factor=[0, 1]), "there are 3 factors left, and k takes 6"),
        (place(0, factor=[2]), "2 stands where"),
        ({"places": PLACES * 4}, "there are 0 factors left"),
        ({"places": [*PLACES, *[{"skip": 0, "weight": 0}] * 1000]}, "more than max_bytes"),
    ],
)
def test_places_that_cannot_be_are_refused(change, message, tmp_path):
    refused(written(tmp_path, {"tflite": PLAN | change}), message)


@pytest.mark.parametrize("plan", [None, [], "1", 1])
def test_an_artifact_of_weights_alone_is_refused(plan, tmp_path):
    refused(written(tmp_path, {"tflite": plan}), "holds no .tflite file")
    refused(written(tmp_path, {}), "holds no .tflite file")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({packed.FACTORS: FACTORS}, "there is no tflite/skeleton"),
        (EXTRA | {packed.SKELETON: SKELETON.astype(np.int32)}, "there is no tflite/skeleton"),
        (EXTRA | {packed.SKELETON: SKELETON[None]}, "there is no tflite/skeleton"),
        (EXTRA | {packed.FACTORS: FACTORS.astype(np.float64)}, "there is no tflite/factors"),
        ({packed.SKELETON: SKELETON}, "there are 0 factors left"),
        (EXTRA | {packed.SKELETON: np.zeros(20000, np.uint8)}, "more than max_bytes=10000"),
    ],
)
def test_arrays_that_cannot_be_are_refused(extra, message, tmp_path):
    refused(written(tmp_path, {"tflite": PLAN}, extra), message)


def test_a_skeleton_that_would_take_much_is_refused_before_it_does(tmp_path):
    """A few bytes declare 64 MiB of zeros."""
    zeros = np.zeros(64 << 20, np.uint8)
    path = written(tmp_path, {"tflite": PLAN}, EXTRA | {packed.SKELETON: zeros})
    assert path.stat().st_size < 1000
    refused(path, "would decode to .* more than max_bytes", max_bytes=zeros.size)
    places = [{"skip": 0, "weight": 0}] * 20
    path = written(tmp_path, {"tflite": {"version": 1, "places": places}})
    refused(path, "more than max_bytes", max_bytes=400)


def test_a_model_is_not_filled_from_a_packed_file(tmp_path):
    path = written(tmp_path, {"tflite": PLAN})
    with pytest.raises(ArtifactError, match="tflite/skeleton is not in the model"):
        artifact.read(path, {"k": (2, 3), "b": (4,)})


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = written(tmp_path, {"tflite": PLAN})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused(path, "evil.kwc")


def test_changed_files_are_refused_or_make_what_they_declare(tmp_path):
    path = written(tmp_path, {"tflite": PLAN})
    data, rng = path.read_bytes(), random.Random(0)
    text = json.dumps(PLAN).encode()
    outcomes = {"refused": 0, "made": 0}
    for _ in range(300):
        if rng.random() < 0.5:
            path.write_bytes(seal(edit(data[:-4], rng, data)))
        else:
            try:
                written(tmp_path, {"tflite": json.loads(edit(text, rng, text))})
            except (ValueError, kwc.CompressionError):
                continue
        try:
            made = kwc.runtime.expand(path, max_bytes=10000)
        except ArtifactError as error:
            assert "evil.kwc" in str(error)
            assert len(str(error)) < 1500
            outcomes["refused"] += 1
        else:
            assert len(made) <= 10000
            outcomes["made"] += 1
    assert outcomes["refused"] > 100
    assert outcomes["made"] > 5
