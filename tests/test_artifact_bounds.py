"""Arrays from files: arithmetic as usual, but no result beyond the bound."""

import numpy as np
import pytest
from artifact_forge import small

from kwc.artifact.bounds import BoundedOps, bounded, check_sizes
from kwc.compressor import WeightInfo

INFO = WeightInfo("w", (300, 200))
ROOM = 4 * 300 * 200 + 65536


def of(*shape, dtype=np.float32):
    return bounded(small(*shape, dtype=dtype), INFO)


def test_arithmetic_gives_what_numpy_gives():
    a, b = small(3, 4), small(4) + 1
    x, y = bounded(a.copy(), INFO), bounded(b, INFO)
    for got, expected in [
        (x * y + 1, a * b + 1),
        (2 - x, 2 - a),
        (x @ y, a @ b),
        (y @ x.T, b @ a.T),
        (x @ x.T, a @ a.T),
        (np.exp(-x), np.exp(-a)),
        (np.cumsum(x, axis=0), np.cumsum(a, axis=0)),
        (x.sum(axis=1), a.sum(axis=1)),
        (np.multiply.outer(y, y), np.multiply.outer(b, b)),
        (BoundedOps.where(x > 3, x), np.where(a > 3, a, 0)),
        (BoundedOps.gather(y, (x % 4).astype(np.int8)), b[(a % 4).astype(int)]),
        (BoundedOps.gather(b, BoundedOps.cast(x % 4, "int32")), b[(a % 4).astype(int)]),
        (BoundedOps.cast(BoundedOps.transpose(x, (1, 0)), "float64"), a.T.astype(np.float64)),
    ]:
        np.testing.assert_array_equal(np.asarray(got), expected)
        assert np.asarray(got).dtype == expected.dtype
    x *= y
    np.testing.assert_array_equal(np.asarray(x), a * b)
    assert x.max() == (a * b).max()


@pytest.mark.parametrize(
    "make",
    [
        lambda: of(ROOM, 1) * of(2),
        lambda: 1.0 + of(1, 2) * of(ROOM, 1),
        lambda: (of(ROOM // 2 + 1, 1) @ of(1, 1)).reshape(-1, 1) @ of(1, 2),
        lambda: np.multiply.outer(of(ROOM), of(2)),
        lambda: np.multiply.outer(small(2), of(ROOM)),
        lambda: BoundedOps.where(of(ROOM, 1) > 0, of(2)),
        lambda: BoundedOps.where(of(2) > 0, of(ROOM, 1)),
        lambda: BoundedOps.gather(of(3, 2), of(ROOM, dtype=np.int32) % 3),
        lambda: BoundedOps.gather(small(3, 2), BoundedOps.cast(of(ROOM), "int32") % 3),
        lambda: BoundedOps.matmul(of(2, ROOM // 2 + 1, 1), of(1, 1)),
        lambda: BoundedOps.cast(of(ROOM), "float64")[:, None] - of(2),
    ],
)
def test_a_result_beyond_the_bound_is_refused(make):
    with pytest.raises(ValueError, match="too large for it"):
        make()


def test_a_result_of_the_bound_is_not():
    assert (of(ROOM // 2, 1) * of(2)).size == ROOM


def test_arrays_of_a_weight_take_16_bytes_for_each_of_its_elements():
    check_sizes(INFO, {"a": (INFO.size, 8), "b": (INFO.size, 8), "c": (INFO.size, 1)})
    with pytest.raises(ValueError, match="take 1440000 bytes, more than 16"):
        check_sizes(INFO, dict.fromkeys("abc", (INFO.size, 8)))
