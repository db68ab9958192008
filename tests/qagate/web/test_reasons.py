"""Reasons in plain words: every sentence that policy and measures make is known to the pages."""

from __future__ import annotations

import pytest

from qagate.assessment import Assessment, Baseline, Prompt
from qagate.gate.measures.findings import LIMITS
from qagate.gate.policy import Policy, PolicyRule, decide
from qagate.series import SeriesHeader
from qagate.web import reasons


def known(reason: str) -> bool:
    return any(pattern.fullmatch(reason) for pattern, _ in reasons._PATTERNS)


RULE = PolicyRule(
    name="r", review_below=0.5, repeat_below=0.3, review_above={"noise_hu": 20}, review_under={"snr_air": 9},
    review_below_baseline=4, repeat_below_baseline=8,
)  # fmt: skip


@pytest.mark.parametrize("quality", [0.9, 0.4, 0.1, float("nan")])
@pytest.mark.parametrize("baseline", [None, Baseline(median=0.8, mad=0.05, count=40)])
def test_every_reason_of_the_policy_is_known(quality: float, baseline: Baseline | None) -> None:
    assessed = Assessment(
        prompt=Prompt(dimension="3D", modality="CT"), quality=quality, score=quality,
        measures={"noise_hu": 44.24, "snr_air": 3.0},
    )  # fmt: skip
    decision = decide(assessed, SeriesHeader(modality="CT"), Policy(rules=(RULE,)), baseline)
    assert decision.reasons
    assert [reason for reason in decision.reasons if not known(reason)] == []


def test_every_finding_is_known() -> None:
    for limit in LIMITS:
        assert known(limit.text.format(value=0.123)), limit.text


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("ghosting along columns (phase encoding), slices 2-23",
         "Ghosting along columns (phase encoding), slices 2\u2060–\u206023"),
        ("blurred edges, slice 4", "Blurred edges, slice 4"),
        ("noise_hu 44.2 is above 20", "Noise in tissue (HU) 44.2 is above 20"),
        ("quality 0.16 is below 0.30: repeat suggested", "Quality 0.16 is below 0.30: repeat suggested"),
        ("2 slices are missing after slice 3, 7", "2 slices are missing after slice 3, 7"),
        ("the series is a localiser (ImageType ORIGINAL)", "The series is a localiser (ImageType ORIGINAL)"),
        ("<b>something</b> new", "<b>something</b> new"),
        ("", ""),
    ],
)  # fmt: skip
def test_plain_words(reason: str, said: str) -> None:
    assert reasons.sentence(reason) == said


def test_what_was_seen_comes_first() -> None:
    first, others = reasons.telling(
        ("noise_hu 44.2 is above 20", "quality 0.88", "high noise (45 HU), slices 1-9")
    )
    assert first == "high noise (45 HU), slices 1-9"
    assert others == ("noise_hu 44.2 is above 20", "quality 0.88")
    assert reasons.telling(()) == ("", ())
