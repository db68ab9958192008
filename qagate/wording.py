"""Text from outside made fit for one line of a terminal, a log or a sentence."""

from __future__ import annotations

MOST = 1024  #: characters of one text; a longer one is cut


def one_line(text: str, most: int = MOST) -> str:
    """The text without control characters, escape sequences and marks that turn the writing direction."""
    kept = "".join(one if one.isprintable() else " " for one in text[: 4 * most])
    return " ".join(kept.split())[:most]


def lines(text: str) -> str:
    """The same of a text of several lines, which stay lines."""
    return "\n".join("".join(one for one in line if one.isprintable()) for line in text.split("\n"))
