"""Slices for programs and for the viewer: what a series holds, its pixels, its scores with their maps."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from qagate.assessment import QualityMap, SliceScore
from qagate.store.series_detail import SeriesDetails
from qagate.web import imaging
from qagate.web.errors import Problem
from qagate.web.routing import Here, Router
from qagate.web.security import Role
from qagate.web.slices import Shelf, Slices, drawn
from qagate.web.texts import gettext as _

router = Router(prefix="/api/v1", tags=["images"], schema=True)

Uid = Annotated[str, Path(max_length=200, description="Series Instance UID")]
Revision = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="of the series; the present one")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="place of the slice, from 1 on")]

#: Pictures may stay in the browser's memory for as long as somebody looks at one series.
_BRIEFLY = {"cache-control": "private, max-age=600"}
_CROSSED = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="96" height="96">'
    '<rect width="96" height="96" fill="#222"/>'
    '<path d="M24 24l48 48M72 24l-48 48" stroke="#bbb" stroke-width="6" stroke-linecap="round"/></svg>'
)
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}},
    422: {"content": {"image/svg+xml": {}}},
}


class SliceOut(BaseModel):
    """One slice."""

    number: int = Field(description="from 1 on; the slices of the scored stack come first")
    sop_instance_uid: str
    frame_number: int | None = Field(description="from 1 on; null for a single-frame instance")
    rows: int
    columns: int
    position_mm: float | None
    thickness_mm: float | None
    spacing_mm: tuple[float, float] | None = Field(description="between rows, between columns")


class SlicesOut(BaseModel):
    """What a revision of a series holds."""

    series_instance_uid: str
    revision: int
    scored_stack: int = Field(description="so many of the slices are of the stack that was scored")
    slices: tuple[SliceOut, ...]
    problems: tuple[str, ...] = Field(description="files that cannot be used, a sentence each")


class MapOut(BaseModel):
    """Where a slice is good and where it is not."""

    rows: int
    columns: int
    low: float = Field(description="score of 0, on the model's scale")
    high: float = Field(description="score of 255")
    cells: str = Field(description="rows x columns bytes, row by row, base64")


class SliceScoreOut(BaseModel):
    """One scored slice."""

    number: int | None = Field(description="its place among the slices; null when its file is gone")
    sop_instance_uid: str
    frame_number: int | None
    score: float
    quality: float = Field(description="0 to 1, higher is better")
    weight: float
    uncertainty: float | None
    artefacts: dict[str, float] = Field(description="type to probability")
    quality_map: MapOut | None


class ScoresOut(BaseModel):
    """What the model said of the slices of a revision."""

    series_instance_uid: str
    revision: int
    model: str
    model_version: str
    weights_sha256: str
    map_low: float = Field(description="score that a map's deepest tint stands for, one for the series")
    map_high: float = Field(description="score from which on a map has no tint")
    slices: tuple[SliceScoreOut, ...]


@router.get("/series/{uid}/slices", rule=Role.VIEWER)
def slices(shelf: Shelf, uid: Uid, revision: Revision = None) -> SlicesOut:
    """The slices of a series, without pixels."""
    found = shelf.slices(uid, revision)
    return SlicesOut(
        series_instance_uid=uid,
        revision=found.stamp.revision,
        scored_stack=found.scored,
        slices=tuple(
            SliceOut(
                number=number,
                sop_instance_uid=one.sop_instance_uid,
                frame_number=one.frame_number,
                rows=one.rows,
                columns=one.columns,
                position_mm=one.position_mm,
                thickness_mm=one.slice_thickness_mm,
                spacing_mm=one.pixel_spacing_mm,
            )
            for number, one in enumerate(found.headers, 1)
        ),
        problems=found.problems,
    )


@router.get("/series/{uid}/scores", rule=Role.VIEWER)
def scores(site: Here, shelf: Shelf, uid: Uid, revision: Revision = None) -> ScoresOut:
    """The scores of a decided revision, with the maps of their slices."""
    found = shelf.slices(uid, revision)
    result = SeriesDetails(site.store).result(uid, found.stamp.revision)
    if result is None:
        raise Problem(404, _("This revision was not decided yet; look again in a minute."))
    of = result.assessment
    low, high = imaging.map_ends(one.quality_map for one in of.slices)
    return ScoresOut(
        series_instance_uid=uid,
        revision=result.revision,
        model=of.model,
        model_version=of.model_version,
        weights_sha256=of.weights_sha256,
        map_low=low,
        map_high=high,
        slices=tuple(
            SliceScoreOut(
                number=found.number(one),
                sop_instance_uid=one.sop_instance_uid,
                frame_number=one.frame_number,
                score=one.score,
                quality=one.quality,
                weight=one.weight,
                uncertainty=one.uncertainty,
                artefacts=dict(one.artefacts),
                quality_map=_map_out(one.quality_map),
            )
            for one in of.slices
        ),
    )


@router.get(
    "/series/{uid}/slices/{number}/pixels",
    rule=Role.VIEWER,
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def pixels(shelf: Shelf, uid: Uid, number: Number, revision: Revision = None) -> Response:
    """Unsigned 16-bit numbers, little endian, row by row.

    The headers X-Rows and X-Columns tell the shape; X-Slope and X-Intercept how a number becomes a value
    (HU in CT), MONOCHROME1 inverted already; X-Centre and X-Width the window to begin with, as values.
    """
    made = imaging.screen_pixels(drawn(shelf.slices(uid, revision).header(number)))
    told = {
        "X-Rows": made.rows, "X-Columns": made.columns, "X-Slope": made.slope, "X-Intercept": made.intercept,
        "X-Centre": made.centre, "X-Width": made.width,
    }  # fmt: skip
    headers = {name: repr(value) for name, value in told.items()}
    return Response(made.stored, media_type="application/octet-stream", headers=headers | _BRIEFLY)


@router.get(
    "/series/{uid}/slices/{number}/thumbnail",
    rule=Role.VIEWER,
    response_class=Response,
    responses=_PICTURE,
)
def thumbnail(shelf: Shelf, uid: Uid, number: Number, revision: Revision = None) -> Response:
    """A small JPEG, windowed; a cross, with status 422, for a slice that cannot be drawn."""
    found = shelf.slices(uid, revision)
    return jpeg(found, number)


@router.get(
    "/series/{uid}/slices/{number}/picture",
    rule=Role.VIEWER,
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def picture(shelf: Shelf, uid: Uid, number: Number, revision: Revision = None) -> Response:
    """The whole slice as PNG, windowed to eight bits."""
    made = imaging.picture(drawn(shelf.slices(uid, revision).header(number)))
    return Response(made, media_type="image/png", headers=_BRIEFLY)


def jpeg(
    of: Slices,
    number: int,
    quality_map: QualityMap | None = None,
    *,
    ends: tuple[float, float] = (0.0, 0.0),
    side: int = imaging.THUMBNAIL,
) -> Response:
    """A slice as JPEG; what cannot be drawn is a cross, because a picture in a page can say no sentence."""
    try:
        made = imaging.thumbnail(drawn(of.header(number)), quality_map, ends=ends, side=side)
    except Problem as problem:
        if problem.status == 404:
            raise
        return Response(_CROSSED, problem.status, media_type="image/svg+xml")
    return Response(made, media_type="image/jpeg", headers=_BRIEFLY)


def worst_of(scores: tuple[SliceScore, ...]) -> SliceScore | None:
    """The slice of the lowest quality; None when none was scored."""
    return min(scores, key=lambda one: one.quality, default=None)


def _map_out(of: QualityMap | None) -> MapOut | None:
    if of is None:
        return None
    cells = base64.b64encode(of.cells).decode("ascii")
    return MapOut(rows=of.rows, columns=of.columns, low=of.low, high=of.high, cells=cells)
