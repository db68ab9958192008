"""Languages: every text has its German, numbers and times are written as people of the language do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg

from qagate.web import texts

WEB = Path(texts.__file__).parent
BLANK = re.compile(r"%\(\w+\)s")


def written() -> set[str | tuple[str, str]]:
    """Every text of templates and code."""
    with (WEB / "locale" / "babel.cfg").open(encoding="utf-8") as file:
        methods, options = parse_mapping_cfg(file)
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    found = extract_from_dir(str(WEB), methods, options, keywords)
    return {tuple(text) if isinstance(text, list | tuple) else text for _, _, text, _, _ in found if text}


def test_every_text_has_its_german() -> None:
    german, missing = texts.catalogue("de"), []
    for text in written():
        if isinstance(text, str):
            missing += [text] * (not german.get(text))
        else:
            missing += [text[0]] * (not all(german.get((*text, one)) for one in (True, False)))
    assert not missing, f"`make texts`, then translate: {sorted(missing)}"
    assert len(german) > 500


def test_german_fills_in_what_english_does() -> None:
    for english, german in texts.catalogue("de").items():
        source = english if isinstance(english, str) else english[0 if english[2] else 1]
        assert sorted(set(BLANK.findall(source))) == sorted(set(BLANK.findall(german))), source


def test_an_unknown_text_or_language_stays_english() -> None:
    texts.speak("de")
    assert texts.gettext("no such text %(n)s", n=3) == "no such text 3"
    texts.speak("../../etc/passwd")
    assert (texts.language(), texts.gettext("Worklist")) == ("en", "Worklist")


def test_counts_have_their_plural() -> None:
    texts.speak("en")
    said = [texts.ngettext("%(num)s series", "%(num)s series", n) for n in (1, 2)]
    assert said == ["1 series", "2 series"]
    texts.speak("de")
    said = [texts.ngettext("%(num)s series", "%(num)s series", n) for n in (1, 1234)]
    assert said == ["1 Serie", "1.234 Serien"]


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [(0.5, "0.5", "0,5"), (1234.567, "1,234.57", "1.234,57"), (3, "3", "3"), (None, "–", "–"),
     (float("nan"), "–", "–"), (-0.001, "0", "0")],
)  # fmt: skip
def test_numbers(value: float | None, english: str, german: str) -> None:
    texts.speak("en")
    assert texts.number(value) == english
    texts.speak("de")
    assert texts.number(value) == german


def test_times_are_the_sites_and_machines_read_utc() -> None:
    clock, time = texts.Clock("Europe/Berlin"), datetime(2026, 7, 1, 22, 30, 5, tzinfo=UTC)
    texts.speak("de")
    assert clock.when(time) == '<time datetime="2026-07-01T22:30:05.000Z">02.07.2026, 00:30:05</time>'
    assert 'class="ago"' in clock.when(time, ago=True)
    assert clock.when(None) == "–"
