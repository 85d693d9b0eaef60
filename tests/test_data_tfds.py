"""Data sets of TensorFlow Datasets, prepared like any other."""

import numpy as np
import pytest
from data_readers import read_images, read_sentences

from experiments.data import prepare
from experiments.data.manifest import SPLITS


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
