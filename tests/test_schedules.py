"""Values that change while a model trains, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kwc import schedules
from kwc.schedules import Constant, PiecewiseLinear, Polynomial, Step


@pytest.mark.parametrize("times", [(0.5, 0.5), (0.8, 0.2), (-0.1, 0.5), (0.0, 1.1)])
def test_a_schedule_ends_after_it_begins(times):
    with pytest.raises(ValueError, match="0 <= begin < end <= 1"):
        Polynomial(final=0.5, begin=times[0], end=times[1])


def test_a_polynomial_by_hand():
    ramp = Polynomial(final=1.0, initial=0.0, begin=0.2, end=0.6, power=2.0)
    values = [float(ramp(Step(tf.constant(i, tf.int64), 10))) for i in range(11)]
    np.testing.assert_allclose(values, [0, 0, 0, 0.4375, 0.75, 0.9375, 1, 1, 1, 1, 1], atol=1e-6)
    assert ramp.last_change(10) == 6


@given(
    st.floats(0, 0.9), st.floats(0.01, 1), st.floats(0.3, 4), st.integers(1, 5000), st.floats(0, 1)
)
def test_a_schedule_is_final_from_its_last_change_on(begin, length, power, total, final):
    ramp = Polynomial(final=final, begin=begin, end=min(begin + length, 1.0), power=power)
    last = ramp.last_change(total)
    assert 0 <= last <= total
    assert float(ramp(Step(last, total))) == np.float32(final)
    assert float(ramp(Step(total, total))) == np.float32(final)


def test_a_number_is_a_schedule_that_does_not_change():
    assert schedules.as_schedule(0.5) == Constant(0.5)
    assert Constant(0.5)(Step(3, 10)) == 0.5
    assert Constant(0.5).last_change(10) == 0
    ramp = Polynomial(final=0.5)
    assert schedules.as_schedule(ramp) is ramp
    assert ramp(Step(0, 0)) == 0.5


def test_a_polyline_by_hand():
    rate = PiecewiseLinear([(0.2, 0.0), (0.4, 1.0), (0.8, 1.0), (0.8, 0.25)], scale=4.0)
    values = [float(rate(Step(tf.constant(i, tf.int64), 10))) for i in range(11)]
    np.testing.assert_allclose(values, [0, 0, 0, 2, 4, 4, 4, 4, 1, 1, 1], atol=1e-6)
    assert rate.last_change(10) == 8
    assert rate.final == rate(Step(0, 0)) == 1


def test_a_polyline_without_a_change_is_final_at_once():
    rate = PiecewiseLinear([[0.5, 3.0]])
    assert rate.last_change(10) == 0
    assert [float(rate(Step(i, 10))) for i in (0, 5, 10)] == [3, 3, 3]
    assert hash(rate) == hash(PiecewiseLinear(((0.5, 3.0),)))


times = st.lists(st.floats(0, 1), min_size=1, max_size=5).map(sorted)


@given(times, st.data(), st.integers(1, 5000))
def test_a_polyline_is_final_from_its_last_change_on(times, data, total):
    values = data.draw(
        st.lists(st.floats(0, 1, width=32), min_size=len(times), max_size=len(times))
    )
    rate = PiecewiseLinear(list(zip(times, values, strict=True)))
    last = rate.last_change(total)
    assert 0 <= last <= total
    for index in (last, total):
        assert float(rate(Step(index, total))) == np.float32(rate.final)


@pytest.mark.parametrize("times", [[], [0.5, 0.2], [-0.1, 0.5], [0.5, 1.1]])
def test_a_polyline_has_ascending_points(times):
    with pytest.raises(ValueError, match="ascending fractions of the training"):
        PiecewiseLinear([(time, 1.0) for time in times])
