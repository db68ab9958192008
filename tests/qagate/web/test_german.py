"""The German catalogue: every text of pages and code is in it, with the same places to fill."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

import qagate.web
from qagate.web import texts

WEB = Path(qagate.web.__file__).parent
PLACES = re.compile(r"%\((\w+)\)s")


def _texts() -> set[str | tuple[str, ...]]:
    """What `make texts` would gather."""
    with (WEB / "locale" / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    found = extract_from_dir(str(WEB), method_map=methods, options_map=options, keywords=keywords)
    return {message for _file, _line, message, _comments, _context in found}


def _catalogue() -> dict[str | tuple[str, ...], tuple[str, ...]]:
    with (WEB / "locale" / "de" / "LC_MESSAGES" / "qagate.po").open("rb") as file:
        return {
            (one.id if isinstance(one.id, str) else tuple(one.id)): (
                (one.string,) if isinstance(one.string, str) else tuple(one.string)
            )
            for one in read_po(file, locale="de")
            if one.id and not one.fuzzy
        }


def test_every_text_has_its_german() -> None:
    there = {text for text, german in _catalogue().items() if all(german)}
    missing = {text for text in _texts() if text} - there
    assert not missing, "run `make texts`, then translate these in the catalogue"
    assert len(there) > 500


def test_every_place_is_filled_in_german_too() -> None:
    for text, german in _catalogue().items():
        english = (text,) if isinstance(text, str) else text
        for one, said in zip(german, english, strict=True):
            assert set(PLACES.findall(one)) == set(PLACES.findall(said)), one
            assert one.count("%(") == len(PLACES.findall(one)) and one.strip() == one


@pytest.mark.parametrize(("count", "said"), [(1, "1 Serie"), (2, "2 Serien"), (1000, "1.000 Serien")])
def test_counts_speak_german(count: int, said: str) -> None:
    texts.speak("de")
    try:
        assert texts.ngettext("%(num)s series", "%(num)s series", count) == said
        assert texts.number(0.5) == "0,5" and texts.gettext("Trends") == "Verlauf"
    finally:
        texts.speak("en")
