"""What every chart is drawn with: paper, scales, ticks and the looks of lines and marks.

Charts are pure functions to SVG. On a page their elements carry classes, coloured by static/charts.css for
light and dark; as a file they carry presentation attributes and stand alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from html import escape

from markupsafe import Markup

from qagate.web import texts

FONT = "system-ui, 'DejaVu Sans', Aileron, sans-serif"


class Look(Enum):
    """Where a chart is shown."""

    PAGE = "page"  #: coloured by the page's style sheet
    FILE = "file"  #: colours of its own, on white


_INK, _FAINT, _GRID, _BLUE, _AMBER, _RED, _GREEN, _VIOLET = (
    *("#1b2530", "#5a6673", "#d9dee3", "#0b62b8", "#a05a00", "#b3261e", "#1c7c3c", "#6b3fa0"),
)  # fmt: skip


def _stroke(colour: str, width: float, dash: str = "") -> dict[str, str]:
    drawn = {"fill": "none", "stroke": colour, "stroke-width": f"{width:g}"}
    return drawn | ({"stroke-dasharray": dash} if dash else {})


#: How each role looks in a file; static/charts.css has a class c-ROLE for each.
STYLES: Mapping[str, Mapping[str, str]] = {
    "back": {"fill": "#ffffff"},
    "text": {"fill": _INK, "font-size": "13"},
    "title": {"fill": _INK, "font-size": "16", "font-weight": "600"},
    "note": {
        "fill": _FAINT,
        "font-size": "12",
        "stroke": "#ffffff",
        "stroke-width": "3",
        "paint-order": "stroke",
    },
    "grid": _stroke(_GRID, 1),
    "axis": _stroke(_FAINT, 1),
    "line": _stroke(_BLUE, 1.5),
    "second": _stroke(_VIOLET, 2),
    "centre": _stroke(_FAINT, 1.5),
    "tolerance": _stroke(_AMBER, 1.25, "2 4"),
    "action": _stroke(_RED, 1.5, "8 4"),
    "limit": _stroke(_GREEN, 1.25, "10 3 2 3"),
    "event": _stroke(_INK, 1.25, "1 3"),
    "flag": {"fill": _INK},
    "flag-text": {"fill": "#ffffff", "font-size": "11", "font-weight": "600"},
    "mark": {"fill": _BLUE, "stroke": "#ffffff", "stroke-width": "1"},
    "mark-second": {"fill": _VIOLET, "stroke": "#ffffff", "stroke-width": "1"},
    "mark-tolerance": {"fill": _AMBER, "stroke": "#ffffff", "stroke-width": "1"},
    "mark-action": {"fill": _RED, "stroke": "#ffffff", "stroke-width": "1"},
    "band": {"fill": _BLUE, "fill-opacity": "0.15"},
    "whisker": _stroke(_VIOLET, 1.5),
    "bar-pass": {"fill": "#8fc7a0"},
    "bar-review": {"fill": "#e0a341"},
    "bar-repeat": {"fill": _RED},
    "bar-none": {"fill": "#b7bfc7"},
    "bar": {"fill": _BLUE},
    "bar-second": {"fill": _VIOLET},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart, with what it shows as a table for those who do not see it."""

    title: str
    about: str  #: one or two sentences that say what it shows
    svg: Markup
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    links: tuple[str | None, ...] = ()  #: where each row leads to, if anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A panel of the paper in user units; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From values to places on the paper, linear."""

    low: float
    high: float
    start: float  #: place of `low`
    end: float  #: place of `high`

    def __call__(self, value: float) -> float:
        """The place of a value; beyond the ends that of the nearer end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def covers(self, value: float) -> bool:
        """Whether it lies between the ends."""
        return self.low <= value <= self.high


def spread(values: Sequence[float], *, room: float = 0.08) -> tuple[float, float]:
    """The ends of an axis that shows every value, with some room."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    gap = (high - low) * room or max(abs(high), 1.0) * room
    return low - gap, high + gap


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`: 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def day_ticks(first: datetime, last: datetime, most: int = 8) -> list[datetime]:
    """Midnights (in the times' own zone) between two times, evenly apart."""
    days = max((last - first) / timedelta(days=1), 1e-9)
    apart = next((step for step in (1, 2, 7, 14, 28, 56, 91, 182, 364) if days / step <= most), 728)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    found = []
    while midnight <= last:
        found.append(midnight)
        midnight += timedelta(days=apart)
    return found


@dataclass(slots=True)
class Paper:
    """Collects the elements of one SVG. Whatever text it gets is escaped."""

    width: float
    height: float
    look: Look
    _parts: list[str] = field(default_factory=list)

    def line(self, role: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """A straight line."""
        self._add("line", role, f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"')

    def path(self, role: str, points: Sequence[tuple[float, float]], *, close: bool = False) -> None:
        """A line through the points; `close` makes it an area."""
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._add("polygon" if close else "polyline", role, f'points="{steps}"')

    def rect(self, role: str, box: Box, title: str = "") -> None:
        """A rectangle."""
        size = f'width="{max(box.right - box.left, 0):.1f}" height="{max(box.bottom - box.top, 0):.1f}"'
        self._add("rect", role, f'x="{box.left:.1f}" y="{box.top:.1f}" {size}', title=title)

    def dot(
        self, role: str, x: float, y: float, *, title: str, href: str = "", shape: str = "circle"
    ) -> None:
        """A mark with its value on hover; static/charts.js follows its link on a click, the table for all.

        shape: "circle", "diamond" or "square", so that nothing is told by colour alone.
        """
        if shape == "circle":
            name, where = "circle", f'cx="{x:.1f}" cy="{y:.1f}" r="3.5"'
        else:
            r = 5.5 if shape == "diamond" else 4.5
            corners = (
                ((0, -r), (r, 0), (0, r), (-r, 0))
                if shape == "diamond"
                else ((-r, -r), (r, -r), (r, r), (-r, r))
            )
            steps = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
            name, where = "polygon", f'points="{steps}"'
        if href and self.look is Look.PAGE:
            where += f' data-href="{clean(href)}"'
        self._add(name, role, where, title=title)

    def text(self, role: str, x: float, y: float, words: str, *, anchor: str = "start") -> None:
        """One line of text; anchor: start, middle or end."""
        where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self._parts.append(f"<text {where} {self._style(role)}>{clean(words)}</text>")

    def svg(self, title: str, about: str) -> Markup:
        """The whole picture, with its title and description for those who do not see it."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        if self.look is Look.PAGE:
            opening = f'<svg class="chart" {size} role="img" aria-label="{clean(f"{title}. {about}")}">'
            return Markup(opening + "".join(self._parts) + "</svg>")
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} width="{self.width:g}" height="{self.height:g}" '
            f'role="img" font-family="{FONT}">'
        )
        told = f"<title>{clean(title)}</title><desc>{clean(about)}</desc>"
        back = f'<rect width="{self.width:g}" height="{self.height:g}" fill="#ffffff"/>'
        return Markup(opening + told + back + "".join(self._parts) + "</svg>")

    def _add(self, name: str, role: str, where: str, *, title: str = "") -> None:
        inside = f"><title>{clean(title)}</title></{name}>" if title else "/>"
        self._parts.append(f"<{name} {where} {self._style(role)}{inside}")

    def _style(self, role: str) -> str:
        if self.look is Look.PAGE:
            return f'class="c-{role}"'
        return " ".join(f'{name}="{value}"' for name, value in STYLES[role].items())


def clean(words: str) -> str:
    """Text as XML: escaped, without the characters XML cannot hold."""
    return escape("".join(c for c in words if c.isprintable()))


def value_axis(paper: Paper, box: Box, scale: Scale, label: str, *, most: int = 5) -> None:
    """Grid lines with their values, and what they are."""
    for value in ticks(scale.low, scale.high, most):
        paper.line("grid", box.left, scale(value), box.right, scale(value))
        paper.text("note", box.left - 6, scale(value) + 4, texts.number(value, 4), anchor="end")
    paper.text("note", box.left - 44, box.top - 10, label)


def time_axis(
    paper: Paper, box: Box, scale: Scale, first: datetime, last: datetime, clock: texts.Clock
) -> None:
    """Days below a panel."""
    paper.line("axis", box.left, box.bottom, box.right, box.bottom)
    for day in day_ticks(clock.local(first), clock.local(last)):
        x = scale(day.timestamp())
        paper.line("axis", x, box.bottom, x, box.bottom + 5)
        paper.text("note", x, box.bottom + 19, clock.text(day, "d MMM"), anchor="middle")


def legend(paper: Paper, x: float, y: float, entries: Sequence[tuple[str, str, str]]) -> None:
    """Keys side by side: (kind, role, words), kind "line", "area" or a shape of `Paper.dot`."""
    for kind, role, words in entries:
        if kind == "line":
            paper.line(role, x, y - 4, x + 22, y - 4)
        elif kind == "area":
            paper.rect(role, Box(left=x + 4, top=y - 10, right=x + 18, bottom=y + 1))
        else:
            paper.dot(role, x + 11, y - 4, title=words, shape=kind)
        paper.text("note", x + 28, y, words)
        x += 44 + 6.6 * len(words)
