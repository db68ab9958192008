"""Bars as SVG: verdicts a week with the truth of the alerts, and repeats by reason."""

from __future__ import annotations

from collections.abc import Sequence

from qagate.gate.calibration import wilson
from qagate.store.outcomes import Repeats, Week
from qagate.web import texts, words
from qagate.web.charts import Box, Chart, Look, Paper, Scale, legend, value_axis
from qagate.web.texts import gettext as _
from qagate.web.verdicts import look as look_of

_WIDTH = 960.0
_PLOT = Box(left=64, top=48, right=930, bottom=250)
_SHARE = Box(left=64, top=298, right=930, bottom=398)
_STACK = (
    ("REPEAT", "bar-repeat"),
    ("REVIEW", "bar-review"),
    ("PASS", "bar-pass"),
    ("NOT_ASSESSED", "bar-none"),
)
_MOST_LABELS = 14
_ROW = 34.0


def weekly(weeks: Sequence[Week], *, title: str, look: Look = Look.PAGE) -> Chart:
    """Series by verdict, stacked a week (one or more), and below what share of the alerts was right."""
    paper = Paper(_WIDTH, 450, look)
    if look is Look.FILE:
        paper.text("title", 20, 22, title)
    most = max(sum(week.verdicts.values()) for week in weeks) or 1
    y = Scale(low=0, high=most * 1.05, start=_PLOT.bottom, end=_PLOT.top)
    value_axis(paper, _PLOT, y, _("Series a week"))
    share = Scale(low=0, high=1, start=_SHARE.bottom, end=_SHARE.top)
    value_axis(paper, _SHARE, share, _("Share of alerts that were right, with its 95 % interval"), most=2)
    step = (_PLOT.right - _PLOT.left) / len(weeks)
    half = min(step * 0.36, 26.0)
    every = -(-len(weeks) // _MOST_LABELS)
    middles = [_PLOT.left + (number + 0.5) * step for number in range(len(weeks))]
    for number, (week, x) in enumerate(zip(weeks, middles, strict=True)):
        _stack(paper, week, x, half, y)
        _truth(paper, week, x, share)
        if number % every == 0:
            paper.text("note", x, _SHARE.bottom + 18, words.day(week.monday), anchor="middle")
    paper.line("axis", _PLOT.left, _PLOT.bottom, _PLOT.right, _PLOT.bottom)
    paper.line("axis", _SHARE.left, _SHARE.bottom, _SHARE.right, _SHARE.bottom)
    keys = [("area", role, look_of(verdict).word) for verdict, role in _STACK]
    legend(paper, _PLOT.left, 440, [*keys, ("circle", "mark-second", _("right alerts"))])
    about = _about(weeks)
    return Chart(
        title=title,
        about=about,
        svg=paper.svg(title, about),
        columns=(
            *(_("Week of"), _("Number of series"), _("Alerts"), _("Alert rate")),
            *(_("Judged right"), _("Judged wrong"), _("Right (PPV)"), _("Missed")),
        ),
        rows=tuple(_row(week) for week in weeks),
    )


def _stack(paper: Paper, week: Week, x: float, half: float, y: Scale) -> None:
    below = 0
    for verdict, role in _STACK:
        count = week.verdicts.get(verdict, 0)
        if count:
            box = Box(left=x - half, top=y(below + count), right=x + half, bottom=y(below))
            paper.rect(
                role, box, f"{words.day(week.monday)} · {look_of(verdict).word}: {texts.number(count)}"
            )
        below += count


def _truth(paper: Paper, week: Week, x: float, share: Scale) -> None:
    judged = week.right + week.wrong
    if not judged:
        return
    low, high = wilson(week.right, judged)
    paper.line("whisker", x, share(low), x, share(high))
    said = _("%(right)s of %(judged)s judged alerts were right", right=week.right, judged=judged)
    paper.dot("mark-second", x, share(week.right / judged), title=f"{words.day(week.monday)} · {said}")


def _row(week: Week) -> tuple[str, ...]:
    judged = week.right + week.wrong
    return (
        words.day(week.monday),
        texts.number(week.count, 0),
        texts.number(week.alerts, 0),
        words.percent(week.alerts, week.count),
        texts.number(week.right, 0),
        texts.number(week.wrong, 0),
        words.percent(week.right, judged),
        texts.number(week.missed, 0),
    )


def _about(weeks: Sequence[Week]) -> str:
    series, alerts = sum(week.count for week in weeks), sum(week.alerts for week in weeks)
    right, wrong = sum(week.right for week in weeks), sum(week.wrong for week in weeks)
    said = _(
        "%(alerts)s alerts among %(series)s assessed series: %(rate)s.",
        alerts=texts.number(alerts, 0),
        series=texts.number(series, 0),
        rate=words.percent(alerts, series),
    )
    if not right + wrong:
        return f"{said} " + _("Nobody has judged an alert yet; the console's Agree and Disagree do.")
    return f"{said} " + _(
        "Of %(judged)s that people judged, %(share)s were right.",
        judged=texts.number(right + wrong, 0),
        share=words.percent(right, right + wrong),
    )


def reasons(repeats: Repeats, *, title: str, look: Look = Look.PAGE) -> Chart:
    """Repeats by reason (one or more), the most frequent first: suggested by the gate, and done by people."""
    shown = repeats.reasons
    paper = Paper(_WIDTH, 60 + _ROW * len(shown) + 40, look)
    if look is Look.FILE:
        paper.text("title", 20, 22, title)
    most = max(max(one.suggested, one.repeated) for one in shown) or 1
    x = Scale(low=0, high=most, start=230, end=760)
    for number, one in enumerate(shown):
        top = 40 + _ROW * number
        word = words.artefact(one.artefact)
        paper.text("text", 218, top + 19, word, anchor="end")
        for offset, role, count, kind in (
            (3, "bar", one.suggested, _("suggested")),
            (16, "bar-second", one.repeated, _("repeated")),
        ):
            box = Box(left=230, top=top + offset, right=x(count), bottom=top + offset + 11)
            paper.rect(role, box, f"{word} · {kind}: {texts.number(count)}")
            told = f"{texts.number(count, 0)} ({words.percent(count, repeats.series)})"
            paper.text("note", x(count) + 6, top + offset + 10, told)
    paper.line("axis", 230, 38, 230, 42 + _ROW * len(shown))
    keys = [("area", "bar", _("suggested by the gate")), ("area", "bar-second", _("repeated by people"))]
    legend(paper, 230, 62 + _ROW * len(shown), keys)
    suggested, repeated = sum(one.suggested for one in shown), sum(one.repeated for one in shown)
    about = _(
        "Of %(series)s assessed series the gate suggested to repeat %(suggested)s; people named %(repeated)s "
        "reasons for repeats they made.",
        series=texts.number(repeats.series, 0),
        suggested=texts.number(suggested, 0),
        repeated=texts.number(repeated, 0),
    )
    return Chart(
        title=title,
        about=about,
        svg=paper.svg(title, about),
        columns=(_("Reason"), _("Suggested"), _("Rate"), _("Repeated"), _("Rate")),
        rows=tuple(
            (
                words.artefact(one.artefact),
                texts.number(one.suggested, 0),
                words.percent(one.suggested, repeats.series),
                texts.number(one.repeated, 0),
                words.percent(one.repeated, repeats.series),
            )
            for one in shown
        ),
    )
