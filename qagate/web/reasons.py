"""A decision's reasons in the visitor's language. They are kept as English sentences.

A sentence that no pattern knows (it may come from a newer gate) is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from qagate.web.texts import gettext as _
from qagate.web.words import artefact, figure

_DASH = "\u2060–\u2060"  #: of a range of slices, which no line break parts
_Say = Callable[[re.Match[str]], str]
_QUALITY = re.compile(r"quality [\d.]+(?= |$)")
_MEASURE = re.compile(r"(?P<name>[a-z_]+) (?P<value>\S+) is (?P<side>above|below) (?P<limit>\S+)")
_WHERE = re.compile(r"(?P<what>.+), (?P<word>slices?) (?P<where>\d[\d, -]*)")


def telling(reasons: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The reason that explains most, and the others.

    What was seen says more than a measure beyond its limit, and that more than the quality below its own.
    """
    ranked = sorted(reasons, key=lambda one: 2 * bool(_QUALITY.match(one)) + bool(_MEASURE.fullmatch(one)))
    first = next(iter(ranked), "")
    return first, tuple(reason for reason in reasons if reason != first)


def sentence(reason: str) -> str:
    """A reason in the visitor's language, with a capital at its beginning."""
    said = plain(reason)
    return said[:1].upper() + said[1:]


def plain(reason: str) -> str:
    """A reason in the visitor's language."""
    placed = _WHERE.fullmatch(reason)
    if placed:
        where = placed["where"].replace("-", _DASH)
        word = _("slices %(where)s", where=where)
        if placed["word"] == "slice":
            word = _("slice %(where)s", where=where)
        return f"{plain(placed['what'])}, {word}"
    for pattern, say in _PATTERNS:
        found = pattern.fullmatch(reason)
        if found:
            return say(found)
    return reason


def _by_limit(of: re.Match[str]) -> str:
    advice = {"repeat suggested": _("repeat suggested"), "please look": _("please look")}[of["advice"]]
    return _("quality %(q)s is below %(limit)s: %(advice)s", q=of["q"], limit=of["limit"], advice=advice)


def _by_usual(of: re.Match[str]) -> str:
    if of["side"] == "below":
        return _(
            "quality %(q)s, clearly below the usual %(usual)s of this protocol", q=of["q"], usual=of["u"]
        )
    return _("quality %(q)s, above the usual %(usual)s of this protocol", q=of["q"], usual=of["u"])


def _as_usual(of: re.Match[str]) -> str:
    return _("quality %(q)s, usual for this protocol: %(usual)s", q=of["q"], usual=of["u"])


def _by_measure(of: re.Match[str]) -> str:
    if of["side"] == "above":
        return _("%(name)s %(value)s is above %(limit)s", **_parts(of))
    return _("%(name)s %(value)s is below %(limit)s", **_parts(of))


def _parts(of: re.Match[str]) -> dict[str, str]:
    return {"name": figure(of["name"]), "value": of["value"], "limit": of["limit"]}


def _ghosts(of: re.Match[str]) -> str:
    along = _("ghosting along columns") if of["axis"] == "columns" else _("ghosting along rows")
    known = _("phase encoding")
    return f"{along} ({known})" if of["known"] else along


def _missing(of: re.Match[str]) -> str:
    if of["count"] == "1":
        return _("1 slice is missing after slice %(after)s", after=of["after"])
    return _("%(n)s slices are missing after slice %(after)s", n=of["count"], after=of["after"])


_PATTERNS: tuple[tuple[re.Pattern[str], _Say], ...] = tuple(
    (re.compile(pattern), say)
    for pattern, say in (
        (r"quality (?P<q>[\d.]+)", lambda of: _("quality %(q)s", q=of["q"])),
        (
            r"quality (?P<q>[\d.]+) is below (?P<limit>[\d.]+): (?P<advice>repeat suggested|please look)",
            _by_limit,
        ),
        (r"quality (?P<q>\S+) is \S+ MADs (?P<side>\w+) the usual (?P<u>\S+) of this protocol", _as_usual),
        (
            r"quality (?P<q>\S+) is \S+ MADs (?P<side>\w+) the usual (?P<u>\S+) of this protocol: .+",
            _by_usual,
        ),
        (_MEASURE.pattern, _by_measure),
        (r"high noise \((?P<v>.+) HU\)", lambda of: _("high noise (%(v)s HU)", v=of["v"])),
        (
            r"low signal-to-noise ratio \((?P<v>.+)\)",
            lambda of: _("low signal-to-noise ratio (%(v)s)", v=of["v"]),
        ),
        (r"blurred edges", lambda _of: _("blurred edges")),
        (r"uneven brightness", lambda _of: _("uneven brightness")),
        (
            r"intensities clipped at the upper end \((?P<v>.+) of the body\)",
            lambda of: _("intensities clipped at the upper end (%(v)s of the body)", v=of["v"]),
        ),
        (
            r"anatomy cut off at the edge of the field of view",
            lambda _of: _("anatomy cut off at the edge of the field of view"),
        ),
        (r"ghosting along (?P<axis>columns|rows)(?P<known> \(phase encoding\))?", _ghosts),
        (r"(?P<count>\d+) slices? (is|are) missing after slice (?P<after>[\d, ]+)", _missing),
        (
            r"looks like (?P<what>.+), (?P<n>\d+) of (?P<all>\d+) slices looked at",
            lambda of: _(
                "looks like %(what)s, %(n)s of %(all)s slices looked at",
                what=artefact(of["what"]),
                n=of["n"],
                all=of["all"],
            ),
        ),
        (
            r"(the series is )?a localiser( \((?P<why>.+)\))?",
            lambda of: _("the series is a localiser") + (f" ({of['why']})" if of["why"] else ""),
        ),
        (r"the series has no slice to score", lambda _of: _("the series has no slice to score")),
        (
            r"(?P<n>\d+) of (?P<all>\d+) scored slices look like nothing the model was trained on",
            lambda of: _(
                "%(n)s of %(all)s scored slices look like nothing the model was trained on",
                n=of["n"],
                all=of["all"],
            ),
        ),
        (
            r"no rule of the decision table fits this series",
            lambda _of: _("no rule of the decision table fits this series"),
        ),
        (r"the model gave no usable quality", lambda _of: _("the model gave no usable quality")),
    )
)
