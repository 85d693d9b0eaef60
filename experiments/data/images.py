"""Images with one label each, as Model Garden's `image_classification` task reads them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from experiments.data.manifest import Manifest
from experiments.data.splits import stratified_split
from experiments.data.tfrecords import Advance, serialize, write_split


class ImageSplit(Protocol):
    """The (image, label) pairs of a split; an image is uint8 [height, width, channels] or a file.

    A file is the bytes of a PNG or JPEG, which are stored as they are.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[np.ndarray | bytes, int]]: ...


@dataclasses.dataclass(frozen=True)
class Images:
    """An image classification data set.

    Attributes:
        splits: "train", "validation" and "test".
        class_names: one name per label, in label order.
        image_size: (height, width) in pixels, or None where it varies.
        channels: 1 for grey or 3 for colour.
    """

    kind: ClassVar[str] = "image_classification"

    splits: Mapping[str, ImageSplit]
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None
    channels: int

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        sizes: Mapping[str, float],
        class_names: Sequence[str],
        **fixed: tuple[np.ndarray, np.ndarray],
    ) -> "Images":
        """Splits uint8 images [count, height, width, channels] into stratified splits.

        Args:
            images: the images to be split.
            labels: their labels.
            sizes: relative size of each split, as for `stratified_split`.
            class_names: one name per label.
            **fixed: the (images, labels) of splits that the source already fixed.
        """
        parts = {
            name: (images[i], labels[i]) for name, i in stratified_split(labels, sizes).items()
        }
        return cls(
            splits={name: list(zip(*part, strict=True)) for name, part in (parts | fixed).items()},
            class_names=tuple(class_names),
            image_size=images.shape[1:3],
            channels=images.shape[3],
        )

    def write(self, folder: Path, advance: Advance) -> dict[str, Any]:
        """Writes the splits into `folder` and returns their fields of the manifest."""
        return {
            "splits": {
                split: write_split(folder, split, map(_serialize, pairs), advance)
                for split, pairs in self.splits.items()
            },
            "image_size": self.image_size,
            "channels": self.channels,
        }


def _serialize(pair: tuple[np.ndarray | bytes, int]) -> bytes:
    import tensorflow as tf

    image, label = pair
    encoded = image if isinstance(image, bytes) else tf.io.encode_png(image).numpy()
    return serialize({"image/encoded": encoded, "image/class/label": [label]})


def read_images(manifest: Manifest, split: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads the first pictures of a split as they are stored, untouched by any task.

    Args:
        manifest: of images of one size.
        split: "train", "validation" or "test".
        limit: how many at most.

    Returns:
        uint8 [count, height, width, channels], and int64 labels [count].
    """
    import tensorflow as tf

    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    }
    images, labels = [], []
    for record in tf.data.TFRecordDataset(str(manifest.path(split))).take(limit):
        example = tf.io.parse_single_example(record, features)
        images.append(tf.io.decode_image(example["image/encoded"]).numpy())
        labels.append(example["image/class/label"].numpy())
    return np.stack(images), np.stack(labels)
