"""The running baseline: warm-up, robustness, drift, and what only a person may do."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qagate.assessment import Assessment, Baseline, Prompt, Verdict
from qagate.baseline import BaselineAlarm, BaselineState, Point
from qagate.gate.baseline import BaselineRules, accepted, robust, updated, usable
from qagate.gate.policy import DEFAULT_RULES, Policy, PolicyError, PolicyRule, decide
from qagate.series import SeriesHeader

RULES = BaselineRules(warm_up=10, window=40, recent=10, drift_mads=2.0, drift_series=10, least_mad=0.02)
MR = SeriesHeader(modality="MR")


def usual(count: int, level: float = 0.8, seed: int = 0) -> list[float]:
    return list(np.random.default_rng(seed).normal(level, 0.03, count))


def fed(
    qualities: Iterable[float], state: BaselineState | None = None, *, first: int = 0, repeat: bool = False
) -> BaselineState:
    state = state or BaselineState()
    for number, quality in enumerate(qualities, first):
        state = updated(state, Point(series_id=number, quality=float(quality), repeat=repeat), RULES)
    return state


def test_it_counts_only_when_warm() -> None:
    assert usable(fed(usual(9)), RULES) is None
    warm = usable(fed(usual(10)), RULES)
    assert warm is not None and warm.count == 10
    values = np.array(usual(10))
    assert warm.median == pytest.approx(np.median(values))
    assert warm.mad == pytest.approx(max(np.median(np.abs(values - np.median(values))), 0.02))


def test_repeats_are_no_part_of_it_and_a_few_outliers_move_it_little() -> None:
    before = fed(usual(30))
    after = fed([0.1, 0.15, 0.1], before, first=100, repeat=True)
    assert after.sample == before.sample and after.median == before.median
    mixed = fed([0.3, *usual(12), 0.35, *usual(12, seed=1), 0.3])
    assert mixed.median == pytest.approx(0.8, abs=0.03) and mixed.alarm is None


def test_equal_series_do_not_make_it_infinitely_strict() -> None:
    baseline = usable(fed([0.9] * 20), RULES)
    assert baseline is not None and baseline.mad == RULES.least_mad


def test_it_keeps_the_newest() -> None:
    state = fed(usual(200))
    assert [point.series_id for point in state.sample] == list(range(160, 200))
    assert len(state.recent) == 10


def test_a_later_revision_takes_the_place_of_the_former() -> None:
    state = fed(usual(12))
    again = updated(state, Point(series_id=5, quality=0.5), RULES)
    assert len(again.sample) == 12 and again.sample[5].quality == 0.5
    gone = updated(state, Point(series_id=5, quality=0.1, repeat=True), RULES)
    assert [point.series_id for point in gone.sample] == [*range(5), *range(6, 12)]


def test_one_series_scored_again_and_again_is_no_drift() -> None:
    state = fed(usual(30))
    state = fed([0.6] * 6, state, first=100)
    evidence = state.evidence
    for _ in range(50):
        state = updated(state, Point(series_id=105, quality=0.6), RULES)
    assert state.evidence == evidence and state.alarm is None


def test_a_sudden_drift_is_an_alarm_and_the_baseline_stays() -> None:
    before = fed(usual(40))
    state = fed(usual(12, 0.65, seed=2), before, first=100)
    assert state.evidence and state.alarm is None, "not after a few"
    state = fed(usual(20, 0.65, seed=3), state, first=200)
    assert state.alarm is BaselineAlarm.DRIFT
    assert state.median == pytest.approx(before.median, abs=0.02)
    assert not [point for point in state.sample if point.series_id >= 200]


def test_a_drift_into_repeats_is_seen_too() -> None:
    state = fed([0.1] * 25, fed(usual(40)), first=100, repeat=True)
    assert state.alarm is BaselineAlarm.DRIFT


def test_a_slow_drift_is_an_alarm() -> None:
    falling = np.linspace(0.8, 0.5, 600) + np.random.default_rng(0).normal(0, 0.03, 600)
    state = BaselineState()
    for number, quality in enumerate(falling):
        state = updated(state, Point(series_id=number, quality=float(quality)), RULES)
        if state.alarm:
            break
    assert state.alarm is BaselineAlarm.DRIFT and falling[number] > 0.6


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_protocol_raises_no_alarm(seed: int) -> None:
    rules = BaselineRules()
    state = BaselineState()
    for number, quality in enumerate(usual(2000, seed=seed)):
        state = updated(state, Point(series_id=number, quality=float(quality)), rules)
        assert state.alarm is None


def test_the_alarm_ends_when_the_level_is_back() -> None:
    drifted = fed(usual(30, 0.6, seed=4), fed(usual(40)), first=100)
    assert drifted.alarm is BaselineAlarm.DRIFT
    back = fed(usual(30, 0.8, seed=5), drifted, first=200)
    assert back.alarm is None and back.evidence == 0


def test_only_a_person_makes_the_new_level_normal() -> None:
    drifted = fed(usual(30, 0.6, seed=4), fed(usual(40)), first=100)
    stayed = fed(usual(300, 0.6, seed=6), drifted, first=200)
    assert stayed.alarm is BaselineAlarm.DRIFT and (stayed.median or 0) > 0.75
    fresh = accepted(stayed, RULES)
    warm = usable(fresh, RULES)
    assert fresh.alarm is None and warm is not None and warm.median == pytest.approx(0.6, abs=0.03)
    later = fed(usual(60, 0.6, seed=7), fresh, first=900)
    assert later.alarm is None and len(later.sample) == RULES.window


def test_a_protocol_that_is_repeat_from_its_first_day_is_an_alarm() -> None:
    state = fed(usual(12, 0.2), repeat=True)
    assert state.alarm is BaselineAlarm.LOW and usable(state, RULES) is None and not state.sample
    warm = usable(accepted(state, RULES), RULES)
    assert warm is not None and warm.median == pytest.approx(0.2, abs=0.03)


def test_acceptance_of_few_series_warms_up_first() -> None:
    few = accepted(fed(usual(4)), RULES)
    assert usable(few, RULES) is None and usable(fed(usual(6), few, first=10), RULES) is not None


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="warm_up"):
        BaselineRules(warm_up=5, recent=10)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 60)), max_size=120))
def test_whatever_comes_it_stays_within_bounds(points: list[tuple[float, bool, int]]) -> None:
    state = BaselineState()
    for quality, repeat, series_id in points:
        state = updated(state, Point(series_id=series_id, quality=quality, repeat=repeat), RULES)
        ids = [point.series_id for point in state.sample]
        assert len(ids) == len(set(ids)) <= RULES.window and len(state.recent) <= RULES.recent
        assert 0 <= state.evidence <= RULES.drift_series
        assert not any(point.repeat for point in state.sample)
        baseline = usable(state, RULES)
        assert baseline is None or (0 <= baseline.median <= 1 and baseline.mad >= RULES.least_mad)
        if state.sample and state.evidence == 0 and state.median is not None and not repeat:
            assert len(state.sample) < RULES.warm_up or state.median == robust(state.sample)[0]


# -- decisions by it ---------------------------------------------------------------------------


def assessed(quality: float) -> Assessment:
    prompt = Prompt(dimension="2D", modality="MR", region="head", type="t1")
    return Assessment(prompt=prompt, quality=quality, score=quality)


BASE = Baseline(median=0.8, mad=0.03, count=40)


@pytest.mark.parametrize(
    ("quality", "verdict"),
    [(0.81, Verdict.PASS), (0.69, Verdict.PASS), (0.67, Verdict.REVIEW), (0.55, Verdict.REPEAT)],
)
def test_a_warm_baseline_judges_the_distance(quality: float, verdict: Verdict) -> None:
    made = decide(assessed(quality), MR, Policy(), BASE)
    assert made.verdict is verdict and made.relative and made.baseline == BASE
    assert (made.review_below, made.repeat_below) == (pytest.approx(0.68), pytest.approx(0.56))
    assert "MADs" in made.reasons[0] and "0.80" in made.reasons[0]


def test_a_low_protocol_is_not_asked_to_repeat_for_ever() -> None:
    low = Baseline(median=0.4, mad=0.03, count=40)
    assert decide(assessed(0.4), MR, Policy()).verdict is Verdict.REVIEW
    assert decide(assessed(0.4), MR, Policy(), low).verdict is Verdict.PASS
    assert decide(assessed(0.1), MR, Policy(), low).verdict is Verdict.REPEAT


def test_a_baseline_too_wide_to_find_anything_is_not_used() -> None:
    wide = Baseline(median=0.5, mad=0.1, count=40)
    made = decide(assessed(0.2), MR, Policy(), wide)
    assert made.verdict is Verdict.REPEAT and not made.relative and made.baseline == wide


def test_rules_that_say_nothing_of_it_stay_absolute() -> None:
    policy = Policy(rules=(PolicyRule(name="mine", review_below=0.5, repeat_below=0.3),))
    made = decide(assessed(0.55), MR, policy, BASE)
    assert made.verdict is Verdict.PASS and not made.relative and made.review_below == 0.5


@pytest.mark.parametrize("rule", DEFAULT_RULES)
def test_without_a_warm_baseline_the_default_rules_decide_as_before(rule: PolicyRule) -> None:
    assert rule.limits(None) == (0.5, 0.3, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"review_below_baseline": 3.0},
        {"repeat_below_baseline": 3.0},
        {"review_below_baseline": 6.0, "repeat_below_baseline": 3.0},
        {"review_below_baseline": 0.0, "repeat_below_baseline": 3.0},
    ],
)
def test_contradicting_rules_are_named(changes: dict[str, float]) -> None:
    with pytest.raises(PolicyError, match="'mine'"):
        PolicyRule(name="mine", review_below=0.5, repeat_below=0.3, **changes)


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.03, 0.5),
    st.floats(0.1, 9),
    st.floats(1, 3),
)
def test_a_lower_quality_never_gives_a_better_verdict(
    a: float, b: float, median: float, mad: float, review: float, times: float
) -> None:
    rule = PolicyRule(
        name="r", review_below=0.5, repeat_below=0.3,
        review_below_baseline=review, repeat_below_baseline=review * times,
    )  # fmt: skip
    policy, baseline = Policy(rules=(rule,)), Baseline(median=median, mad=mad, count=40)
    order = (Verdict.REPEAT, Verdict.REVIEW, Verdict.PASS)
    low, high = (order.index(decide(assessed(q), MR, policy, baseline).verdict) for q in sorted((a, b)))
    assert low <= high and math.isfinite(baseline.distance(a))
