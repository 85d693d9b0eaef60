"""The 8x8 handwritten digits of scikit-learn."""

import numpy as np

from experiments.data.images import Images
from experiments.data.sources.source import Source, import_data_package, refuse_path


def load(path: str | None = None) -> Images:
    """Returns about 1,437 train, 180 validation and 180 test images of 8x8x1."""
    refuse_path(SOURCE.name, path)
    digits = import_data_package("sklearn.datasets").load_digits()
    # Sixteen grey levels above black become the full range of a byte.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Images.from_arrays(
        images[..., np.newaxis],
        digits.target,
        sizes={"train": 8, "validation": 1, "test": 1},
        class_names=[str(digit) for digit in range(10)],
    )


SOURCE = Source(
    name="digits",
    summary="1,797 handwritten digits, 8x8 grey: 80 / 10 / 10 %",
    source="Python package scikit-learn, sklearn.datasets.load_digits",
    licence="BSD-3-Clause",
    load=load,
)
