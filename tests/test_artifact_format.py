"""docs/format.md is enough to read a file, and the files of `tests/golden` stay readable.

After an intended change of what is written: KWC_REGENERATE=1 pytest tests/test_artifact_format.py
The files of earlier versions are never written again.
"""

import json
import os
import pathlib
import re

import format_reader
import ml_dtypes
import numpy as np
import pytest
import zstandard

from kwc import artifact, coding
from kwc.algorithms import (
    EPR,
    Clustering,
    LilNetX,
    Lossless,
    LowRank,
    Pruning,
    Quantization,
    RateQuantization,
)
from kwc.artifact import words
from kwc.compressor import WeightInfo

GOLDEN = pathlib.Path(__file__).parent / "golden"
NEWEST = GOLDEN / f"v{artifact.VERSION}"
VALUES = "values.json"
DOCS = pathlib.Path(__file__).parents[1] / "docs"


def wave(*shape, scale=5.0, dtype=np.int8):
    """Small whole numbers, the same in every process."""
    return np.rint(scale * np.sin(np.arange(np.prod(shape)))).reshape(shape).astype(dtype)


def noise(*shape):
    """Whole numbers from -2 to 2 without a pattern, the same in every process."""
    return np.rint(2 * np.sin(np.arange(np.prod(shape)) ** 2)).reshape(shape).astype(np.int8)


def halves(*shape):
    """Numbers whose products and sums float32 holds exactly, in any order."""
    return wave(*shape, dtype=np.float32) / 2


def every_dtype():
    """One weight of each dtype, a scalar, an empty one and one with many equal elements."""
    for name, dtype in coding.DTYPES.items():
        yield WeightInfo(f"dtypes/{name}", (2, 3), name), wave(2, 3).astype(dtype)
    yield WeightInfo("scalar", (), "int64"), np.array(-7)
    yield WeightInfo("empty", (0, 3)), np.zeros((0, 3), np.float32)
    yield WeightInfo("ones", (16, 8)), np.ones((16, 8), np.float32)
    yield WeightInfo("special", (4,)), np.array([np.inf, -np.inf, -0.0, 1e-42], np.float32)
    yield WeightInfo("periodic", (10, 12)), np.tile(halves(12), (10, 1))


def dead_units():
    """Levels of two layers; those of units that the first does not use are 0 in the second."""
    used = noise(60) > 0
    yield "layer_0", noise(3, 60) * used
    yield "layer_1", noise(60, 4) * used[:, None]


SHIPPED = (Clustering, EPR, LilNetX, Lossless, LowRank, Pruning, Quantization, RateQuantization)
TRANSPOSED = WeightInfo("transposed", (2, 2, 3, 4), "float32", (0, 1, 3), (2,))


def golden_weights():
    """The packed weights of each golden file."""
    matrix, conv = WeightInfo("matrix", (6, 4)), WeightInfo("conv", (2, 2, 3, 4))
    no_inputs = WeightInfo("no_inputs", (2, 4), "float32", (), (0, 1))
    half = WeightInfo("half", (6, 4), "bfloat16")
    mask = wave(6, 4) > 0
    codebook = halves(5)
    indices = (np.arange(24) % 5).astype(np.uint8)
    matrix_indices = indices.reshape(6, 4)
    scale = np.array([0.5, 1, 2, 0.25], np.float32)
    exponents = np.array([-16, 0, 8, -8], np.int8)
    large = WeightInfo("large", (2, 2, 8, 4))
    latents = {"levels": wave(2, 2, 8, 4), "exponents": exponents}
    pack = artifact.pack
    return {
        "lossless": [pack(None, {"weight": array}, info) for info, array in every_dtype()],
        "low_rank": [
            pack(LowRank(2), {"u": halves(6, 2), "v": halves(2, 4)}, matrix),
            pack(LowRank(1), {"u": halves(16, 1), "v": halves(1, 3)}, TRANSPOSED),
        ],
        "clustering": [
            pack(Clustering(5), {"codebook": codebook, "indices": matrix_indices}, matrix),
            pack(Clustering(5), {"codebook": codebook, "indices": matrix_indices}, half),
        ],
        "pruning": [pack(Pruning(0.5), {"mask": mask, "weight": halves(6, 4)}, matrix)],
        "quantization": [
            pack(Quantization(4), {"levels": wave(2, 2, 3, 4), "scale": scale}, conv),
            pack(Quantization(4), {"levels": wave(2, 2, 3, 4), "scale": scale[:3]}, TRANSPOSED),
            pack(Quantization(8), {"levels": wave(2, 4), "scale": scale[:1]}, no_inputs),
        ],
        "epr": [
            pack(EPR(), {"levels": wave(2, 2, 3, 4), "exponents": exponents}, conv),
            pack(EPR(), {"levels": wave(2, 2, 3, 4), "exponents": exponents}, TRANSPOSED),
            pack(EPR(), {"levels": wave(6, 4), "exponents": wave(1) - 21}, matrix),
        ],
        "lilnetx": [
            pack(LilNetX(), latents | {"decoder": wave(4, 4, scale=64.0)}, large),
            pack(LilNetX(), {"levels": wave(2, 2, 3, 4), "exponents": exponents[:1]}, conv),
            pack(LilNetX(), {"levels": wave(6, 4), "exponents": wave(1) - 21}, matrix),
        ],
        "rate_quantization": [
            pack(RateQuantization(1e-7), {"levels": wave(6, 4), "exponents": exponents}, matrix),
            pack(
                RateQuantization(1e-7),
                {"levels": wave(2, 2, 3, 4), "exponents": exponents[:3]},
                TRANSPOSED,
            ),
            pack(
                RateQuantization(1e-7),
                {"levels": wave(2, 4).astype(np.int16), "exponents": exponents[:1]},
                no_inputs,
            ),
        ],
        "guided": [
            pack(EPR(), {"levels": levels, "exponents": wave(1)}, WeightInfo(path, levels.shape))
            for path, levels in dead_units()
        ],
        "chain": [
            pack(
                Pruning(0.5) >> Clustering(5),
                {"mask": mask, "weight/codebook": codebook, "weight/indices": matrix_indices},
                matrix,
            ),
            pack(
                LowRank(2) >> Pruning(0.5) >> Quantization(4),
                {
                    "u/mask": wave(16, 2) > 0,
                    "u/weight/levels": wave(16, 2),
                    "u/weight/scale": scale[:2],
                    "v/mask": wave(2, 3) > 0,
                    "v/weight/levels": wave(2, 3),
                    "v/weight/scale": scale[1:],
                },
                TRANSPOSED,
            ),
        ],
    }


METADATA = {"text": "two\nlines, é", "number": 1.5, "list": [1, None, True]}
NAMES = golden_weights().keys()


def files():
    """Every golden file, of every version."""
    newest = [NEWEST / f"{name}.kwc" for name in NAMES]
    return sorted({*GOLDEN.glob("v*/*.kwc"), *newest})


FILES = pytest.mark.parametrize("path", files(), ids=lambda path: f"{path.parent.name}-{path.stem}")


def written(name):
    metadata = METADATA if name == "lossless" else {}
    return artifact.to_bytes(golden_weights()[name], metadata)


@pytest.fixture(scope="module", autouse=True)
def regenerate():
    """Writes the files of the newest version anew, if it is asked for."""
    if os.environ.get("KWC_REGENERATE"):
        values = {"zstd": list(zstandard.ZSTD_VERSION), "files": {}}
        for name, weights in golden_weights().items():
            (NEWEST / f"{name}.kwc").write_bytes(written(name))
            values["files"][name] = {w.info.path: as_list(w.decompress()) for w in weights}
        (NEWEST / VALUES).write_text(json.dumps(values, indent=1) + "\n")


def golden(path):
    """Values that the golden files beside one hold, as lists of floats, and the zstd of them."""
    return json.loads(path.with_name(VALUES).read_text())


def as_list(array):
    """The flat elements as Python numbers; infinities as text, which JSON has."""
    numbers = array.astype(object if array.dtype.kind in "iu" else np.float64).reshape(-1)
    return [str(x) if np.isinf(float(x)) else x for x in numbers.tolist()]


def test_golden_files_are_there_for_each_algorithm_and_version():
    assert {path.stem for path in NEWEST.glob("*.kwc")} == NAMES
    assert {"chain", "guided", *(cls.name for cls in SHIPPED)} == NAMES
    assert {path.parent.name for path in files()} == {
        f"v{version}" for version in range(1, artifact.VERSION + 1)
    }
    for path in files():
        assert f"v{path.read_bytes()[3]}" == path.parent.name


@FILES
def test_golden_files_decode_to_golden_values(path):
    content = artifact.read(path)
    values = {path: as_list(w.decompress()) for path, w in content.weights.items()}
    assert values == golden(path)["files"][path.stem]
    assert content.metadata == (METADATA if path.stem == "lossless" else {})
    for weight in golden_weights()[path.stem]:
        read = content.weights[weight.info.path]
        assert read.info == weight.info
        assert read.compressor.file_config() == weight.compressor.file_config()


@pytest.mark.parametrize("name", NAMES)
def test_equal_input_gives_the_golden_bytes(name):
    path = NEWEST / f"{name}.kwc"
    if list(zstandard.ZSTD_VERSION) == golden(path)["zstd"]:
        assert written(name) == path.read_bytes()
    again = artifact.from_bytes(written(name))
    values = {key: as_list(w.decompress()) for key, w in again.weights.items()}
    assert values == golden(path)["files"][name]


@FILES
def test_a_reader_written_from_the_page_reads_the_golden_files(path):
    weights, metadata = format_reader.read(path.read_bytes())
    content = artifact.read(path)
    assert weights.keys() == content.weights.keys()
    assert list(weights) == list(content.weights)
    for key, weight in content.weights.items():
        expected = weight.decompress()
        if expected.dtype == ml_dtypes.bfloat16:
            expected = expected.astype(np.float32)
        assert weights[key].dtype == expected.dtype
        assert weights[key].tobytes() == expected.tobytes()
    assert metadata == content.metadata


def test_the_page_has_the_table_of_words():
    assert tuple(format_reader.WORDS) == words.WORDS
    assert len(set(words.WORDS)) == len(words.WORDS)


@pytest.mark.parametrize("rank", [1, 2, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(100, 300), (2, 3), (12, 9)])
def test_the_page_knows_the_rank_that_a_fraction_stands_for(rank, shape):
    compressor = LowRank(rank)
    for param, expected in compressor.param_shapes(WeightInfo("w", shape)).items():
        config = compressor.config()
        assert format_reader.trained_shape("low_rank", config, param, shape, [1]) == expected


@pytest.mark.parametrize("page", ["format.md", "format_v1.md"])
def test_the_example_of_the_page_reads_as_the_page_says(page):
    text = re.search(r"## Example.*?```\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)[1]
    data = bytes.fromhex("".join(line.split("#")[0] for line in text.splitlines()))
    weight = np.array([-1.5, 0.5], np.float32)
    for read in (
        format_reader.read(data)[0]["w"],
        artifact.from_bytes(data).weights["w"].decompress(),
    ):
        np.testing.assert_array_equal(read, weight)
    if data[3] == artifact.VERSION:
        packed = artifact.pack(None, {"weight": weight}, WeightInfo("w", (2,)))
        assert artifact.to_bytes([packed]) == data
