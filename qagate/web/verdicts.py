"""How verdicts, states and icons look everywhere: a word, an icon and a colour, never the colour alone."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from qagate.assessment import Verdict
from qagate.web.texts import gettext as _


@dataclass(frozen=True, slots=True)
class Look:
    """What people see of a verdict."""

    key: str  #: the verdict's name, or "" while there is none
    word: str  #: one word or two, in the visitor's language
    icon: str  #: symbol of static/icons.svg
    css: str  #: class that gives the colour


def look(verdict: Verdict | str | None) -> Look:
    """How a verdict looks; None: not decided yet."""
    key = verdict.value if isinstance(verdict, Verdict) else verdict or ""
    return {
        "PASS": Look("PASS", _("Good"), "check-circle", "verdict-pass"),
        "REVIEW": Look("REVIEW", _("Look"), "eye", "verdict-review"),
        "REPEAT": Look("REPEAT", _("Repeat"), "loop-arrow", "verdict-repeat"),
        "NOT_ASSESSED": Look("NOT_ASSESSED", _("Not assessed"), "dash-circle", "verdict-none"),
    }.get(key) or Look("", _("Working"), "hourglass", "verdict-working")


def icon(name: str, title: str = "") -> Markup:
    """A symbol of static/icons.svg; with a title it speaks for itself, without it is decoration."""
    about = Markup('role="img" aria-label="{}"').format(title) if title else Markup('aria-hidden="true"')
    return Markup(
        '<svg class="icon" {} focusable="false"><use href="/static/icons.svg#{}"></use></svg>'
    ).format(about, name)


def verdict(value: Verdict | str | None, *, provisional: bool = False) -> Markup:
    """A verdict as a badge."""
    seen = look(value)
    note = (
        Markup(' <span class="provisional">{}</span>').format(_("provisional")) if provisional else Markup()
    )
    return Markup('<span class="verdict {}">{} <span class="word">{}</span>{}</span>').format(
        seen.css, icon(seen.icon), seen.word, note
    )


def state(name: str) -> str:
    """A series' state in the visitor's language."""
    return {
        "RECEIVING": _("Receiving"),
        "COMPLETE": _("Waiting"),
        "SCORING": _("Scoring"),
        "DECIDED": _("Decided"),
        "DELIVERED": _("Delivered"),
        "FAILED": _("Failed"),
        "HELD": _("Held"),
        "PENDING": _("Waiting"),
        "SENDING": _("Sending"),
        "SENT": _("Sent"),
        "DEAD": _("Given up"),
    }.get(name, name)
