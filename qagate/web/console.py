"""The console: the last series of a scanner as tiles, made to be read across the room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from qagate.assessment import Verdict
from qagate.store.console import Console, Tile
from qagate.store.notices import Notices
from qagate.web.acts import act_word, buttons, pressed
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _
from qagate.web.verdicts import Look

router = Router()


@router.get("/console", rule=Role.VIEWER)
def console(request: Request, site: Here, visitor: Visitor, station: str | None = None) -> Response:
    """The tiles of one scanner, or of all; the script keeps them true."""
    stations = Console(site.store).stations()
    return page(
        request,
        "console.html",
        stations=stations,
        newest=Notices(site.store).newest(),
        **_shown(site, visitor, station),
    )


@router.get("/console/tiles", rule=Role.VIEWER)
def tiles(request: Request, site: Here, visitor: Visitor, station: str | None = None) -> Response:
    """The changing part of the page alone."""
    return page(request, "console_tiles.html", **_shown(site, visitor, station))


def _shown(site: Site, visitor: Visitor, station: str | None) -> dict[str, Any]:
    found = Console(site.store).tiles(station)
    return {
        "station": station,
        "tiles": found,
        "attention": Notices(site.store).attention(),
        "buttons": buttons(),
        "pressed": {tile.series.series_id: pressed(tile.series, visitor.name) for tile in found},
        "telling": telling,
        "picture": picture,
        "act_word": act_word,
        "failed_look": failed_look,
        "sentence": sentence,
    }


def telling(reasons: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The reason that explains most, and the others: what was seen says more than a number below another."""
    seen = [reason for reason in reasons if not reason.startswith("quality ")]
    first = next(iter(seen or reasons), "")
    return first, tuple(reason for reason in reasons if reason != first)


def picture(tile: Tile) -> str | None:
    """Address of the worst slice's picture; None when there is none or it would tell nothing."""
    if tile.worst is None or tile.series.verdict is Verdict.NOT_ASSESSED:
        return None
    return f"/series/{tile.series.series_instance_uid}/worst.jpg?revision={tile.series.judged_revision}"


def failed_look() -> Look:
    """How a series looks that the gate gave up."""
    return Look("FAILED", _("Failed"), "warning", "verdict-none")


def sentence(text: str) -> str:
    """A reason with a capital at its beginning."""
    return text[:1].upper() + text[1:]
