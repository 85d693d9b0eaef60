"""The context coder: small where an array has structure, never much larger where it has none."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_coding import arrays, assert_same, entropy_bytes, fast, laplace

from kwc import coding
from kwc.coding.context.header import read_header

CONTEXT = coding.CODERS["context"]


def sparse(shape=(300, 80), seed=0):
    """A kernel whose rows and columns are used to very different degrees."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.lognormal(-3, 1.5, (shape[0], 1)), rng.lognormal(0, 1.5, shape[1])
    return ((rng.random(shape) < rows * columns) * rng.choice([-1, 1], shape)).astype(np.int32)


def test_it_finds_rows_and_columns_that_are_hardly_used():
    array = sparse()
    assert len(CONTEXT.encode(array)) < 0.85 * entropy_bytes(array)


def test_it_finds_that_an_axis_is_made_of_two():
    spots = np.zeros((12, 12, 30), np.int32)
    for unit, (row, column) in enumerate(np.random.default_rng(0).integers(0, 9, (30, 2))):
        spots[row : row + 3, column : column + 3, unit] = 1
    code = CONTEXT.encode(spots.reshape(144, 30))
    header = read_header(coding.bits.Reader(code))
    assert header.divisor == 12
    assert len(code) < 0.5 * entropy_bytes(spots)


@pytest.mark.parametrize("scale", [0.35, 0.9, 4.2])
def test_it_costs_at_most_one_percent_on_memoryless_data(scale):
    array = laplace(200_000, scale).reshape(400, 500)
    assert len(CONTEXT.encode(array)) < 1.01 * entropy_bytes(array) + 20


def test_the_most_frequent_value_is_the_centre_of_indices():
    array = (laplace(20_000, 1.0).clip(-7, 7) + 7).astype(np.uint8)
    code = CONTEXT.encode(array)
    assert read_header(coding.bits.Reader(code)).offset == 7
    assert len(code) < 1.01 * entropy_bytes(array) + 20


def test_it_gives_exponents_up_unless_columns_differ():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(300, 100))
    scales = np.exp(rng.normal(size=100))
    assert CONTEXT.encode(np.frexp(weights)[1]) is None
    exponents = np.frexp(weights * scales)[1]
    assert len(CONTEXT.encode(exponents)) < 0.9 * entropy_bytes(exponents)


def test_it_refuses_wide_ranges_and_floats():
    assert CONTEXT.encode(np.array([0, 32768], np.int32)) is not None
    assert CONTEXT.encode(np.array([0, 32769], np.int32)) is None
    assert CONTEXT.encode(np.zeros(3, np.float32)) is None
    assert CONTEXT.encode(np.zeros((3, 0), np.int8)) is None


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_values_far_from_zero_round_trip(dtype):
    top = np.iinfo(dtype).max
    array = np.array([[top, top - 1, top], [top - 5, top, top]], dtype)
    assert_same(coding.decode("context", CONTEXT.encode(array), (2, 3), np.dtype(dtype)), array)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("values", [[0, 0, 3, -128, 127], [90, 90, 90, -3]])
def test_an_array_is_as_it_was_once_it_is_coded(dtype, values):
    array = np.array(values, dtype)
    data = CONTEXT.encode(array)
    np.testing.assert_array_equal(array, values)
    assert_same(coding.decode("context", data, array.shape, array.dtype), array)
    array.setflags(write=False)
    assert CONTEXT.encode(array) == data


@pytest.mark.parametrize("values", [[0, 0, 128], [0, 0, -32768], [200, 200, 100], [-32640, 128]])
def test_what_a_byte_cannot_hold_is_refused_where_bytes_are_declared(values):
    data = CONTEXT.encode(np.array(values, np.int32))
    with pytest.raises(coding.CodingError, match="does not fit int"):
        coding.decode("context", data, (len(values),), np.dtype(np.int8))


@fast
@given(array=arrays(shapes=[(6, 9), (5, 2, 3), (40,)]), patch=st.binary(min_size=1, max_size=4))
def test_an_array_has_no_second_longer_code(array, patch):
    data = CONTEXT.encode(array)
    if data is not None:
        try:
            other = coding.decode("context", data + patch, array.shape, array.dtype)
        except coding.CodingError:
            return
        assert (other != array).any()


def test_a_stream_far_too_short_is_refused_without_reading_on():
    array = laplace(300, 40.0)
    data = CONTEXT.encode(array)
    for wrong in (data[: len(data) // 2], data[:2], data[:1], b""):
        with pytest.raises(coding.CodingError, match="truncated"):
            coding.decode("context", wrong, array.shape, array.dtype)
    with pytest.raises(coding.CodingError, match="truncated"):
        coding.decode("context", data, (30 * 10**6,), array.dtype)


BLOCKED = """
import sys

sys.modules["numba"] = None
import numpy as np
from kwc import coding

array = np.arange(60, dtype=np.int8).reshape(6, 10) % 7
for name, coder in coding.CODERS.items():
    if name not in ("context", "floats"):
        code = coder.encode(array.astype(np.int16))
        np.testing.assert_array_equal(coding.decode(name, code, (6, 10), np.int16), array)
coding.encode(array.astype(np.float32), "fast")
writes, reads = coding.encode, lambda array: coding.decode("context", bytes(9), (6, 10), np.int8)
for act in (writes, reads):
    try:
        act(array)
    except coding.CodingError as error:
        assert "pip install numba" in str(error)
    else:
        raise AssertionError
"""


def test_without_numba_all_else_is_read_and_the_error_says_what_to_do():
    subprocess.run([sys.executable, "-c", BLOCKED], check=True)


def test_numba_is_imported_only_when_the_coder_runs():
    code = "import sys, kwc.runtime, kwc.artifact; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
