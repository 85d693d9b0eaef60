"""What tests of files that lie share: decoding, and refusal in little memory."""

import tracemalloc

import numpy as np
import pytest
from artifact_forge import small

from kwc import artifact
from kwc.artifact import ArtifactError

MIB = 1 << 20

LOSSLESS = ["lossless", {}]
QUANTIZATION, PRUNING = ["quantization", {"bits": 4}], ["pruning", {"sparsity": 0.5}]
CLUSTERING, LOW_RANK = ["clustering", {"clusters": 4}], ["low_rank", {"rank": 1}]
CHAIN = ["chain", {"links": [PRUNING, CLUSTERING]}]
MASK = small(3, 4) > 5
INDICES = small(3, 4, dtype=np.uint8) % 4
CODEBOOK = small(4)


def decode(data):
    content = artifact.from_bytes(data, name="evil.kwc")
    return {path: weight.decompress() for path, weight in content.weights.items()}


def refused(data, message, most=MIB):
    """Decoding raises an error with this message, after taking little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=message) as caught:
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < len(data) + most
    finally:
        tracemalloc.stop()
    assert "evil.kwc" in str(caught.value)
    assert len(str(caught.value)) < 1500


def check_large_declared_model(data):
    """Asserts that three weights of 2**28 zeros are read in no memory, and that bounds hold."""
    tracemalloc.start()
    try:
        assert len(artifact.from_bytes(data).weights) == 3
        assert tracemalloc.get_traced_memory()[1] < MIB
        with pytest.raises(ArtifactError, match="would decode to 4294967296 bytes, more than"):
            artifact.from_bytes(data, max_bytes=(4 << 30) - 1)
        fits = {f"w{i}": (1 << 28,) for i in range(3)}
        assert len(artifact.from_bytes(data, fits, max_bytes=0).weights) == 3
        with pytest.raises(ArtifactError, match=r"w2 has shape \(268435456,\) .* \(4,\) in the"):
            artifact.from_bytes(data, fits | {"w2": (4,)})
    finally:
        tracemalloc.stop()
