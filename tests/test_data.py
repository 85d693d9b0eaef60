"""Data preparation: what is written, that it is whole, and that Model Garden reads it."""

import gzip
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from data_readers import read_images, read_sentences
from hypothesis import given
from hypothesis import strategies as st

from experiments.data import load_manifest, prepare
from experiments.data.manifest import SPLITS
from experiments.data.sources import fashion_mnist, movie_sentences
from experiments.data.splits import stratified_split


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare("digits", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A tab-separated table of 100 sentences, 60 of them positive."""
    path = tmp_path_factory.mktemp("source") / "table.tsv"
    words = ("plot", "cast", "score", "pace", "camera", "script", "hero", "villain", "end", "joke")
    rows = [
        f"{i}\t{1.5 if i < 60 else -0.5}\tThe {words[i % 10]} was {'fine' if i < 60 else 'poor'}"
        f" in part {i}."
        for i in range(100)
    ]
    path.write_text("\n".join([*rows, rows[0]]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory, table):
    return prepare("movie_sentences", tmp_path_factory.mktemp("data"), source=table)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=200),
    shares=st.lists(st.integers(1, 20), min_size=1, max_size=4),
)
def test_splits_partition_the_examples_and_keep_the_mix_of_classes(labels, shares):
    sizes = {f"split{i}": share for i, share in enumerate(shares)}
    parts = stratified_split(labels, sizes)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    for name, indices in parts.items():
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            expected = count * sizes[name] / sum(shares)
            assert abs(np.sum(np.asarray(labels)[indices] == label) - expected) <= 1
        assert np.array_equal(indices, stratified_split(labels, sizes)[name])


def test_model_garden_reads_every_pixel_and_label_of_the_images(digits):
    from official.vision.ops import preprocess_ops
    from sklearn.datasets import load_digits

    original = {
        (np.rint(image * 255 / 16).astype(np.uint8).tobytes(), label)
        for image, label in zip(*load_digits(return_X_y=True), strict=True)
    }
    seen = []
    for split in SPLITS:
        images, labels = read_images(digits, split)
        assert len(images) == digits.splits[split].examples
        assert images.shape[1:] == (8, 8, 3)
        pixels = images * preprocess_ops.STDDEV_RGB + preprocess_ops.MEAN_RGB
        assert np.ptp(np.rint(pixels), axis=-1).max() == 0, "grey, in three equal channels"
        grey = np.rint(pixels[..., 0]).astype(np.uint8)
        seen += [(image.tobytes(), int(label)) for image, label in zip(grey, labels, strict=True)]
        assert np.ptp(np.bincount(labels, minlength=10) / len(labels)) < 0.02
    assert len(seen) == len(set(seen)) == 1797
    assert set(seen) == original


def test_model_garden_reads_the_sentences(sentences, table):
    with open(table, encoding="utf-8") as file:
        labels = movie_sentences.read_table(file.read())
    vocabulary = (sentences.folder / sentences.vocab_file).read_text("utf-8").splitlines()
    assert len(vocabulary) == sentences.vocab_size
    seen = {}
    for split, size in zip(SPLITS, (80, 10, 10), strict=True):
        features = read_sentences(sentences, split)
        assert features["input_word_ids"].shape == (size, 64)
        assert features["label_ids"].sum() == size * 0.6
        assert not features["input_type_ids"].any()
        for ids, mask, label in zip(
            features["input_word_ids"], features["input_mask"], features["label_ids"], strict=True
        ):
            tokens = [vocabulary[i] for i in ids[: mask.sum()]]
            assert not ids[mask.sum() :].any()
            assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
            seen["".join(tokens[1:-1]).replace("##", "")] = label
    assert seen == {text.lower().replace(" ", ""): label for text, label in labels.items()}


@pytest.mark.parametrize("name", ["digits", "movie_sentences"])
def test_equal_input_gives_equal_bytes(name, request, tmp_path):
    first = request.getfixturevalue({"movie_sentences": "sentences"}.get(name, name))
    source = request.getfixturevalue("table") if name == "movie_sentences" else None
    second = prepare(name, tmp_path, source=source)
    assert second.checksum == first.checksum
    assert {p.name: p.read_bytes() for p in second.folder.iterdir()} == {
        p.name: p.read_bytes() for p in first.folder.iterdir()
    }


def test_manifest_survives_the_disk(digits):
    assert load_manifest(digits.folder.parent, "digits", verify=True) == digits
    assert digits.num_classes == 10
    assert (digits.image_size, digits.channels, digits.seq_length) == ((8, 8), 1, None)


def test_a_complete_data_set_is_left_alone_unless_forced(digits, capsys):
    data_dir = digits.folder.parent
    before = digits.path("test").stat().st_ino
    assert prepare("digits", data_dir) == digits
    assert "checksums agree" in capsys.readouterr().err
    assert digits.path("test").stat().st_ino == before
    assert prepare("digits", data_dir, force=True) == digits
    assert digits.path("test").stat().st_ino != before
    assert [path.name for path in data_dir.iterdir()] == ["digits"]


def test_a_killed_run_leaves_nothing_and_the_next_succeeds(tmp_path):
    program = f"""
import os, signal
from experiments.data import prepare, tfrecords
def die_after_train(folder, split, *args, write=tfrecords.write_split):
    write(folder, split, *args)
    os.kill(os.getpid(), signal.SIGKILL)
import experiments.data.images
experiments.data.images.write_split = die_after_train
prepare("digits", {str(tmp_path)!r})
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [path.name for path in tmp_path.glob("**/*.tfrecord")] == ["train.tfrecord"]
    with pytest.raises(FileNotFoundError):
        load_manifest(tmp_path, "digits")
    prepare("digits", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_an_unprepared_data_set_names_the_command(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"run: python -m experiments.prepare_data --dataset=tfds:mnist --data_dir=",
    ):
        load_manifest(tmp_path, "tfds:mnist")


@pytest.fixture
def copy(digits, tmp_path):
    """A copy of the digits that a test may spoil."""
    (tmp_path / "digits").mkdir()
    for path in digits.folder.iterdir():
        (tmp_path / "digits" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "digits"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": "digits"}', "\x00"])
def test_a_corrupt_manifest_is_refused(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"not a manifest .* --force"):
        load_manifest(copy.parent, "digits")


def test_a_manifest_that_was_edited_is_refused(copy):
    fields = json.loads((copy / "manifest.json").read_text())
    fields["splits"]["test"]["sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="contradicts itself"):
        load_manifest(copy.parent, "digits")


def test_changed_and_missing_files_are_found_and_forcing_mends_them(copy, digits):
    record = copy / "train.tfrecord"
    content = bytearray(record.read_bytes())
    content[1000] ^= 1
    record.write_bytes(content)
    with pytest.raises(ValueError, match=r"train.tfrecord changed .* --force"):
        prepare("digits", copy.parent)
    record.unlink()
    with pytest.raises(ValueError, match=r"train.tfrecord is missing; .* --force"):
        prepare("digits", copy.parent)
    assert prepare("digits", copy.parent, force=True).checksum == digits.checksum


def test_bad_names_and_sources_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="choose one of mnist_5k, digits, fashion_mnist"):
        prepare("mnist5k", tmp_path)
    with pytest.raises(ValueError, match="takes no --source"):
        prepare("digits", tmp_path, source="somewhere")
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        prepare("fashion_mnist", tmp_path, source=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"--source=nowhere\.tsv"):
        prepare("movie_sentences", tmp_path, source="nowhere.tsv")
    with pytest.raises(ValueError, match="TFDS has no data set 'no_such_set'"):
        prepare("tfds:no_such_set", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_reports_one_line_and_fails(tmp_path):
    command = [sys.executable, "-m", "experiments.prepare_data", "--dataset=mnist5k"]
    result = subprocess.run(
        [*command, f"--data_dir={tmp_path}"], check=False, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("mnist5k was not prepared: unknown data set 'mnist5k'; choose")
    assert result.stderr.count("\n") == 1


def test_a_table_of_another_form_names_the_row():
    with pytest.raises(ValueError, match="row 2 is not"):
        movie_sentences.read_table("1\t0.5\tGood.\n2,0.5,Good.\n")


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def test_fashion_mnist_keeps_the_published_test_split(tmp_path):
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 120), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28))
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
        labels = np.arange(count) % 10
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    manifest = prepare("fashion_mnist", tmp_path / "data", source=str(tmp_path))
    assert {name: split.examples for name, split in manifest.splits.items()} == {
        "train": 110,
        "validation": 10,
        "test": 20,
    }
    assert np.array_equal(read_images(manifest, "test", (28, 28))[1], np.arange(20) % 10)


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"abc"), idx(np.zeros((3, 2)))[:-12]],
    ids=["empty", "not gzip", "not idx", "truncated"],
)
def test_a_damaged_idx_file_is_refused(tmp_path, content):
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"file.gz is not a gzipped IDX file"):
        fashion_mnist.read_idx(tmp_path / "file.gz")
