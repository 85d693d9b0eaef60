"""Any labelled images or sentences of TensorFlow Datasets."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from experiments.data.images import Images
from experiments.data.sentences import Sentences
from experiments.data.sources.source import Source
from experiments.data.splits import stratified_split

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

PREFIX = "tfds:"


def source(name: str) -> Source:
    """Returns the source "tfds:NAME", NAME in TFDS's own form: "mnist", "glue/sst2:2.0.0"."""
    tfds_name = name.removeprefix(PREFIX)
    page = tfds_name.split("/")[0].split(":")[0]
    catalog = f"https://www.tensorflow.org/datasets/catalog/{page}"
    return Source(
        name=name,
        summary="labelled images or sentences of TensorFlow Datasets",
        source=f"TensorFlow Datasets, {tfds_name}, {catalog}",
        licence=f"see {catalog}",
        load=partial(load, tfds_name),
    )


def load(tfds_name: str, path: str | None = None) -> Images | Sentences:
    """Returns a TFDS data set with the three splits.

    A test split without labels does not count; a missing test split is the published validation
    split, and a missing validation split is a stratified tenth of train.

    Args:
        tfds_name: TFDS's name of it.
        path: TFDS's own data folder; `~/tensorflow_datasets` by default. What is not there is
            downloaded.

    Raises:
        ValueError: TFDS does not know the name, or the data set is not labelled images or text.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(tfds_name, data_dir=path)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"TFDS has no data set {tfds_name!r}; see https://www.tensorflow.org/datasets/catalog"
        ) from error
    features = builder.info.features
    label = _label_key(builder)
    images = [key for key, f in features.items() if isinstance(f, tfds.features.Image)]
    texts = [key for key, f in features.items() if isinstance(f, tfds.features.Text)]
    inputs = images or texts
    if len(inputs) not in ((1,) if images else (1, 2)):
        raise ValueError(f"TFDS {tfds_name} is not one image, one text or two texts: {features}")
    builder.download_and_prepare()
    class_names = tuple(features[label].names)
    splits = _three_splits(builder, (*inputs, label))
    if images:
        *image_size, channels = features[images[0]].shape
        return Images(
            splits=splits,
            class_names=class_names,
            image_size=None if None in image_size else tuple(image_size),
            channels=channels,
        )
    return Sentences(
        splits={
            name: [(tuple(map(bytes.decode, segments)), label) for *segments, label in split]
            for name, split in splits.items()
        },
        class_names=class_names,
    )


@dataclasses.dataclass(frozen=True)
class _Split:
    """The examples of one TFDS split, or a part of them, streamed in TFDS's own order."""

    builder: "tfds.core.DatasetBuilder"
    name: str
    keys: tuple[str, ...]
    kept: np.ndarray | None = None

    def __len__(self) -> int:
        if self.kept is None:
            return self.builder.info.splits[self.name].num_examples
        return int(self.kept.sum())

    def __iter__(self) -> Iterator[tuple]:
        import tensorflow_datasets as tfds

        features = self.builder.info.features
        encoded = {
            key: tfds.decode.SkipDecoding()
            for key in self.keys
            if isinstance(features[key], tfds.features.Image)
        }
        examples = self.builder.as_dataset(split=self.name, decoders=encoded)
        for index, example in enumerate(tfds.as_numpy(examples)):
            if self.kept is None or self.kept[index]:
                yield tuple(example[key] for key in self.keys)


def _label_key(builder: "tfds.core.DatasetBuilder") -> str:
    import tensorflow_datasets as tfds

    features = builder.info.features
    classes = [key for key, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    supervised = (builder.info.supervised_keys or (None, None))[1]
    if supervised in classes:
        return supervised
    if len(classes) == 1:
        return classes[0]
    raise ValueError(
        f"TFDS {builder.info.full_name} has {len(classes)} class labels, not one: {features}"
    )


def _three_splits(builder: "tfds.core.DatasetBuilder", keys: tuple[str, ...]) -> dict[str, _Split]:
    published = {name: _Split(builder, name, keys) for name in builder.info.splits}
    labelled = {
        name: split for name, split in published.items() if next(iter(split), (-1,))[-1] >= 0
    }
    if "train" not in labelled:
        raise ValueError(f"TFDS {builder.info.full_name} has no labelled train split")
    splits = {name: labelled[name] for name in ("train", "validation", "test") if name in labelled}
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    missing = {"validation", "test"} - set(splits)
    if missing:
        labels = [label for *_, label in splits["train"]]
        shares = {"train": 10 - len(missing)} | dict.fromkeys(sorted(missing), 1)
        for name, indices in stratified_split(labels, shares).items():
            kept = np.zeros(len(labels), bool)
            kept[indices] = True
            splits[name] = _Split(builder, "train", keys, kept)
    return splits
