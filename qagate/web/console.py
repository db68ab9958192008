"""The console: the last series of a scanner as tiles, made to be read across the room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from babel.numbers import format_decimal
from fastapi import Request
from fastapi.responses import Response

from qagate.assessment import Verdict
from qagate.series import State
from qagate.store.console import Console, Tile
from qagate.store.notices import Notices
from qagate.web.acts import buttons, heard, pressed
from qagate.web.pages import page
from qagate.web.reasons import sentence, telling
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _
from qagate.web.texts import locale
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
        "tiles": arranged(found),
        "attention": Notices(site.store).attention(),
        "buttons": buttons(),
        "pressed": {tile.series.series_id: pressed(tile.series, visitor.name) for tile in found},
        "telling": telling,
        "picture": picture,
        "heard": heard,
        "failed_look": failed_look,
        "sentence": sentence,
        "share": share,
        "unanswered": unanswered,
    }


def arranged(tiles: Sequence[Tile]) -> list[tuple[str, Tile]]:
    """Every tile with its place: "main" for the newest verdict, "now" for a newer series still without one.

    What is under way stays above the verdict before it, so that nobody takes that for its own.
    """
    newest = next((place for place, tile in enumerate(tiles) if decided(tile)), len(tiles))
    places = {0: "now", newest: "main"}
    order = sorted(range(len(tiles)), key=lambda place: (place not in places, place))
    return [(places.get(place, "side"), tiles[place]) for place in order]


def unanswered(tiles: Sequence[tuple[str, Tile]]) -> list[Tile]:
    """The REPEAT that nobody has answered, but for the one that fills the page anyway."""
    return [
        tile
        for place, tile in tiles
        if place != "main" and tile.series.verdict is Verdict.REPEAT and not tile.series.answered
    ]


def decided(tile: Tile) -> bool:
    """Whether there is something to tell: a verdict, or that there will be none."""
    return tile.series.verdict is not None or tile.series.state is State.FAILED


def picture(tile: Tile) -> str | None:
    """Address of the worst slice's picture; None when there is none or it would tell nothing."""
    if tile.worst is None or tile.series.verdict is Verdict.NOT_ASSESSED:
        return None
    return f"/series/{tile.series.series_instance_uid}/worst.jpg?revision={tile.series.judged_revision}"


def failed_look() -> Look:
    """How a series looks that the gate gave up."""
    return Look("FAILED", _("Failed"), "warning", "verdict-none")


def share(quality: float) -> str:
    """A quality with two digits, so that columns and glances line up."""
    return str(format_decimal(quality, format="0.00", locale=locale()))
