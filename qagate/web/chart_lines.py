"""Small lines and clouds as SVG: a curve over slices, a sparkline, dose against quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qagate.web import texts
from qagate.web.charts import Box, Chart, Look, Paper, Scale, spread, ticks, value_axis
from qagate.web.texts import gettext as _

_WIDTH = 960.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePoint:
    """One slice of a curve."""

    number: int  #: 1-based place in the stack
    quality: float  #: 0 to 1
    href: str = ""


def slice_curve(
    points: Sequence[SlicePoint],
    *,
    title: str,
    review_below: float | None = None,
    repeat_below: float | None = None,
    look: Look = Look.PAGE,
) -> Chart:
    """Quality over a stack's scored slices (one or more, in order), with the thresholds that decided."""
    paper, box = Paper(_WIDTH, 240, look), Box(left=64, top=46, right=930, bottom=200)
    if look is Look.FILE:
        paper.text("title", 20, 18, title)
    y = Scale(low=0, high=1, start=box.bottom, end=box.top)
    first, last = points[0].number, points[-1].number
    x = Scale(low=first - 0.5, high=last + 0.5, start=box.left, end=box.right)
    value_axis(paper, box, y, _("Quality"))
    for role, limit, words in (
        ("tolerance", review_below, _("look below")),
        ("action", repeat_below, _("repeat below")),
    ):
        if limit is not None:
            paper.line(role, box.left, y(limit), box.right, y(limit))
            paper.text("note", box.right - 4, y(limit) - 4, f"{words} {texts.number(limit)}", anchor="end")
    for number in ticks(first, max(last, first + 1), 12):
        if number == int(number) and number <= last:
            paper.text("note", x(number), box.bottom + 18, str(int(number)), anchor="middle")
    paper.text("note", box.right, box.bottom + 34, _("Slice"), anchor="end")
    paper.line("axis", box.left, box.bottom, box.right, box.bottom)
    paper.path("line", [(x(one.number), y(one.quality)) for one in points])
    for one in points:
        bad = repeat_below is not None and one.quality < repeat_below
        doubtful = review_below is not None and one.quality < review_below
        shape, role = (
            ("square", "mark-action")
            if bad
            else ("diamond", "mark-tolerance")
            if doubtful
            else ("circle", "mark")
        )
        told = _("slice %(n)s: quality %(q)s", n=one.number, q=texts.number(one.quality))
        paper.dot(role, x(one.number), y(one.quality), title=told, href=one.href, shape=shape)
    worst = min(points, key=lambda one: one.quality)
    about = _(
        "%(count)s scored slices; the worst is slice %(n)s with quality %(q)s.",
        count=texts.number(len(points), 0),
        n=worst.number,
        q=texts.number(worst.quality),
    )
    return Chart(
        title=title,
        about=about,
        svg=paper.svg(title, about),
        columns=(_("Slice"), _("Quality")),
        rows=tuple((str(one.number), texts.number(one.quality, 3)) for one in points),
        links=tuple(one.href or None for one in points),
    )


def sparkline(values: Sequence[float], *, usual: tuple[float, float] | None, words: str) -> Markup:
    """A word-sized line of qualities, oldest first, over the band that is usual; `words` tells of it."""
    if not values:
        return Markup("–")
    paper = Paper(160, 36, Look.PAGE)
    low, high = spread([*values, *(usual or ())])
    y = Scale(low=low, high=high, start=33, end=3)
    x = Scale(low=0, high=max(len(values) - 1, 1), start=3, end=152)
    if usual is not None:
        paper.rect("band", Box(left=0, top=y(usual[1]), right=160, bottom=y(usual[0])))
    paper.path("line", [(x(place), y(value)) for place, value in enumerate(values)])
    outside = usual is not None and not usual[0] <= values[-1] <= usual[1]
    paper.dot(
        "mark-action" if outside else "mark",
        x(len(values) - 1),
        y(values[-1]),
        title=texts.number(values[-1]),
        shape="square" if outside else "circle",
    )
    return paper.svg(words, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DosePoint:
    """One CT series."""

    dose: float  #: CTDIvol, mGy
    value: float
    note: str = ""
    href: str = ""


def dose(points: Sequence[DosePoint], *, title: str, label: str, look: Look = Look.PAGE) -> Chart:
    """A figure against dose (one series or more), with the median of each fifth of the series by dose."""
    paper, box = Paper(_WIDTH, 400, look), Box(left=64, top=54, right=930, bottom=340)
    if look is Look.FILE:
        paper.text("title", 20, 22, title)
    x = Scale(low=0, high=max(one.dose for one in points) * 1.05, start=box.left, end=box.right)
    low, high = spread([one.value for one in points])
    y = Scale(low=low, high=high, start=box.bottom, end=box.top)
    value_axis(paper, box, y, label)
    paper.line("axis", box.left, box.bottom, box.right, box.bottom)
    for value in ticks(0, x.high, 8):
        paper.line("axis", x(value), box.bottom, x(value), box.bottom + 5)
        paper.text("note", x(value), box.bottom + 19, texts.number(value, 4), anchor="middle")
    paper.text("note", box.right, box.bottom + 38, _("CTDIvol in mGy"), anchor="end")
    for one in points:
        told = f"{texts.number(one.dose)} mGy · {texts.number(one.value, 3)}"
        paper.dot(
            "mark", x(one.dose), y(one.value), title=" · ".join(filter(None, (told, one.note))), href=one.href
        )
    fifths = _fifths(points)
    if len(fifths) > 1:
        paper.path("second", [(x(at), y(value)) for at, value, _number in fifths])
    for at, value, number in fifths:
        told = _("median of %(n)s series", n=number) + f": {texts.number(at)} mGy · {texts.number(value, 3)}"
        paper.dot("mark-second", x(at), y(value), title=told, shape="diamond")
    about = _(
        "%(count)s series; the diamonds are the medians of each fifth of them by dose.",
        count=texts.number(len(points), 0),
    )
    return Chart(
        title=title,
        about=about,
        svg=paper.svg(title, about),
        columns=(_("CTDIvol in mGy"), label, _("Note")),
        rows=tuple((texts.number(one.dose), texts.number(one.value, 3), one.note) for one in points),
        links=tuple(one.href or None for one in points),
    )


def _fifths(points: Sequence[DosePoint]) -> list[tuple[float, float, int]]:
    """Median dose, median value and number of each fifth; one fifth alone while the points are few."""
    ordered = sorted(points, key=lambda one: one.dose)
    parts = 5 if len(ordered) >= 25 else 1
    found = []
    for part in range(parts):
        some = ordered[part * len(ordered) // parts : (part + 1) * len(ordered) // parts]
        values = sorted(one.value for one in some)
        found.append((some[len(some) // 2].dose, values[len(values) // 2], len(some)))
    return found
