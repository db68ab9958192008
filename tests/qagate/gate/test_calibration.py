"""The readers' scale and the thresholds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qagate.gate.calibration import (
    CalibrationError,
    ReadersScale,
    dumps,
    for_alert_rate,
    for_ppv,
    loads,
    trade_off,
    wilson,
)

SCALE = ReadersScale(
    quality=(0.1, 0.5, 0.9), rating=(0.5, 2.0, 3.8), low=(0.2, 1.8, 3.5), high=(0.9, 2.3, 4.0),
    worst=0.0, best=4.0, cases=60,
)  # fmt: skip


def test_between_knots_it_is_a_line_and_beyond_them_flat() -> None:
    assert SCALE(0.3).value == pytest.approx(1.25)
    assert (SCALE(0.7).low, SCALE(0.7).high) == (pytest.approx(2.65), pytest.approx(3.15))
    assert SCALE(0.0).value == 0.5 and SCALE(1.0).value == 3.8
    assert (SCALE(0.5).worst, SCALE(0.5).best) == (0.0, 4.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_better_quality_never_gives_a_worse_rating(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert SCALE(low).value <= SCALE(high).value


def test_a_scale_may_count_downwards() -> None:
    grades = ReadersScale(
        quality=(0.2, 0.8), rating=(4.0, 1.5), low=(5.0, 2.0), high=(3.5, 1.0), worst=5.0, best=1.0, cases=9
    )
    assert grades(0.5).value == pytest.approx(2.75)


def test_it_is_read_back() -> None:
    assert loads(dumps(SCALE)) == SCALE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quality": [0.5, 0.1, 0.9]}, "do not rise"),
        ({"rating": [3.0, 2.0, 3.8]}, "fall"),
        ({"low": [0.0]}, "as many"),
        ({"best": float("nan")}, "NaN"),
        ({"rating": ["a", "b", "c"]}, "no readers' scale"),
        ({"more": 1}, "has the keys"),
    ],
)
def test_what_is_no_scale_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        loads(json.dumps(json.loads(dumps(SCALE)) | changes))
    with pytest.raises(CalibrationError):
        loads("no JSON")


QUALITY = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
BAD = [True, True, True, False, True, False, False, False, False, False]


def test_thresholds_trade_alerts_for_misses() -> None:
    points = trade_off(QUALITY, BAD)
    assert [point.alerts for point in points] == list(range(1, 11))
    assert [point.threshold for point in points][:2] == [pytest.approx(0.15), pytest.approx(0.25)]
    third = points[2]
    assert (third.ppv, third.sensitivity, third.alert_rate) == (1.0, 0.75, 0.3)
    assert points[-1].sensitivity == 1.0 and points[-1].alert_rate == 1.0
    assert third.ppv_low == pytest.approx(wilson(3, 3)[0]) and third.ppv_high == 1.0


def test_thresholds_for_what_is_wanted() -> None:
    points = trade_off(QUALITY, BAD)
    by_rate = for_alert_rate(points, 0.2)
    assert by_rate is not None and by_rate.alerts == 2
    by_ppv = for_ppv(points, 0.8)
    assert by_ppv is not None and by_ppv.alerts == 5 and by_ppv.ppv == 0.8
    assert for_ppv(points, 0.95) is None, "three alerts are too few"
    assert for_ppv(points, 0.95, fewest=3) is not None
    assert for_alert_rate(points, 0.05) is None


def test_the_alert_rate_is_that_of_all_series() -> None:
    every = list(np.linspace(0.4, 1, 1000))
    (point,) = [p for p in trade_off(QUALITY, BAD, every) if p.alerts == 5]
    assert point.alert_rate == pytest.approx((0.55 - 0.4) / 0.6, abs=0.01)


def test_no_bad_series_and_no_series() -> None:
    assert trade_off([0.5, 0.6], [False, False])[0].sensitivity is None
    with pytest.raises(ValueError, match="one or more"):
        trade_off([], [])


def test_wilson() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
