"""kwc.coding.bits: what it writes, it reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_coding import fast

from kwc.coding import bits


@pytest.mark.parametrize("width", range(65))
def test_every_bit_width_packs_and_unpacks(width):
    values = np.random.default_rng(width).integers(0, 2**64, 19, np.uint64, endpoint=False)
    values = values >> np.uint64(64 - width) if width else np.zeros_like(values)
    packed = bits.pack(values, width)
    assert len(packed) == bits.packed_bytes(19, width)
    np.testing.assert_array_equal(bits.unpack(packed, 19, width, np.dtype(np.uint64)), values)


@fast
@given(values=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), min_size=1, max_size=40))
def test_rice_round_trips_and_keeps_its_bound_on_quotients(values):
    values = np.array(values, np.uint64)
    parameter = bits.rice_parameter(values)
    assert len(bits.rice(values, parameter)) == bits.rice_bytes(values)
    reader = bits.Reader(bits.rice(values, parameter))
    np.testing.assert_array_equal(bits.read_rice(reader, len(values), parameter), values)
    reader.end()


@fast
@given(value=st.integers(-(2**63), 2**64 - 1))
def test_zigzag_round_trips(value):
    reader = bits.Reader(bits.zigzag(value))
    assert reader.zigzag() == value
    reader.end()
