from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qagate.gate.assembly import CompletionRules, Evidence, completed_because

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RULES = CompletionRules(short_quiet_s=2, long_quiet_s=10, hard_limit_s=100)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def evidence(**changes: object) -> Evidence:
    known = {"instance_count": 20, "first_received_at": at(0), "last_received_at": at(50)}
    return Evidence(**{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "after_s", "because"),
    [
        ({}, 59.9, None),
        ({}, 60, "quiet"),
        ({"expected_instances": 20}, 51.9, None),
        ({"expected_instances": 20}, 52, "the announced number of instances is there"),
        ({"expected_instances": 30}, 52, None),
        ({"expected_instances": 10}, 52, None),
        ({"learned_instances": 20}, 52, "the number of instances this protocol always has is there"),
        ({"learned_instances": 20, "expected_instances": 30}, 52, None),
        ({"released_at": at(51)}, 52.9, None),
        ({"released_at": at(51)}, 53, "the association ended"),
        ({"last_received_at": at(99)}, 100, "time limit"),
        ({"expected_instances": 20}, -1000, None),
    ],
)
def test_evidence(changes: dict[str, object], after_s: float, because: str | None) -> None:
    assert completed_because(evidence(**changes), RULES, at(after_s)) == because


offsets = st.floats(0, 200)


@given(
    offsets,
    offsets,
    st.one_of(st.none(), offsets),
    st.one_of(st.none(), st.integers(1, 30)),
    offsets,
    offsets,
)
def test_complete_stays_complete_and_never_before_the_short_quiet_time(
    first: float, last: float, released: float | None, expected: int | None, now: float, later: float
) -> None:
    series = evidence(
        first_received_at=at(min(first, last)),
        last_received_at=at(max(first, last)),
        released_at=None if released is None else at(released),
        expected_instances=expected,
    )
    because = completed_because(series, RULES, at(now))
    if because is not None:
        assert completed_because(series, RULES, at(now + later)) is not None
        assert because == "time limit" or now - max(first, last) >= RULES.short_quiet_s - 1e-6
