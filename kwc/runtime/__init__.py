"""Reads artifacts without TensorFlow.

>>> import kwc.runtime
>>> weights = kwc.runtime.load("model.kwc")  # doctest: +SKIP
"""

import os

import numpy as np

from kwc import artifact


def load(path: str | os.PathLike, max_bytes: int = artifact.MAX_BYTES) -> dict[str, np.ndarray]:
    """Decodes every weight of an artifact, one at a time.

    Args:
        path: the `.kwc` file.
        max_bytes: the most bytes that all decoded weights and the arrays of any one may take.

    Returns:
        Arrays by structural weight path, in the model's order, of the model's shapes and dtypes.

    Raises:
        ArtifactError: the file is no artifact, damaged or forged, or its algorithms are unknown.
    """
    with artifact.opened(path, max_bytes=max_bytes) as content:
        return {path: weight.decompress() for path, weight in content.weights.items()}
