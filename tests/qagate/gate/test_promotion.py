"""When a challenger may become champion, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from qagate.gate.promotion import Group, Pair, PromotionRules, checks, compare, srocc

RULES = PromotionRules()


def pairs(
    count: int,
    *,
    scanner: str = "CT1",
    noise: tuple[float, float] = (0.02, 0.02),
    labels: bool = True,
    seed: int = 0,
) -> list[Pair]:
    """True quality, which both see through noise of their own."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.9, count)
    one, other = (np.clip(truth + rng.normal(0, size, count), 0, 1) for size in noise)

    def verdict(quality: float) -> str:
        return "REPEAT" if quality < 0.3 else "REVIEW" if quality < 0.5 else "PASS"

    return [
        Pair(
            champion=float(a), challenger=float(b),
            champion_verdict=verdict(a), challenger_verdict=verdict(b),
            groups={"scanner": scanner, "region": "head"}, label=float(t) if labels else None,
        )
        for a, b, t in zip(one, other, truth, strict=True)
    ]  # fmt: skip


def objections(groups: Sequence[Group], rules: PromotionRules, failed: int = 0) -> tuple[str, ...]:
    return tuple(check.objection for check in checks(groups, rules, failed) if not check.met)


def test_an_equal_challenger_may_be_promoted() -> None:
    groups = compare(pairs(60))
    assert [group.name for group in groups] == ["all series", "scanner CT1", "region head"]
    everything = groups[0]
    assert everything.cases == 60 and (everything.srocc or 0) > 0.95
    assert abs(everything.mean_difference or 1) < 0.02 and everything.changed_share < 0.2
    labelled = everything.labelled
    assert labelled is not None and labelled.cases == 60
    assert labelled.mae_difference.low <= labelled.mae_difference.value <= labelled.mae_difference.high
    assert labelled.mae_difference.low < 0 < labelled.mae_difference.high
    assert objections(groups, RULES) == ()


def test_nothing_compared_is_refused() -> None:
    (said,) = objections(compare([]), RULES)
    assert "nothing was compared" in said
    (few,) = objections(compare(pairs(5)), RULES)
    assert "only 5 series" in few and "20" in few


def test_a_group_that_becomes_worse_is_named() -> None:
    groups = compare([*pairs(200), *pairs(25, scanner="MR7", noise=(0.02, 0.3), seed=1)])
    said = objections(groups, RULES)
    assert said and all("MR7" in reason for reason in said), said
    assert any("mean absolute error rises" in reason for reason in said)
    assert any("SROCC falls" in reason for reason in said)
    assert objections(groups, replace(RULES, margin=1.0)) == ()


def test_a_group_too_small_to_tell_does_not_count() -> None:
    groups = compare([*pairs(200), *pairs(10, scanner="MR7", noise=(0.02, 0.3), seed=1)])
    assert objections(groups, RULES) == ()


def test_without_ratings_changed_decisions_speak() -> None:
    assert objections(compare(pairs(60, labels=False)), RULES) == ()
    said = objections(compare(pairs(60, noise=(0.02, 0.4), labels=False)), RULES)
    assert any("decisions would change" in reason and "0 ratings" in reason for reason in said)
    assert objections(compare(pairs(60, noise=(0.4, 0.02))), RULES) == (), "ratings show that it is better"


def test_failures_speak() -> None:
    said = objections(compare(pairs(60)), RULES, failed=3)
    assert said == ("it failed on 3 of 63 series that the champion scored",)


def test_series_that_one_did_not_assess_count_as_changed_decisions() -> None:
    none = Pair(
        champion=0.9, challenger=None, champion_verdict="PASS", challenger_verdict="NOT_ASSESSED", label=0.9
    )
    (group,) = compare([none] * 30)
    assert group.changed == {"PASS to NOT_ASSESSED": 30} and group.srocc is None and group.labelled is None
    assert objections((group,), RULES)


def test_constant_scores_have_no_correlation() -> None:
    (group,) = compare(
        [Pair(champion=0.5, challenger=0.5, champion_verdict="PASS", challenger_verdict="PASS", label=0.5)]
        * 25
    )
    assert group.srocc is None and group.labelled is not None and group.labelled.srocc_difference is None


def test_srocc_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (2, 4, 50)).astype(float)
    wanted = [spearmanr(one, other).statistic for one, other in zip(a, b, strict=True)]
    assert srocc(a, b) == pytest.approx(wanted)


@pytest.mark.parametrize("wrong", [{"margin": -0.1}, {"min_cases": 1}, {"max_changed": 1.5}])
def test_rules_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        PromotionRules(**wrong)  # type: ignore[arg-type]
