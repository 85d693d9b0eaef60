"""A small data set as TensorFlow Datasets keeps it, where Model Garden asks for one by name."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from experiments.coverage.records import vision


def write(folder: pathlib.Path) -> None:
    """Prepares `coco/2017` in `folder/tfds`, unless it is there; nothing is downloaded."""
    original = tfds.builder_cls("coco")
    # The name is taken.
    with tfds.core.registered.skip_registration():

        class Small(original):
            name = "coco"

            def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
                return {split: _coco() for split in ("train", "validation")}

    Small(config="2017", data_dir=folder / "tfds").download_and_prepare()


def _coco() -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the images of `vision.detection`, with classes counted from 0."""
    for index, (image, rectangles) in enumerate(vision.pairs(np.random.default_rng(0)), 1):
        objects = [
            {
                "area": (rows.stop - rows.start) * (columns.stop - columns.start),
                "bbox": tfds.features.BBox(
                    *(edge / vision.SIZE for edge in (rows.start, columns.start)),
                    *(edge / vision.SIZE for edge in (rows.stop, columns.stop)),
                ),
                "id": 2 * index + position,
                "is_crowd": False,
                "label": label - 1,
            }
            for position, (label, rows, columns) in enumerate(rectangles)
        ]
        yield (
            index,
            {"image": image, "image/filename": f"{index}", "image/id": index, "objects": objects},
        )
