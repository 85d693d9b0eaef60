"""Files are written and read weight by weight, holding one at a time."""

import os
import tracemalloc

import numpy as np
import pytest
from test_artifact import every_weight, lossless, whole

import kwc.runtime
from kwc import artifact
from kwc.artifact import ArtifactError


def test_a_file_can_be_read_weight_by_weight(tmp_path):
    path = tmp_path / "m.kwc"
    artifact.write(path, every_weight(), {"note": 1})
    read = artifact.read(path)
    with artifact.opened(path) as content:
        assert (content.sizes, content.metadata) == (read.sizes, read.metadata)
        assert list(content.weights) == list(read.weights)
        for key, weight in content.weights.items():
            assert weight.decompress().tobytes() == read.weights[key].decompress().tobytes()


def test_an_open_file_is_checked_as_a_read_one_is(tmp_path):
    path = tmp_path / "m.kwc"
    data = whole()
    for wrong in (b"", b"text", data[:-1], data[:9] + b"!" + data[10:]):
        path.write_bytes(wrong)
        with pytest.raises(ArtifactError, match=r"m\.kwc is "), artifact.opened(path):
            pass


def test_a_file_that_is_cut_while_it_is_open_is_refused(tmp_path):
    path = tmp_path / "m.kwc"
    artifact.write(path, [lossless(array=noise(300, 400))])
    with artifact.opened(path) as content:
        os.truncate(path, 5)
        with pytest.raises(ArtifactError, match=r"m\.kwc is forged: w/weight"):
            content.weights["w"].decompress()


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_writing_and_reading_hold_one_weight_at_a_time(tmp_path):
    path, many, array = tmp_path / "m.kwc", 60, noise(100, 1000)
    tracemalloc.start()
    try:
        artifact.write(path, (lossless(f"w{i}", array) for i in range(many)))
        assert tracemalloc.get_traced_memory()[1] < 20 * array.nbytes
        tracemalloc.reset_peak()
        with artifact.opened(path) as content:
            for weight in content.weights.values():
                weight.decompress()
        assert tracemalloc.get_traced_memory()[1] < 6 * array.nbytes
        tracemalloc.reset_peak()
        assert len(kwc.runtime.load(path)) == many
        assert tracemalloc.get_traced_memory()[1] < (many + 6) * array.nbytes
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > many / 2 * array.nbytes
