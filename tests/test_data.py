"""Data preparation: what is written, that it is whole, and that Model Garden reads it."""

import gzip
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
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


def read_images(manifest, split, size=(8, 8)):
    """Reads a split through Model Garden's image classification task."""
    from official.vision.configs import image_classification as configs
    from official.vision.tasks import image_classification as tasks

    model = configs.ImageClassificationModel(
        num_classes=manifest.num_classes, input_size=[*size, 3]
    )
    task = tasks.ImageClassificationTask(configs.ImageClassificationTask(model=model))
    dataset = task.build_inputs(
        configs.DataConfig(
            input_path=str(manifest.path(split)),
            is_training=False,
            global_batch_size=50,
            drop_remainder=False,
            decode_jpeg_only=False,
            aug_crop=False,
        )
    )
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def read_sentences(manifest, split):
    """Reads a split through Model Garden's sentence prediction task."""
    from official.nlp.data.sentence_prediction_dataloader import SentencePredictionDataConfig
    from official.nlp.tasks import sentence_prediction as tasks

    task = tasks.SentencePredictionTask(tasks.SentencePredictionConfig())
    dataset = task.build_inputs(
        SentencePredictionDataConfig(
            input_path=str(manifest.path(split)),
            is_training=False,
            seq_length=manifest.seq_length,
            global_batch_size=16,
            drop_remainder=False,
        )
    )
    batches = list(dataset.as_numpy_iterator())
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


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


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """Two TFDS data sets on disk: images without validation, sentence pairs with hidden test."""
    import tensorflow_datasets as tfds

    class TinyImages(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(4, 4, 3)),
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                }
            )
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(40), "test": self._generate_examples(6)}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"id": str(i), "image": np.full((4, 4, 3), i, np.uint8), "label": i % 2}

    class TinyPairs(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "question": tfds.features.Text(),
                    "answer": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["no", "yes"]),
                }
            )
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            sizes = {"train": (40, 2), "validation": (8, 2), "test": (5, 0)}
            return {name: self._generate_examples(*size) for name, size in sizes.items()}

        def _generate_examples(self, count, classes):
            for i in range(count):
                label = i % classes if classes else -1
                yield i, {"question": f"is {i} odd", "answer": "yes or no", "label": label}

    folder = str(tmp_path_factory.mktemp("tfds"))
    for builder in (TinyImages, TinyPairs):
        builder(data_dir=folder).download_and_prepare()
    return folder


def test_tfds_images_are_copied_and_a_missing_validation_split_is_a_tenth_of_train(
    tfds_dir, tmp_path
):
    manifest = prepare("tfds:tiny_images", tmp_path, source=tfds_dir)
    assert manifest.folder.name == "tfds-tiny_images"
    assert manifest.class_names == ("even", "odd")
    assert (manifest.image_size, manifest.channels) == ((4, 4), 3)
    sizes = {name: split.examples for name, split in manifest.splits.items()}
    assert sizes == {"train": 36, "validation": 4, "test": 6}
    shown = {split: read_images(manifest, split, (4, 4)) for split in SPLITS}
    assert sorted(shown["validation"][1]) == [0, 0, 1, 1]
    train = {image.tobytes() for image in shown["train"][0]}
    validation = {image.tobytes() for image in shown["validation"][0]}
    assert len(train | validation) == 40


def test_tfds_sentence_pairs_with_hidden_test_labels_test_on_validation(tfds_dir, tmp_path):
    manifest = prepare("tfds:tiny_pairs", tmp_path, source=tfds_dir)
    sizes = {name: split.examples for name, split in manifest.splits.items()}
    assert sizes == {"train": 36, "validation": 4, "test": 8}
    features = read_sentences(manifest, "test")
    assert sorted(features["label_ids"]) == [0] * 4 + [1] * 4
    assert features["input_type_ids"].max() == 1
    assert np.all(features["input_type_ids"] <= features["input_mask"])


def test_a_named_tfds_set_is_prepared_from_mocked_examples(tmp_path):
    """TFDS's own MNIST builder; only its files are missing, as on a machine without a network."""
    import tensorflow_datasets as tfds

    folder = tmp_path / "tfds"
    builder = tfds.builder("mnist", data_dir=folder)
    builder.info.set_splits(
        tfds.core.splits.SplitDict(
            [
                tfds.core.SplitInfo(name=name, shard_lengths=[60], num_bytes=0)
                for name in ("train", "test")
            ]
        )
    )
    (folder / builder.info.full_name).mkdir(parents=True)
    builder.info.write_to_directory(builder.data_dir)
    with tfds.testing.mock_data(num_examples=60, data_dir=folder):
        manifest = prepare("tfds:mnist", tmp_path, source=str(folder))
    examples = {name: split.examples for name, split in manifest.splits.items()}
    assert examples["train"] + examples["validation"] == examples["test"] == 60
    assert 4 <= examples["validation"] <= 9  # A tenth of each class, rounded.
    assert (manifest.image_size, manifest.channels, manifest.num_classes) == ((28, 28), 1, 10)
    assert "tensorflow.org/datasets/catalog/mnist" in manifest.source
    manifest.verify()
