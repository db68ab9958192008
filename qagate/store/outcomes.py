"""What became of verdicts: alerts and their truth week by week, repeats by reason. Reads only.

Weeks begin on Monday, UTC.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache
from typing import Any

import sqlalchemy as sa

from qagate.assessment import BAD, Verdict
from qagate.label import LabelKind
from qagate.store.engine import Store
from qagate.store.schema import label, observation
from qagate.store.trends import Selection, day_of

_ALERTS = frozenset(verdict.value for verdict in BAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """The series of one week, and what people said of its alerts."""

    monday: date
    verdicts: Mapping[str, int]
    right: int = 0  #: alerts that people agreed with
    wrong: int = 0  #: alerts that people disagreed with
    missed: int = 0  #: series without an alert whose verdict people disagreed with

    @property
    def count(self) -> int:
        """Series the gate assessed."""
        return sum(number for name, number in self.verdicts.items() if name != Verdict.NOT_ASSESSED.value)

    @property
    def alerts(self) -> int:
        """Series a person should look at or repeat."""
        return sum(self.verdicts.get(name, 0) for name in _ALERTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What series were to be repeated for."""

    artefact: str  #: a value of `Artefact`; "" when no measure explains the score
    suggested: int  #: series the gate called REPEAT
    repeated: int  #: series people say they repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Repeats among the assessed series of a selection."""

    series: int
    reasons: tuple[Reason, ...]  #: most series first


class Outcomes:
    """What became of the series of a selection. What people clicked is read once, when it is first needed."""

    def __init__(self, store: Store, of: Selection) -> None:
        self._store, self._of = store, of

    @cached_property
    def _clicked(self) -> list[list[_Click]]:
        with self._store.read() as connection:
            return _clicks(connection, self._of)

    @cached_property
    def _verdicts(self) -> dict[date, Counter[str]]:
        """Monday -> verdict -> series."""
        verdicts: dict[date, Counter[str]] = defaultdict(Counter)
        with self._store.read() as connection:
            day = day_of(connection, observation.c.decided_at).label("day")
            counts = (
                sa.select(day, observation.c.verdict, sa.func.count().label("number"))
                .where(*self._of.conditions())
                .group_by(day, observation.c.verdict)
            )
            for row in connection.execute(counts):
                verdicts[_monday(row.day)][row.verdict] += row.number
        return verdicts

    def weeks(self) -> tuple[Week, ...]:
        """Every week from the first series to the last."""
        verdicts = self._verdicts
        said: dict[date, Counter[str]] = defaultdict(Counter)
        for clicks in self._clicked:
            said[_monday(clicks[0].day)][_fate(clicks)] += 1
        if not verdicts:
            return ()
        weeks, monday = [], min(verdicts)
        while monday <= max(verdicts):
            told = said[monday]
            weeks.append(
                Week(
                    monday=monday,
                    verdicts=dict(verdicts.get(monday, {})),
                    right=told["right"],
                    wrong=told["wrong"],
                    missed=told["missed"],
                )
            )
            monday += timedelta(days=7)
        return tuple(weeks)

    def repeats(self) -> Repeats:
        """Repeats by reason: the artefact people named, else the weightiest that was found."""
        suggested: Counter[str] = Counter()
        repeated: Counter[str] = Counter()
        repeats = sa.select(observation.c.findings).where(
            *self._of.conditions(), observation.c.verdict == Verdict.REPEAT.value
        )
        with self._store.read() as connection:
            suggested.update(_weightiest(row.findings) for row in connection.execute(repeats))
        for clicks in self._clicked:
            told = [click for click in clicks if click.kind is LabelKind.REPEATING]
            if told:
                repeated.update(told[-1].reasons())
        both = suggested + repeated
        return Repeats(
            series=sum(
                number
                for counts in self._verdicts.values()
                for verdict, number in counts.items()
                if verdict != Verdict.NOT_ASSESSED.value
            ),
            reasons=tuple(
                Reason(artefact=name, suggested=suggested[name], repeated=repeated[name])
                for name, _ in both.most_common()
            ),
        )


@lru_cache(maxsize=1024)
def _monday(day: str) -> date:
    """Of the week of a day such as 2026-03-01."""
    of = date.fromisoformat(day)
    return of - timedelta(days=of.weekday())


def _weightiest(findings: Sequence[Sequence[Any]]) -> str:
    return str(findings[0][0]) if findings else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Click:
    """One rater's last answer to one question on a series."""

    kind: LabelKind
    artefacts: str  #: JSON list; parsed for the few that tell of a repeat
    verdict: str  #: the gate's
    findings: str  #: likewise, as JSON
    day: str  #: of the decision

    def reasons(self) -> list[str]:
        """What the rater named, else the weightiest finding."""
        return json.loads(self.artefacts) or [_weightiest(json.loads(self.findings))]


def _clicks(connection: sa.Connection, of: Selection) -> list[list[_Click]]:
    """What people clicked, series by series, in the order they did."""
    kinds = [kind.value for kind in LabelKind if kind is not LabelKind.RATING]
    columns = (label.c.series_id, label.c.rater, label.c.kind, label.c.artefacts)
    day = day_of(connection, observation.c.decided_at).label("day")
    findings = sa.cast(observation.c.findings, sa.Text).label("findings")
    query = (
        sa.select(*columns, observation.c.verdict, findings, day)
        .join(observation, observation.c.series_id == label.c.series_id)
        .where(*of.conditions(), label.c.kind.in_(kinds), label.c.sop_instance_uid.is_(None))
        .order_by(label.c.created_at, label.c.id)
    )
    found: dict[int, dict[tuple[str, str], _Click]] = defaultdict(dict)
    for row in connection.execute(query):
        kind = LabelKind(row.kind)
        last = found[row.series_id]
        last.pop((row.rater, kind.question), None)
        last[row.rater, kind.question] = _Click(
            kind=kind,
            artefacts=row.artefacts,
            verdict=row.verdict,
            findings=row.findings,
            day=row.day,
        )
    return [list(clicks.values()) for clicks in found.values()]


def _fate(clicks: Sequence[_Click]) -> str:
    """Whether an alert was right or wrong, or a verdict without alert kept or missed something; "": a tie.

    Who repeats a series, or would if it were possible, says that it was bad.
    """
    alert = clicks[0].verdict in _ALERTS
    votes = [
        1 if click.kind is LabelKind.AGREE else -1 for click in clicks if click.kind.question == "verdict"
    ]
    agreed = sum(votes) if votes else (1 if alert else -1)
    if agreed == 0:
        return ""
    return ("right" if agreed > 0 else "wrong") if alert else ("kept" if agreed > 0 else "missed")
