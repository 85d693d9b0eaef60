"""Small data sets of images and videos: rectangles, whose colour is their class, on noise."""

import functools
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from official.core import tf_example_builder
from official.vision.evaluation import coco_utils

from experiments.coverage.records import whole

EXAMPLES = 8
SIZE = 64
"""Height and width of an image, in pixels."""

FRAMES = 8
VOLUME = 16
"""Height, width and depth of a volume."""

COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
"""The colours of the classes 1, 2 and 3; class 0 is the noise around them."""

Rectangle = tuple[int, slice, slice]
"""The class, and which rows and columns."""


def write(folder: pathlib.Path) -> None:
    """Writes the data sets of images and videos that a folder does not have yet."""
    for name, examples in _DATA_SETS.items():
        whole.records(folder / f"{name}.tfrecord", examples(np.random.default_rng(0)))
    annotate = functools.partial(
        coco_utils.scan_and_generator_annotation_file,
        str(folder / "detection.tfrecord"),
        "tfrecord",
        EXAMPLES,
        True,
    )
    whole.once(folder / "detection.json", lambda path: annotate(str(path)))


def classification(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields one image a class in turn."""
    for index in range(EXAMPLES):
        image, ((label, _, _),) = _image(rng, [index % len(COLORS) + 1])
        yield _example(image, index).add_ints_feature("image/class/label", label).example


def detection(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields images of two objects with boxes and masks."""
    for index, (image, rectangles) in enumerate(pairs(rng)):
        masks = [_mask([rectangle]) > 0 for rectangle in rectangles]
        builder = _example(image, index)
        for axis, which in (("y", 1), ("x", 2)):
            extents = [rectangle[which] for rectangle in rectangles]
            builder.add_floats_feature(
                f"image/object/bbox/{axis}min", [extent.start / SIZE for extent in extents]
            )
            builder.add_floats_feature(
                f"image/object/bbox/{axis}max", [extent.stop / SIZE for extent in extents]
            )
        builder.add_ints_feature("image/object/class/label", [label for label, _, _ in rectangles])
        builder.add_ints_feature("image/object/is_crowd", [0] * len(rectangles))
        builder.add_floats_feature("image/object/area", [float(mask.sum()) for mask in masks])
        builder.add_bytes_feature("image/object/mask", [_png(mask) for mask in masks])
        yield builder.example


def segmentation(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields images with the class of each pixel."""
    for index, (image, rectangles) in enumerate(pairs(rng)):
        builder = _example(image, index)
        builder.add_bytes_feature("image/segmentation/class/encoded", _png(_mask(rectangles)))
        yield builder.example


def video(rng: np.random.Generator) -> Iterator[tf.train.SequenceExample]:
    """Yields clips, one a class in turn, whose frames differ in their noise."""
    for index in range(EXAMPLES):
        example = tf.train.SequenceExample()
        label = index % len(COLORS) + 1
        example.context.feature["clip/label/index"].int64_list.value.append(label)
        frames = example.feature_lists.feature_list["image/encoded"]
        for _ in range(FRAMES):
            image, _ = _image(rng, [label])
            frames.feature.add().bytes_list.value.append(_jpeg(image))
        yield example


def volumes(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields volumes of one channel, bright in one half, and the one-hot class of each voxel."""
    for _ in range(EXAMPLES):
        classes = np.zeros((VOLUME,) * 3, int)
        classes[: VOLUME // 2] = 1
        image = classes[..., None] + rng.normal(0, 0.1, (*classes.shape, 1))
        labels = np.eye(2, dtype=np.float32)[classes]
        builder = tf_example_builder.TfExampleBuilder()
        builder.add_bytes_feature("image/encoded", image.astype(np.float32).tobytes())
        builder.add_bytes_feature("image/class/label", labels.tobytes())
        yield builder.example


_DATA_SETS = {
    "classification": classification,
    "detection": detection,
    "segmentation": segmentation,
    "video": video,
    "volumes": volumes,
}


def pairs(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, list[Rectangle]]]:
    """Yields images of (SIZE, SIZE, 3), uint8, each with the two rectangles on it."""
    for _ in range(EXAMPLES):
        yield _image(rng, rng.integers(1, len(COLORS) + 1, 2))


def _image(
    rng: np.random.Generator, labels: list[int] | np.ndarray
) -> tuple[np.ndarray, list[Rectangle]]:
    """Returns an image of (SIZE, SIZE, 3), uint8, with a rectangle of each class, and these."""
    image = rng.integers(64, 192, (SIZE, SIZE, 3), np.uint8)
    rectangles = [(int(label), _extent(rng), _extent(rng)) for label in labels]
    for label, rows, columns in rectangles:
        image[rows, columns] = COLORS[label - 1]
    return image, rectangles


def _example(image: np.ndarray, index: int) -> tf_example_builder.TfExampleBuilder:
    builder = tf_example_builder.TfExampleBuilder()
    builder.add_bytes_feature("image/encoded", _jpeg(image))
    builder.add_bytes_feature("image/source_id", str(index + 1))
    return builder.add_ints_feature("image/height", SIZE).add_ints_feature("image/width", SIZE)


def _jpeg(image: np.ndarray) -> bytes:
    return tf.io.encode_jpeg(image).numpy()


def _png(mask: np.ndarray) -> bytes:
    return tf.io.encode_png(mask.astype(np.uint8)).numpy()


def _extent(rng: np.random.Generator) -> slice:
    start = int(rng.integers(0, SIZE // 2))
    return slice(start, start + int(rng.integers(SIZE // 4, SIZE // 2)))


def _mask(rectangles: list[Rectangle]) -> np.ndarray:
    """Returns the class of each pixel, (SIZE, SIZE, 1), uint8."""
    mask = np.zeros((SIZE, SIZE, 1), np.uint8)
    for label, rows, columns in rectangles:
        mask[rows, columns] = label
    return mask
