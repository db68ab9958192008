"""Control charts as SVG: the values with Shewhart's limits above, their EWMA below, on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from qagate.gate.control_chart import ACTION_SIGMAS, TOLERANCE_SIGMAS, ControlChart, ControlPoint
from qagate.web import texts
from qagate.web.charts import Box, Chart, Look, Paper, Scale, legend, spread, time_axis, value_axis
from qagate.web.texts import gettext as _

_WIDTH, _HEIGHT, _HEIGHT_WITHOUT = 960.0, 490.0, 350.0  #: without: no limits, no EWMA
_VALUES = Box(left=64, top=58, right=930, bottom=272)
_EWMA = Box(left=64, top=312, right=930, bottom=412)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plotted:
    """One value of a control chart."""

    at: datetime
    value: float
    note: str = ""  #: what to say of it beside time and value
    href: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Something that was done to scanner or gate."""

    at: datetime
    text: str
    sign: str  #: one or two characters on the flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A threshold the gate decides by."""

    value: float
    text: str


def control(
    values: Sequence[Plotted],
    chart: ControlChart,
    *,
    title: str,
    label: str,
    clock: texts.Clock,
    markers: Sequence[Marker] = (),
    levels: Sequence[Level] = (),
    look: Look = Look.PAGE,
) -> Chart:
    """Draw values (oldest first, one or more) with what their chart says; without limits the values alone.

    label: what the values are, with their unit. levels are drawn where the values' range holds them.
    """
    points: Sequence[ControlPoint | None] = chart.points or [None] * len(values)
    first, last = values[0].at, values[-1].at
    pad = max((last - first).total_seconds() * 0.02, 3600.0)
    low, high = first.timestamp() - pad, last.timestamp() + pad
    x = Scale(low=low, high=high, start=_VALUES.left, end=_VALUES.right)
    y = _value_scale(values, chart)
    paper = Paper(_WIDTH, _HEIGHT if chart.limits else _HEIGHT_WITHOUT, look)
    if look is Look.FILE:
        paper.text("title", 20, 22, title)
    value_axis(paper, _VALUES, y, label)
    _limits(paper, chart, y, levels)
    _markers(paper, [one for one in markers if x.covers(one.at.timestamp())], x, bool(chart.limits))
    places = [(x(one.at.timestamp()), y(one.value)) for one in values]
    paper.path("line", places)
    for one, point, place in zip(values, points, places, strict=True):
        shape, role = _shape(point)
        paper.dot(role, *place, title=_told(one, point, clock), href=one.href, shape=shape)
    if chart.limits:
        _ewma(paper, values, chart, x)
    bottom = _EWMA if chart.limits else _VALUES
    time_axis(paper, bottom, x, first, last, clock)
    legend(paper, _VALUES.left, bottom.bottom + 44, _keys(chart))
    shown = [level.text for level in levels if y.covers(level.value)]
    if shown:
        told = _("thresholds of the gate: %(levels)s", levels=", ".join(shown))
        legend(paper, _VALUES.left, bottom.bottom + 64, [("line", "limit", told)])
    about = _about(values, chart)
    return Chart(
        title=title,
        about=about,
        svg=paper.svg(title, about),
        columns=(_("Time"), label, _("Standard deviations"), _("EWMA"), _("Note")),
        rows=tuple(_row(one, point, clock) for one, point in zip(values, points, strict=True)),
        links=tuple(one.href or None for one in values),
    )


def _value_scale(values: Sequence[Plotted], chart: ControlChart) -> Scale:
    shown = [one.value for one in values]
    if chart.limits:
        shown += chart.limits.at(ACTION_SIGMAS)
    low, high = spread(shown)
    return Scale(low=low, high=high, start=_VALUES.bottom, end=_VALUES.top)


def _limits(paper: Paper, chart: ControlChart, y: Scale, levels: Sequence[Level]) -> None:
    for level in levels:
        if y.covers(level.value):
            paper.line("limit", _VALUES.left, y(level.value), _VALUES.right, y(level.value))
    if chart.limits is None:
        return
    paper.line("centre", _VALUES.left, y(chart.limits.centre), _VALUES.right, y(chart.limits.centre))
    for role, sigmas in (("tolerance", TOLERANCE_SIGMAS), ("action", ACTION_SIGMAS)):
        for value in chart.limits.at(sigmas):
            paper.line(role, _VALUES.left, y(value), _VALUES.right, y(value))


def _markers(paper: Paper, markers: Sequence[Marker], x: Scale, whole: bool) -> None:
    for one in markers:
        place = x(one.at.timestamp())
        paper.line("event", place, _VALUES.top - 8, place, _EWMA.bottom if whole else _VALUES.bottom)
        box = Box(left=place - 10, top=_VALUES.top - 24, right=place + 10, bottom=_VALUES.top - 8)
        paper.rect("flag", box, title=one.text)
        paper.text("flag-text", place, _VALUES.top - 12, one.sign, anchor="middle")


def _ewma(paper: Paper, values: Sequence[Plotted], chart: ControlChart, x: Scale) -> None:
    means = [point.ewma for point in chart.points]
    low, high = spread([bound for one in means for bound in (one.low, one.value, one.high)])
    y = Scale(low=low, high=high, start=_EWMA.bottom, end=_EWMA.top)
    value_axis(paper, _EWMA, y, _("EWMA"), most=3)
    places = [x(one.at.timestamp()) for one in values]
    for bound in ("low", "high"):
        paper.path("action", [(at, y(getattr(one, bound))) for at, one in zip(places, means, strict=True)])
    paper.path("second", [(at, y(one.value)) for at, one in zip(places, means, strict=True)])
    for at, one in zip(places, means, strict=True):
        if one.out:
            paper.dot(
                "mark-action",
                at,
                y(one.value),
                shape="square",
                title=_("EWMA %(v)s", v=texts.number(one.value, 3)),
            )


def _shape(point: ControlPoint | None) -> tuple[str, str]:
    if point is not None and point.action:
        return "square", "mark-action"
    if point is not None and point.tolerance:
        return "diamond", "mark-tolerance"
    return "circle", "mark"


def _keys(chart: ControlChart) -> list[tuple[str, str, str]]:
    if chart.limits is None:
        return []
    return [
        ("line", "centre", _("median")),
        ("line", "tolerance", _("tolerance (2 sd)")),
        ("line", "action", _("action (3 sd)")),
        ("diamond", "mark-tolerance", _("beyond tolerance")),
        ("square", "mark-action", _("beyond action")),
    ]


def _told(one: Plotted, point: ControlPoint | None, clock: texts.Clock) -> str:
    parts = [clock.text(one.at, "short"), texts.number(one.value, 3), one.note]
    if point is not None:
        parts.append(_("%(sd)s sd", sd=texts.number(point.sigmas, 1)))
    return " · ".join(part for part in parts if part)


def _row(one: Plotted, point: ControlPoint | None, clock: texts.Clock) -> tuple[str, ...]:
    sigmas, mean = ("–", "–")
    if point is not None:
        sigmas, mean = texts.number(point.sigmas, 1), texts.number(point.ewma.value, 3)
    return clock.text(one.at, "short"), texts.number(one.value, 3), sigmas, mean, one.note


def _about(values: Sequence[Plotted], chart: ControlChart) -> str:
    count = texts.number(len(values), 0)
    if chart.limits is None:
        return _("%(count)s values; too few, or too much alike, for control limits.", count=count)
    action = sum(point.action for point in chart.points)
    said = _(
        "%(count)s values; usual is %(centre)s with a standard deviation of %(sigma)s; %(action)s beyond the "
        "action limits.",
        count=count,
        centre=texts.number(chart.limits.centre, 3),
        sigma=texts.number(chart.limits.sigma, 3),
        action=texts.number(action, 0),
    )
    drift = _("The moving average is out of its limits now: a drift.") if chart.drifting else ""
    return f"{said} {drift}".strip()
