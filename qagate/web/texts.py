"""The words of the pages in the visitor's language, and how numbers and times are written in it.

English texts stand in templates and code; a catalogue locale/LANGUAGE/LC_MESSAGES/qagate.po gives others.
The language of the request at hand is kept in a context variable, so that code needs no parameter for it.
"""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path

from babel.core import Locale, negotiate_locale
from babel.dates import format_datetime
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from markupsafe import Markup, escape

LANGUAGES: Mapping[str, str] = {"en": "English", "de": "Deutsch"}

_HERE = Path(__file__).parent / "locale"
_language: ContextVar[str] = ContextVar("language", default="en")


def language() -> str:
    """The language of the request at hand."""
    return _language.get()


def speak(name: str) -> None:
    """Set the language of the request at hand."""
    _language.set(name if name in LANGUAGES else "en")


def locale() -> Locale:
    """How numbers, days and hours are written in it; English as in Britain: 21 Nov 2026, 19:02:47."""
    return Locale.parse("en_GB" if language() == "en" else language())


def negotiated(accepted: str, default: str) -> str:
    """The best of LANGUAGES for an Accept-Language header."""
    weighed = []
    for part in accepted[:500].split(","):
        name, _, weight = part.strip().partition(";q=")
        try:
            weighed.append((-float(weight or 1), name.replace("-", "_")))
        except ValueError:
            continue
    wanted = [name for _, name in sorted(weighed, key=lambda pair: pair[0]) if name]
    return negotiate_locale(wanted, list(LANGUAGES)) or default


def gettext(message: str, **values: object) -> str:
    """The text in the language of the request, its %(name)s filled in."""
    found = catalogue(language()).get(message) or message
    return found % values if values else found


def ngettext(singular: str, plural: str, count: int, **values: object) -> str:
    """The text for a count; %(num)s is the count."""
    found = catalogue(language()).get((singular, plural, count == 1)) or (singular if count == 1 else plural)
    return found % ({"num": number(count)} | values)


@cache
def catalogue(name: str) -> Mapping[str | tuple[str, str, bool], str]:
    """Every translated text; plurals under (singular, plural, whether one)."""
    path = _HERE / name / "LC_MESSAGES" / "qagate.po"
    if not path.exists():
        return {}
    texts: dict[str | tuple[str, str, bool], str] = {}
    with path.open("rb") as file:
        for message in read_po(file, locale=name):
            if message.fuzzy or not message.id:
                continue
            if isinstance(message.id, str):
                texts[message.id] = str(message.string)
            else:
                one, many = message.id[0], message.id[1]
                texts[one, many, True], texts[one, many, False] = tuple(message.string or ("", ""))[:2]
    return texts


def number(value: float | None, digits: int = 2) -> str:
    """A number as people of the language write it; a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    if isinstance(value, float):
        value = round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    places = "0" if digits == 0 or isinstance(value, int) else "0." + "#" * digits
    return str(format_decimal(value, format="#,##" + places, locale=locale()))


class Clock:
    """Writes times in the site's zone."""

    def __init__(self, zone: str) -> None:
        #: None: this machine's
        self._zone: tzinfo | None = zoneinfo.ZoneInfo(zone) if zone else None

    def local(self, time: datetime) -> datetime:
        """The same time in the site's zone."""
        return time.astimezone(self._zone)

    def zoned(self, time: datetime) -> datetime:
        """A time of the site's zone that was written without it."""
        return time.astimezone() if self._zone is None else time.replace(tzinfo=self._zone)

    def text(self, time: datetime, format: str = "medium") -> str:
        """The time as text, `format` one of Babel's or a pattern."""
        local = self.local(time)
        return str(format_datetime(local, format, tzinfo=local.tzinfo, locale=locale()))

    def when(self, time: datetime | None, *, ago: bool = False) -> Markup:
        """A <time>; with `ago` the script writes how long it is since, and keeps that up to date."""
        if time is None:
            return Markup("–")
        machine = time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = escape(self.text(time))
        if ago:
            return Markup('<time class="ago" datetime="{0}" title="{1}">{1}</time>').format(machine, shown)
        return Markup('<time datetime="{0}">{1}</time>').format(machine, shown)
