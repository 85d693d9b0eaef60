"""The `.kwc` file: round trips, determinism, sizes, damage, and writing on a full disk."""

import dataclasses
import errno
import io
import os
import subprocess
import sys
import tracemalloc
import zipfile

import disks
import numpy as np
import pytest
import zstandard
from artifact_forge import forge_v2, forge_weight, frame, sealed, small
from hypothesis import given
from test_artifact_format import golden_weights
from test_coding import arrays, fast

import kwc.runtime
from kwc import algorithms, artifact, report
from kwc.algorithms import Clustering, Lossless, LowRank, Pruning, Quantization
from kwc.artifact import ArtifactError, container, header
from kwc.compressor import CompressionError, WeightCompressor, WeightInfo


def lossless(path="w", array=None):
    array = small(3, 4) if array is None else array
    return artifact.pack(None, {"weight": array}, WeightInfo(path, array.shape, array.dtype.name))


def every_weight():
    """The weights of all golden files, under paths of their own."""
    for name, weights in golden_weights().items():
        for weight in weights:
            info = dataclasses.replace(weight.info, path=f"{name}/{weight.info.path}")
            yield artifact.pack(weight.compressor, weight.arrays, info)


def test_what_is_written_is_read(tmp_path):
    weights = list(every_weight())
    written = artifact.write(tmp_path / "m.kwc", weights, {"note": ["é", 1]})
    read = artifact.read(tmp_path / "m.kwc")
    assert list(read.weights) == list(written.nbytes) == [w.info.path for w in weights]
    assert read.metadata == {"note": ["é", 1]}
    assert read.sizes == written.sizes
    for weight in weights:
        again = read.weights[weight.info.path]
        assert again.info == weight.info
        assert again.nbytes == written.nbytes[weight.info.path]
        assert again.compressor.file_config() == weight.compressor.file_config()
        assert again.arrays.keys() == weight.arrays.keys()
        for name, array in weight.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], array)
            assert again.arrays[name].dtype == array.dtype
        decoded = again.decompress()
        assert decoded.tobytes() == weight.decompress().tobytes()
        assert decoded.dtype.name == weight.info.dtype
        assert decoded.shape == weight.info.shape


@fast
@given(array=arrays())
def test_any_array_is_stored_bit_by_bit(array):
    weight = lossless(array=array)
    again = artifact.from_bytes(artifact.to_bytes([weight])).weights["w"].decompress()
    assert again.tobytes() == array.tobytes()
    assert (again.shape, again.dtype) == (array.shape, array.dtype)


def test_the_runtime_reads_a_file_without_tensorflow(tmp_path):
    path = tmp_path / "m.kwc"
    artifact.write(path, list(every_weight()))
    code = f"""
import sys
class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("tensorflow", "tf_keras"), name
sys.meta_path.insert(0, NoTensorFlow())
import kwc.runtime
print(*kwc.runtime.load({str(path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == list(kwc.runtime.load(path))


def test_equal_input_gives_equal_bytes():
    first = artifact.to_bytes(list(every_weight()), {"b": 1, "a": 2})
    assert artifact.to_bytes(list(every_weight()), {"a": 2, "b": 1}) == first


def test_sizes_add_up_to_the_length_of_the_file(tmp_path):
    path = tmp_path / "m.kwc"
    written = artifact.write(path, list(every_weight()))
    assert written.sizes.file_bytes == os.path.getsize(path)
    assert written.sizes.file_bytes == written.sizes.payload_bytes + written.sizes.header_bytes
    in_weights = sum(sum(arrays.values()) for arrays in written.nbytes.values())
    assert written.sizes.payload_bytes == in_weights
    table = report.of_artifact(artifact.read(path))
    assert table.sizes == written.sizes
    assert sum(weight.written_bytes for weight in table) == in_weights


def test_there_is_no_metadata_unless_it_is_given():
    plain = artifact.to_bytes([lossless()])
    assert artifact.from_bytes(plain).metadata == {}
    text = '{"a":1}'
    assert len(artifact.to_bytes([lossless()], {"a": 1})) == len(plain) + len(text)


def test_an_empty_model_is_a_file():
    assert artifact.from_bytes(artifact.to_bytes([])).weights == {}


def test_a_mask_leaves_out_what_it_excludes():
    """What stands outside of the mask is neither stored nor seen by anyone after packing."""
    mask = small(3, 4) < 2
    info = WeightInfo("w", (3, 4))
    packed = artifact.pack(Pruning(0.9), {"weight": small(3, 4) + 1, "mask": mask}, info)
    assert packed.arrays["weight"].tolist() == [[1, 2, 0, 0], [0] * 4, [0] * 4]
    written = artifact.from_bytes(artifact.to_bytes([packed])).weights["w"]
    assert written.nbytes["weight"] == 2 * 4
    assert list(written.nbytes) == ["mask", "weight"]
    np.testing.assert_array_equal(written.arrays["weight"], packed.arrays["weight"])


def test_hyperparameters_that_python_takes_for_equal_are_kept_apart():
    """`LowRank(1)` is of rank one, `LowRank(1.0)` of full rank, and 1 == 1.0."""
    arrays = {"u": small(3, 1), "v": small(1, 4)}
    full = {"u": small(3, 3), "v": small(3, 4)}
    weights = [
        artifact.pack(LowRank(1), arrays, WeightInfo("one", (3, 4))),
        artifact.pack(LowRank(1.0), full, WeightInfo("all", (3, 4))),
    ]
    read = artifact.from_bytes(artifact.to_bytes(weights)).weights
    assert type(read["one"].compressor.rank) is int
    assert type(read["all"].compressor.rank) is float


def test_arrays_are_decoded_anew_each_time():
    weight = artifact.from_bytes(artifact.to_bytes([lossless()])).weights["w"]
    weight.arrays["weight"][:] = 7
    weight.decompress()[:] = 7
    np.testing.assert_array_equal(weight.decompress(), small(3, 4))


def test_the_arrays_of_a_weight_are_freed_before_the_next_is_decoded(tmp_path):
    path, count, weight = tmp_path / "m.kwc", 20, small(100, 1000)
    info = WeightInfo("w", weight.shape)
    arrays = {"mask": np.ones(weight.shape, bool), "weight": weight}
    artifact.write(
        path,
        [
            artifact.pack(Pruning(0.5), arrays, dataclasses.replace(info, path=f"w{i}"))
            for i in range(count)
        ],
    )
    tracemalloc.start()
    try:
        assert len(kwc.runtime.load(path)) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - path.stat().st_size < (count + 6) * weight.nbytes


def whole():
    return artifact.to_bytes([lossless(), lossless("v")])


def test_a_file_cut_at_any_length_is_refused():
    data = whole()
    for length in range(len(data)):
        with pytest.raises(ArtifactError, match=r"m\.kwc is (empty|no kwc artifact|damaged)"):
            artifact.from_bytes(data[:length], name="m.kwc")
    with pytest.raises(ArtifactError, match=r"damaged: its checksum.*copy it again"):
        artifact.from_bytes(data + b"\0")


def test_any_changed_byte_is_seen():
    data = whole()
    for at in range(len(data)):
        for bit in (0x01, 0x80):
            changed = bytearray(data)
            changed[at] ^= bit
            with pytest.raises(ArtifactError, match=r"no kwc artifact|format version|damaged"):
                artifact.from_bytes(bytes(changed))


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n" + bytes(60), zipped(), b"kw", b"text\n" * 9, b"KWC\1" + bytes(60)],
)
def test_a_file_of_another_kind_is_refused(data, tmp_path):
    path = tmp_path / "other.kwc"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"other\.kwc is no kwc artifact.*kwc\.save wrote"):
        artifact.read(path)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.kwc"
    path.touch()
    with pytest.raises(ArtifactError, match=r"empty\.kwc is empty.*write it again"):
        kwc.runtime.load(path)


def test_an_endless_file_of_another_kind_is_not_read_to_its_end():
    with pytest.raises(ArtifactError, match="/dev/zero is no kwc artifact"):
        artifact.read("/dev/zero")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        artifact.read(tmp_path / "nowhere.kwc")


@pytest.mark.parametrize("version", [0, 3, 255])
def test_another_version_is_named(version):
    data = sealed(bytes(9), version)
    with pytest.raises(ArtifactError, match=f"has format version {version}.*newer kwc"):
        artifact.from_bytes(data)


def test_errors_of_algorithms_name_the_file(tmp_path):
    path = tmp_path / "m.kwc"
    for kind in (["nonesuch", {}], ["quantization", {"bitz": 4}]):
        path.write_bytes(forge_weight(kind, {"weight": small(3, 4)}))
        with pytest.raises(ArtifactError, match=rf"m\.kwc cannot be decoded: .*{kind[0]}"):
            artifact.read(path)


def test_loading_imports_nothing_that_a_file_names(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("trap", "trap:Trap", "trap.Trap", "os.system", "../trap", "kwc.algorithms"):
        with pytest.raises(ArtifactError, match="No algorithm is called"):
            artifact.from_bytes(forge_weight([name, {}], {"weight": small(3, 4)}))
    assert "trap" not in sys.modules


def test_a_package_whose_algorithm_cannot_be_imported_is_named(monkeypatch):
    class Broken:
        def load(self):
            raise ImportError("its own dependency is missing")

    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [Broken()])
    with pytest.raises(ArtifactError, match="ImportError: its own dependency is missing"):
        artifact.from_bytes(forge_weight(["theirs", {}], {"weight": small(3, 4)}))


def test_an_algorithm_of_a_package_is_found_by_its_entry_point(monkeypatch):
    class Negated(WeightCompressor):
        def decompress(self, ops, packed, info):
            return -packed["weight"]

    class EntryPoint:
        def load(self):
            return Negated

    monkeypatch.setattr(algorithms, "_registry", dict(algorithms._registry))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [EntryPoint()])
    packed = artifact.pack(Negated(), {"weight": small(3, 4)}, WeightInfo("w", (3, 4)))
    read = artifact.from_bytes(artifact.to_bytes([packed]))
    np.testing.assert_array_equal(read.weights["w"].decompress(), -small(3, 4))


def test_a_decoder_that_fails_in_its_own_way_is_an_artifact_error():
    class Faulty(WeightCompressor):
        def decompress(self, ops, packed, info):
            raise ZeroDivisionError("by zero")

    packed = artifact.pack(Faulty(), {"weight": small(3, 4)}, WeightInfo("w", (3, 4)))
    with pytest.raises(ArtifactError, match="not those of faulty: ZeroDivisionError: by zero"):
        packed.decompress()


INFO = WeightInfo("w", (3, 4))


@pytest.mark.parametrize(
    ("compressor", "arrays", "message"),
    [
        (None, {"weight": small(5, 4)}, "w/weight has 20 elements, its weight 12.*fewer"),
        (None, {f"a{i}": small(3, 4) for i in range(5)}, "more than four times"),
        (None, {"weight": small(3, 4).astype(complex)}, "unsupported dtype 'complex128'"),
    ],
)
def test_arrays_that_no_file_holds_are_refused_when_packed(compressor, arrays, message):
    with pytest.raises(CompressionError, match=message):
        artifact.pack(compressor, arrays, INFO)


class Odd(WeightCompressor):
    """Has hyperparameters that are no JSON."""

    def config(self):
        return {"object": np.float32(1)}


@pytest.mark.parametrize(
    ("weights", "metadata", "message"),
    [
        ([lossless(), lossless()], {}, "two weights are called w.*Change the names"),
        ([lossless("two\nlines")], {}, "no name: 1 to 1000 printable"),
        ([lossless("")], {}, "no name"),
        ([lossless()], {"x": object()}, "the metadata are none.*Pass numbers"),
        ([lossless()], {"x": float("nan")}, "the metadata are none"),
        ([lossless()], {1: 1, "a": 2}, "the metadata are none"),
        ([lossless()], {"x": "ab" * container.MAX_HEADER_BYTES}, "Put less into its metadata"),
        ([artifact.pack(Odd(), {}, INFO)], {}, "the hyperparameters of odd are none"),
        (
            [artifact.pack(None, {}, WeightInfo("w", (3, 4, 5), "float32", (1, 0), (2,)))],
            {},
            "input axes .1, 0.; a file holds ascending ones",
        ),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(weights, metadata, message, tmp_path):
    path = tmp_path / "m.kwc"
    path.write_bytes(b"old")
    with pytest.raises(CompressionError, match=message):
        artifact.write(path, weights, metadata)
    assert path.read_bytes() == b"old"


def test_a_model_of_other_shapes_is_named_path_by_path():
    data = artifact.to_bytes([lossless("a"), lossless("b"), lossless("c")])
    expected = {"a": (3, 4), "b": (4, 3), "d": (1,)}
    with pytest.raises(ArtifactError) as caught:
        artifact.from_bytes(data, expected, name="m.kwc")
    assert str(caught.value) == (
        "m.kwc is for another model: b has shape (3, 4) in the file and (4, 3) in the model; d is "
        "not in the file; c is not in the model. Build the architecture that the artifact was "
        "written from."
    )
    with pytest.raises(ArtifactError, match="and 2 more"):
        artifact.from_bytes(data, {f"m{i}": (1,) for i in range(4)})


@pytest.mark.parametrize(
    ("compressor", "arrays"),
    [
        (Lossless(), {"weight": small(3, 4)}),
        (LowRank(2), {"u": small(3, 2), "v": small(2, 4)}),
        (Clustering(2), {"codebook": small(2), "indices": small(3, 4, dtype=np.uint8) % 2}),
        (Quantization(4), {"levels": small(3, 4, dtype=np.int8) % 8, "scale": small(4)}),
        (Pruning(0.5), {"mask": small(3, 4) > 5, "weight": small(3, 4)}),
    ],
)
def test_decoding_leaves_plain_arrays(compressor, arrays):
    """What guards the decoder's memory does not leak into its results."""
    decoded = artifact.pack(compressor, arrays, INFO).decompress()
    assert type(decoded) is np.ndarray


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB, where this process may mount one."""
    with disks.mounted(tmp_path / "disk", "64k") as disk:
        yield disk


def test_a_full_disk_leaves_the_old_file(tiny_disk):
    path = tiny_disk / "m.kwc"
    artifact.write(path, [lossless()])
    old = path.read_bytes()
    noise = np.frombuffer(np.random.default_rng(0).bytes(1 << 17), np.uint8)
    with pytest.raises(OSError, match="nothing was changed") as caught:
        artifact.write(path, [lossless(array=noise)])
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == old
    assert [p.name for p in tiny_disk.iterdir()] == ["m.kwc"]


def test_headers_are_read_whatever_the_writer_made_of_them():
    """The format is Zstandard's, not the bytes that one release of the library makes of it."""
    weights = [lossless(f"w{i}") for i in range(100)]
    declared = container.unseal(memoryview(artifact.to_bytes(weights)), "whole")
    text, payload = header.dump(declared.header), bytes(declared.payload)
    assert len(artifact.to_bytes(weights)) < len(forge_v2(text, payload))
    framed = [{}, {"write_checksum": True}, {"strategy": zstandard.STRATEGY_FAST}]
    for data in (
        forge_v2(text, payload),
        *(forge_v2(frame(text, **options), payload, compressed=True) for options in framed),
    ):
        content = artifact.from_bytes(data)
        assert len(content.weights) == 100
        np.testing.assert_array_equal(content.weights["w99"].decompress(), small(3, 4))
