"""The facts of a series page: measures with what is usual, the curve over the slices, the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from qagate.label import LabelKind
from qagate.store.audit import AuditEntry
from qagate.store.labels import StoredLabel
from qagate.store.series_detail import SeriesDetail, Usual
from qagate.store.views import Result
from qagate.web import texts, words
from qagate.web.acts import act_word
from qagate.web.chart_lines import SlicePoint, slice_curve
from qagate.web.charts import Chart
from qagate.web.texts import gettext as _
from qagate.web.verdicts import look, state

_LEAST_SPREAD = 0.02  #: of the median: protocols whose values hardly vary do not call every other one unusual


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRow:
    """One measure beside what is usual."""

    name: str
    value: float
    usual: Usual | None  #: None: too few series of this protocol yet
    unusual: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a series."""

    at: datetime
    words: str
    detail: str | Markup = ""
    bad: bool = False


def short(value: float) -> str:
    """A value with three digits that tell."""
    return texts.number(float(f"{value:.3g}"), 6)


def measure_rows(result: Result, usual: Mapping[str, Usual]) -> tuple[MeasureRow, ...]:
    """The measures and the technique's numbers, in their order."""
    of = result.assessment
    figures = {
        name: value
        for name, value in (dict(of.measures) | dict(of.technique)).items()
        if not isinstance(value, str) and value == value  # noqa: PLR0124  # NaN is no figure
    }
    return tuple(
        MeasureRow(
            name=words.figure(name),
            value=value,
            usual=usual.get(name),
            unusual=name in usual and _unusual(value, usual[name]),
        )
        for name, value in figures.items()
    )


def _unusual(value: float, usual: Usual) -> bool:
    room = max(2 * usual.mad, _LEAST_SPREAD * abs(usual.median))
    return abs(value - usual.median) > room


def curve(result: Result, revision: int) -> Chart | None:
    """Quality over the scored slices; None when fewer than two were scored."""
    scored = sorted(result.assessment.slices, key=lambda one: one.slice_number)
    if len(scored) < 2:
        return None
    decision = result.decision
    return slice_curve(
        [
            SlicePoint(
                number=one.slice_number,
                quality=one.quality,
                href=f"?revision={revision}&slice={one.slice_number}",
            )
            for one in scored
        ],
        title=_("Quality over the slices"),
        review_below=decision.review_below,
        repeat_below=decision.repeat_below,
    )


def history(
    detail: SeriesDetail, labels: Sequence[StoredLabel], fates: Sequence[AuditEntry] = ()
) -> tuple[Event, ...]:
    """What happened, oldest first. Ratings are left out: raters are blind to each other."""
    of = detail.series
    events = [
        Event(at=detail.first_received_at, words=_("First image received")),
        Event(
            at=of.last_received_at,
            words=_("Last image received"),
            detail=texts.ngettext("%(num)s image", "%(num)s images", of.instance_count),
        ),
    ]
    if of.closed_at is not None:
        events.append(Event(at=of.closed_at, words=_("Complete"), detail=_because(detail.closed_because)))
    for one in detail.results:
        events.append(
            Event(
                at=one.decided_at,
                words=_("Decided: %(verdict)s", verdict=look(one.decision.verdict).word),
                detail=_("state %(n)s", n=one.revision) if of.revision > 1 else "",
            )
        )
    events += _sendings(detail)
    events += [_fate(one) for one in fates]
    events += [
        Event(at=one.label.created_at, words=f"{one.label.rater}: {act_word(one.label.kind)}",
              detail=one.label.reason)
        for one in labels
        if one.label.kind is not LabelKind.RATING and one.label.created_at is not None
    ]  # fmt: skip
    events += [
        Event(at=one.at, words=f"{one.actor}: {act_word(None)}") for one in of.said if one.kind is None
    ]
    return tuple(sorted(events, key=lambda one: one.at))


def _fate(of: AuditEntry) -> Event:
    words = _("rejected it") if of.act == "reject" else _("released it")
    return Event(at=of.at, words=f"{of.actor}: {words}", detail=str(of.details.get("reason") or ""))


def _because(closed: str | None) -> str:
    """Why a series counted as complete."""
    return {
        "the announced number of instances is there": _("the announced number of images is there"),
        "the number of instances this protocol always has is there": _(
            "the number of images this protocol always has is there"
        ),
        "the association ended": _("the scanner closed the connection"),
        "quiet": _("nothing came for a while"),
        "time limit": _("time limit"),
    }.get(closed or "", closed or "")


def _sendings(detail: SeriesDetail) -> list[Event]:
    kinds = {
        "SR": _("Report"), "KOS": _("Quality flag"), "FORWARD": _("Images"), "ALERT": _("Alert"),
        "REJECTION": _("Note of rejection"),
    }  # fmt: skip
    found = []
    for one in detail.sendings:
        what = f"{kinds.get(one.kind, one.kind)} → {one.destination}"
        if one.sent_at is not None:
            found.append(Event(at=one.sent_at, words=_("%(what)s: delivered", what=what)))
            continue
        tries = texts.ngettext("%(num)s try", "%(num)s tries", one.attempts) if one.attempts else ""
        found.append(
            Event(
                at=one.created_at,
                words=f"{what}: {state(one.state)}",
                detail=", ".join(filter(None, (tries, one.last_error))),
                bad=bool(one.last_error) or one.state == "DEAD",
            )
        )
    return found
