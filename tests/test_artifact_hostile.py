"""Files that lie: every one has a valid checksum, and every one is refused with one clear error."""

import numpy as np
import pytest
from artifact_forge import forge_weight, frame, small
from hostile import (
    CHAIN,
    CLUSTERING,
    CODEBOOK,
    INDICES,
    LOSSLESS,
    LOW_RANK,
    MASK,
    MIB,
    PRUNING,
    QUANTIZATION,
    decode,
    refused,
)

pytestmark = [
    pytest.mark.usefixtures("hang_guard"),
    pytest.mark.parametrize("version", [1, 2]),
]

N = 1 << 18


@pytest.mark.parametrize(
    ("algorithm", "arrays", "message"),
    [
        (LOSSLESS, {}, "KeyError: 'weight'"),
        (LOSSLESS, {"weight": small(4, 3)}, r"shape \(4, 3\) where .*\(3, 4\) is declared"),
        (LOSSLESS, {"other": small(3, 4)}, "KeyError: 'weight'"),
        (LOW_RANK, {"u": small(3, 1)}, "KeyError: 'v'"),
        (LOW_RANK, {"u": small(1, 3), "v": small(1, 4)}, "matmul|cannot reshape"),
        (LOW_RANK, {"u": small(3), "v": small(4)}, "matmul"),
        (LOW_RANK, {"u": np.float32(1).reshape(()), "v": small(4)}, "ValueError"),
        (CLUSTERING, {"codebook": CODEBOOK, "indices": INDICES + np.uint8(1)}, "IndexError"),
        (CLUSTERING, {"codebook": CODEBOOK, "indices": -INDICES.astype(np.int8)}, "negative"),
        (CLUSTERING, {"codebook": CODEBOOK, "indices": INDICES > 1}, "indices are integers"),
        (CLUSTERING, {"codebook": CODEBOOK, "indices": small(3, 4)}, "indices are integers"),
        (CLUSTERING, {"codebook": CODEBOOK, "indices": INDICES[0]}, "decodes to"),
        (CLUSTERING, {"indices": INDICES}, "KeyError: 'codebook'"),
        (PRUNING, {"mask": MASK}, "KeyError: 'weight'"),
        (PRUNING, {"mask": MASK, "weight": small(4)[:3]}, "ValueError"),
        (QUANTIZATION, {"levels": INDICES}, "KeyError: 'scale'"),
        (QUANTIZATION, {"levels": INDICES, "scale": small(3)}, "cannot reshape"),
        (QUANTIZATION, {"levels": INDICES[:, :1], "scale": small(3)}, "cannot reshape"),
        (CHAIN, {"mask": MASK, "weight/indices": INDICES}, "KeyError: 'codebook'"),
        (CHAIN, {"mask": MASK}, "KeyError"),
        (CHAIN, {"weight/codebook": CODEBOOK, "weight/indices": INDICES}, "KeyError: 'mask'"),
    ],
)
def test_arrays_that_are_not_those_of_the_algorithm_are_refused(
    algorithm, arrays, message, version
):
    refused(forge_weight(algorithm, arrays, version=version), message)


@pytest.mark.parametrize(
    ("algorithm", "arrays"),
    [
        (LOW_RANK, {"u": small(N, 1), "v": small(1, N)}),
        (QUANTIZATION, {"levels": small(N, 1, dtype=np.int8), "scale": small(N)}),
        (PRUNING, {"mask": np.ones((N, 1), bool), "weight": small(1, N)}),
        (CLUSTERING, {"codebook": small(1, N), "indices": small(N, dtype=np.uint8) % 1}),
        (
            ["chain", {"links": [PRUNING, QUANTIZATION]}],
            {
                "mask": np.ones((1, N), bool),
                "weight/levels": np.ones((N, 1), np.int8),
                "weight/scale": small(N),
            },
        ),
    ],
)
def test_small_arrays_with_a_large_product_are_refused(algorithm, arrays, version):
    refused(
        forge_weight(algorithm, arrays, shape=(1, N), version=version), "too large for it", 40 * MIB
    )


def test_numbers_too_large_for_their_dtype_decode_silently(version):
    """A value that overflows is no matter of format; it must raise no warning either."""
    arrays = {"u": np.full((3, 1), 1e30, np.float32), "v": np.full((1, 4), 1e30, np.float32)}
    assert np.isinf(decode(forge_weight(LOW_RANK, arrays, version=version))["w"]).all()
    arrays = {"weight": np.full((3, 4), 1e300)}
    assert np.isinf(decode(forge_weight(LOSSLESS, arrays, version=version))["w"]).all()


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8"])
def test_a_weight_that_is_no_float_decodes_to_its_own_dtype_only(dtype, version):
    data = forge_weight(LOSSLESS, {"weight": small(3, 4)}, dtype=dtype, version=version)
    refused(data, f"decodes to float32 .* where {dtype}")


def mask_with(codes, version):
    mask = (["mask", "bool", [3, 4], "raw"], MASK.tobytes())
    return forge_weight(PRUNING, {}, codes=[mask, *codes], version=version)


def test_a_code_that_does_not_fit_the_mask_is_refused(version):
    weight = ["weight", "float32", [3, 4], "raw"]
    right = mask_with([(weight, small(6).tobytes())], version)
    np.testing.assert_array_equal(decode(right)["w"][MASK], small(6))
    refused(
        mask_with([(weight, small(5).tobytes())], version),
        "w/weight: 20 bytes where 24 are declared",
    )
    refused(mask_with([(weight, small(3, 4).tobytes())], version), "48 bytes where 24 are declared")


@pytest.mark.parametrize("coder", ["raw", "zstd", "packed", "ans", "planes"])
def test_a_code_of_garbage_is_refused(coder, version):
    for code in (b"", b"\xff" * 30, frame(" " * (64 * MIB))):
        codes = [(["weight", "float32", [3, 4], coder], code)]
        refused(forge_weight(LOSSLESS, {}, codes=codes, version=version), "is forged: w/weight: ")
