"""Control charts: what they call usual, and how soon they see a shift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qagate.gate.control_chart import FEWEST, control_chart, limits_of

FINITE = st.floats(-1e6, 1e6)


def _normal(count: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.7, 0.02, count)


def test_limits_estimate_centre_and_spread() -> None:
    limits = limits_of(_normal(4000).tolist())
    assert limits is not None and limits.count == 4000
    assert limits.centre == pytest.approx(0.7, abs=0.002)
    assert limits.sigma == pytest.approx(0.02, rel=0.05)
    assert limits.at(3)[1] - limits.at(3)[0] == pytest.approx(6 * limits.sigma)


def test_an_outlier_in_the_reference_hardly_widens_the_limits() -> None:
    values = _normal(30)
    clean = limits_of(values.tolist())
    values[10] = 0.0
    spoilt = limits_of(values.tolist())
    assert clean and spoilt and spoilt.sigma < 1.3 * clean.sigma


def test_a_worked_ewma() -> None:
    """Weight 0.2 from the centre on; limits 2.962 sigma sqrt(0.2/1.8 (1 - 0.8^2i))."""
    values = [10.0, 12.0, 10.0, 12.0, 10.0, 12.0, 10.0, 12.0, 16.0]
    chart = control_chart(values, reference=8)
    assert chart.limits is not None
    sigma = 2 / 1.128
    assert (chart.limits.centre, chart.limits.sigma) == (11.0, pytest.approx(sigma))
    first, second = chart.points[0].ewma, chart.points[1].ewma
    assert (first.value, second.value) == (pytest.approx(10.8), pytest.approx(11.04))
    assert second.high == pytest.approx(11 + 2.962 * sigma * math.sqrt(0.2 / 1.8 * (1 - 0.8**4)))
    assert chart.points[8].sigmas == pytest.approx(5 / sigma)
    assert chart.points[8].tolerance and not chart.points[8].action


def test_a_single_bad_value_is_shewharts_and_a_small_lasting_shift_is_the_ewmas() -> None:
    values = _normal(60)
    values[40] = 0.5
    assert [place for place, point in enumerate(control_chart(values.tolist()).points) if point.action] == [
        40
    ]
    shifted = _normal(90)
    shifted[45:] -= 0.03
    chart = control_chart(shifted.tolist())
    first = next(place for place, point in enumerate(chart.points) if point.ewma.out)
    assert 45 <= first < 60 and chart.drifting
    assert not control_chart(_normal(45).tolist()).drifting


def test_few_or_equal_values_have_no_limits() -> None:
    assert control_chart([0.5] * (FEWEST - 1)).limits is None
    assert control_chart([0.0] * 50).limits is None
    assert control_chart([]).points == ()
    seldom = control_chart([0.0] * 20 + [1.0] + [0.0] * 20, reference=41)
    assert seldom.limits is not None and seldom.points[20].action, "what is seldom is still a spread"


def test_a_value_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        control_chart([1.0, math.nan])


@given(st.lists(FINITE, min_size=FEWEST, max_size=60), st.floats(-1e3, 1e3))
def test_a_shift_of_all_values_shifts_the_chart(values: list[float], by: float) -> None:
    chart, moved = control_chart(values), control_chart([value + by for value in values])
    if chart.limits and moved.limits and chart.limits.sigma > 1e-3:
        assert moved.limits.centre == pytest.approx(chart.limits.centre + by, abs=1e-6)
        assert len(chart.points) == len(values)
