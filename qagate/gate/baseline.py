"""The running baseline as pure functions: what a new series does to it, and when it has drifted.

Median and median absolute deviation (MAD) of the last series that were not REPEAT. A drift is looked for
against the series the baseline was built on, which stay as they were, so that a slow one is seen as well; as
long as there is evidence of one, the baseline does not move. Only a person makes a new level the normal one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qagate.assessment import Baseline
from qagate.baseline import BaselineAlarm, BaselineState, Point

_LOW_FROM, _LOW_UNTIL = 0.5, 0.25  #: share of REPEAT that raises the alarm, and below which it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRules:
    """When a baseline counts, and what counts as its drift. Raises ValueError for contradictions."""

    warm_up: int = 30  #: series before it is used
    window: int = 200  #: series it is computed from, the newest
    recent: int = 20  #: series whose median is held against the level it was built on
    drift_mads: float = 2.0  #: how far apart these may lie
    drift_series: int = 20  #: series in a row beyond that before the alarm
    least_mad: float = 0.03  #: a smaller spread counts as this much

    def __post_init__(self) -> None:
        if not self.recent <= self.warm_up <= self.window:
            raise ValueError(
                f"recent ({self.recent}), warm_up ({self.warm_up}) and window ({self.window}) must not fall"
            )


def usable(state: BaselineState, rules: BaselineRules) -> Baseline | None:
    """The baseline that decisions may use; None before it is warm."""
    if state.median is None or state.mad is None:
        return None
    return Baseline(median=state.median, mad=max(state.mad, rules.least_mad), count=len(state.sample))


def updated(state: BaselineState, point: Point, rules: BaselineRules) -> BaselineState:
    """The state after one more decided series, or another revision of a known one."""
    again = any(one.series_id == point.series_id for one in state.recent)
    state = replace(state, recent=_with(state.recent, point, rules.recent))
    if not again:  # a series scored again is no further evidence
        state = _weighed(state, rules)
    if point.repeat or (state.median is not None and state.evidence):
        return _without(state, point) if point.repeat else state
    state = replace(state, sample=_with(state.sample, point, rules.window))
    if len(state.sample) < rules.warm_up:
        return state
    median, mad = robust(state.sample)
    state = replace(state, median=median, mad=mad)
    return _anchored(state, rules)


def accepted(state: BaselineState, rules: BaselineRules) -> BaselineState:
    """The state after a person called the recent series normal: the baseline starts again from these.

    It is warm at once when these are as many as a drift is judged by, else after its warm-up.
    """
    normal = tuple(replace(point, repeat=False) for point in state.recent)
    fresh = BaselineState(sample=normal, recent=normal)
    if len(normal) < rules.recent:
        return fresh
    median, mad = robust(fresh.sample)
    return replace(fresh, median=median, mad=mad, anchor_median=median, anchor_mad=mad)


def robust(points: Sequence[Point]) -> tuple[float, float]:
    """Median and MAD of the qualities."""
    values = np.array([point.quality for point in points])
    median = float(np.median(values))
    return median, float(np.median(np.abs(values - median)))


def _anchored(state: BaselineState, rules: BaselineRules) -> BaselineState:
    """Let the level it was built on follow until the sample is full; the last series are not part of it."""
    if state.anchor_median is None:
        return replace(state, anchor_median=state.median, anchor_mad=state.mad)
    recent = {point.series_id for point in state.recent}
    older = [point for point in state.sample if point.series_id not in recent]
    if len(state.sample) >= rules.window or len(older) < rules.warm_up:
        return state
    median, mad = robust(older)
    return replace(state, anchor_median=median, anchor_mad=mad)


def _weighed(state: BaselineState, rules: BaselineRules) -> BaselineState:
    """Count the evidence of a drift, or of a protocol that is REPEAT from its first day."""
    if len(state.recent) < rules.recent:
        return state
    if state.anchor_median is None or state.anchor_mad is None:
        share = sum(point.repeat for point in state.recent) / len(state.recent)
        if share > _LOW_FROM:
            return replace(state, alarm=BaselineAlarm.LOW)
        return state if share > _LOW_UNTIL else replace(state, alarm=None)
    shift = abs(robust(state.recent)[0] - state.anchor_median)
    beyond = shift > rules.drift_mads * max(state.anchor_mad, rules.least_mad)
    evidence = min(max(state.evidence + (1 if beyond else -1), 0), rules.drift_series)
    alarm = state.alarm
    if evidence == rules.drift_series:
        alarm = BaselineAlarm.DRIFT
    elif evidence == 0:
        alarm = None
    return replace(state, evidence=evidence, alarm=alarm)


def _with(points: tuple[Point, ...], point: Point, most: int) -> tuple[Point, ...]:
    """The points with this one, in its former place when the series is known; the oldest drop out."""
    if any(one.series_id == point.series_id for one in points):
        return tuple(point if one.series_id == point.series_id else one for one in points)
    return (*points, point)[-most:]


def _without(state: BaselineState, point: Point) -> BaselineState:
    """A later revision that is REPEAT takes its former one out of the sample."""
    left = tuple(one for one in state.sample if one.series_id != point.series_id)
    return replace(state, sample=left)
