"""Reads artifacts without TensorFlow.

>>> import kwc.runtime
>>> weights = kwc.runtime.load("model.kwc")  # doctest: +SKIP
"""

import os

import numpy as np

from kwc import artifact, files
from kwc.runtime import packed


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


def expand(
    path: str | os.PathLike,
    out: str | os.PathLike | None = None,
    max_bytes: int = artifact.MAX_BYTES,
) -> bytes:
    """Makes the `.tflite` file that a packed file holds, in memory and, if asked, on disk.

    >>> model = kwc.runtime.expand("packed.kwc")  # doctest: +SKIP
    >>> interpreter = Interpreter(model_content=model)  # doctest: +SKIP

    Args:
        path: what `kwc export --to=tflite --route=packed` wrote.
        out: the file to write, whole or not at all; None for none.
        max_bytes: the most bytes that the `.tflite` file may take, and all decoded weights and the
            arrays of any one.

    Returns:
        The bytes of the file.

    Raises:
        ArtifactError: the file is not packed, damaged or forged, or its algorithms are unknown.
        OSError: a file cannot be read or written.
    """
    with artifact.opened(path, max_bytes=max_bytes) as content:
        data = packed.parse(content, str(path), max_bytes).filled(content.weights).tobytes()
    if out is not None:
        files.write_atomically(out, data)
    return data
