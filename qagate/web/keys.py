"""The keys of every page, for the help page. A page that listens to a key names it here."""

from __future__ import annotations


def page_keys() -> list[tuple[str, list[tuple[str, str]]]]:
    """(page, [(keys, what they do)]) in the visitor's language; keys pressed in turn have a space between."""
    return []
