import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qagate.assessment import Artefact, Assessment, Finding, Prompt, Verdict
from qagate.gate.policy import Policy, PolicyError, PolicyRule, decide
from qagate.series import SeriesHeader

MR = SeriesHeader(modality="MR", station_name="MR1", protocol_name="T1 Brain sag")
ORDER = (Verdict.REPEAT, Verdict.REVIEW, Verdict.PASS)


def assessment(quality: float | None, **changes: object) -> Assessment:
    prompt = Prompt(dimension="2D", modality="MR", region="head", type="t1")
    return Assessment(**{"prompt": prompt, "quality": quality, "score": quality, **changes})  # type: ignore[arg-type]


def rule(name: str, **changes: object) -> PolicyRule:
    return PolicyRule(**{"name": name, "review_below": 0.5, "repeat_below": 0.3, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quality", "verdict"),
    [
        (0.9, Verdict.PASS),
        (0.5, Verdict.PASS),
        (0.49, Verdict.REVIEW),
        (0.3, Verdict.REVIEW),
        (0.29, Verdict.REPEAT),
    ],
)
def test_two_tiers(quality: float, verdict: Verdict) -> None:
    decision = decide(assessment(quality), MR, Policy())
    assert decision.verdict is verdict
    assert (decision.rule, decision.review_below, decision.repeat_below) == ("default MR", 0.5, 0.3)
    assert f"{quality:.2f}" in decision.reasons[0]


def test_first_matching_rule_decides() -> None:
    policy = Policy(
        rules=(
            rule("other station", station="CT*"),
            rule("brain", protocol="*brain*", review_below=0.8, repeat_below=0.7),
            rule("rest"),
        )
    )
    assert decide(assessment(0.6), MR, policy).rule == "brain"
    assert decide(assessment(0.6), MR, policy).verdict is Verdict.REPEAT


@pytest.mark.parametrize("quality", [None, math.nan, math.inf, -0.1, 1.1])
def test_no_usable_quality_is_not_assessed(quality: float | None) -> None:
    assert decide(assessment(quality), MR, Policy()).verdict is Verdict.NOT_ASSESSED


def test_no_matching_rule_is_not_assessed() -> None:
    decision = decide(assessment(0.9), SeriesHeader(modality="US"), Policy())
    assert decision.verdict is Verdict.NOT_ASSESSED and "no rule" in decision.reasons[0]


def test_the_reason_not_to_assess_is_kept() -> None:
    decision = decide(assessment(0.9, not_assessed="localiser"), MR, Policy())
    assert (decision.verdict, decision.reasons) == (Verdict.NOT_ASSESSED, ("localiser",))


def test_missing_slices_ask_for_a_person() -> None:
    gap = Finding(artefact=Artefact.MISSING_SLICES, severity=0.2, text="2 slices missing after slice 7")
    decision = decide(assessment(0.95, findings=(gap,)), MR, Policy())
    assert decision.verdict is Verdict.REVIEW and decision.reasons[0] == gap.text


def test_findings_explain_a_bad_result() -> None:
    ghost = Finding(artefact=Artefact.GHOSTING, severity=0.7, text="ghosting along columns, slices 9-15")
    assert ghost.text in decide(assessment(0.1, findings=(ghost,)), MR, Policy()).reasons
    assert ghost.text not in decide(assessment(0.9, findings=(ghost,)), MR, Policy()).reasons


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_lower_quality_never_gives_a_better_verdict(a: float, b: float, t: float, u: float) -> None:
    policy = Policy(rules=(rule("r", review_below=max(t, u), repeat_below=min(t, u)),))
    low, high = (ORDER.index(decide(assessment(q), MR, policy).verdict) for q in sorted((a, b)))
    assert low <= high


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"repeat_below": 0.6}, "repeat_below"),
        ({"review_below": 1.2}, "review_below"),
        ({"repeat_below": -1}, "repeat_below"),
    ],
)
def test_contradictions_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(PolicyError, match=named) as caught:
        rule("mine", **changes)
    assert "'mine'" in str(caught.value)


def test_the_version_follows_the_content() -> None:
    assert Policy().version == Policy().version != Policy(rules=(rule("r"),)).version


def test_a_severe_finding_asks_for_a_person_whatever_the_score() -> None:
    for severity, verdict in ((0.79, Verdict.PASS), (0.81, Verdict.REVIEW)):
        motion = Finding(artefact=Artefact.MOTION, severity=severity, text="looks like motion")
        assert decide(assessment(0.9, findings=(motion,)), MR, Policy()).verdict is verdict


@pytest.mark.parametrize(
    ("kernel", "noise_hu", "verdict"),
    [("soft ce", 29.0, Verdict.REVIEW), ("soft", 12.0, Verdict.PASS), ("bone", 29.0, Verdict.PASS)],
)
def test_noise_is_judged_by_the_kernel(kernel: str, noise_hu: float, verdict: Verdict) -> None:
    prompt = Prompt(dimension="2D", modality="CT", region="head", type=kernel)
    made = decide(
        assessment(0.9, prompt=prompt, measures={"noise_hu": noise_hu}), SeriesHeader(modality="CT"), Policy()
    )
    assert made.verdict is verdict
    assert ("noise_hu 29 is above 20" in made.reasons) == (verdict is Verdict.REVIEW)


def test_limits_from_below() -> None:
    policy = Policy(rules=(rule("r", review_under={"snr_tissue": 10.0}),))
    assert decide(assessment(0.9, measures={"snr_tissue": 9.0}), MR, policy).verdict is Verdict.REVIEW
    assert decide(assessment(0.9, measures={"snr_tissue": 11.0}), MR, policy).verdict is Verdict.PASS
