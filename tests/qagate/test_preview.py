"""What another decision table would have made of decided series."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from qagate.assessment import Artefact, Assessment, Baseline, Finding, Prompt
from qagate.gate.policy import Policy, PolicyRule, decide
from qagate.preview import MOST_CHANGES, preview
from qagate.series import SeriesHeader
from qagate.store.observations import Observation


def seen(quality: float | None, baseline: Baseline | None = None, *findings: Finding) -> Observation:
    """A series as the default table decided it."""
    header = SeriesHeader(modality="CT", station_name="CT1", protocol_name="Head")
    assessment = Assessment(
        prompt=Prompt(dimension="", modality="CT", region="head", type="soft"),
        quality=quality,
        score=None,
        findings=findings,
    )
    return Observation(
        series_instance_uid="1.2.3",
        decided_at=datetime(2026, 3, 1, tzinfo=UTC),
        verdict=decide(assessment, header, Policy(), baseline).verdict.value,
        header=header,
        assessment=assessment,
        baseline=baseline,
    )


def table(review: float, repeat: float) -> Policy:
    return Policy(rules=(PolicyRule(name="all", review_below=review, repeat_below=repeat),))


qualities = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=30)


@given(qualities)
def test_the_same_table_changes_nothing(values: list[float | None]) -> None:
    usual = Baseline(median=0.7, mad=0.05, count=40)
    severe = Finding(artefact=Artefact.MISSING_SLICES, severity=0.1, text="")
    found = preview([seen(value, usual, severe) for value in values], Policy())
    assert (found.series, found.changed, found.changes) == (len(values), 0, ())
    assert found.alerts(0) == found.alerts(1)


@given(qualities, st.floats(0, 0.5), st.floats(0.5, 1), st.floats(0, 0.5))
def test_a_stricter_table_never_alerts_less(
    values: list[float | None], repeat: float, review: float, more: float
) -> None:
    observations = [seen(value) for value in values]
    lax, strict = table(review, repeat), table(min(review + more, 1), repeat)
    assert preview(observations, strict).alerts(1) >= preview(observations, lax).alerts(1)


def test_changes_are_named_and_counted_by_scanner() -> None:
    good, poor = seen(0.9), seen(0.6)
    other = replace(poor, header=replace(poor.header, station_name="CT2"))
    found = preview([good, poor, other, seen(None)], table(0.7, 0.1))
    assert found.pairs == {("PASS", "PASS"): 1, ("PASS", "REVIEW"): 2, ("NOT_ASSESSED", "NOT_ASSESSED"): 1}
    assert found.stations == {"CT1": (3, 0, 1), "CT2": (1, 0, 1)}
    assert [(one.station, one.before, one.after, one.rule) for one in found.changes] == [
        ("CT1", "PASS", "REVIEW", "all"),
        ("CT2", "PASS", "REVIEW", "all"),
    ]


def test_only_so_many_changes_are_named_but_all_are_counted() -> None:
    found = preview([seen(0.6)] * (MOST_CHANGES + 5), table(0.7, 0.1))
    assert found.changed == MOST_CHANGES + 5 and len(found.changes) == MOST_CHANGES
