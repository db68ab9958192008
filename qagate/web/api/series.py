"""The worklist, the console and the clicks for programs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from qagate.label import MAX_REASON
from qagate.store.console import Console, Tile
from qagate.store.desk import DeskSeries
from qagate.store.notices import Notices
from qagate.store.worklist import PAGE, Worklist
from qagate.web import acts
from qagate.web.acts import Click
from qagate.web.errors import Problem
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.texts import gettext as _
from qagate.web.wanted import WantedList
from qagate.web.worklist import one_page

router = Router(prefix="/api/v1", tags=["series"], schema=True)

MOST = 500  #: series in one answer
Uid = Annotated[str, Path(max_length=200, description="Series Instance UID")]
Revision = Annotated[int, Field(ge=1, le=2**31 - 1, description="of the series, as it was shown")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SaidOut(BaseModel):
    """What one person clicked."""

    actor: str
    act: str = Field(description="agree, disagree, repeating, cannot_repeat or acknowledged")
    revision: int
    reason: str
    at: datetime


class SeriesOut(BaseModel):
    """One series; verdict, quality and reasons are of its last decision."""

    series_instance_uid: str
    study_instance_uid: str
    revision: int
    state: str
    modality: str
    region: str
    station: str
    protocol: str
    description: str
    series_number: int | None
    instances: int
    received_at: datetime = Field(description="of the last instance")
    decided_at: datetime | None
    verdict: str | None = Field(description="PASS, REVIEW, REPEAT or NOT_ASSESSED; null: not decided")
    provisional: bool = Field(description="whether instances came after the verdict")
    judged_revision: int | None
    quality: float | None = Field(description="0 to 1, higher is better")
    reasons: tuple[str, ...]
    undelivered: int = Field(description="deliveries that failed or wait too long")
    held_since: datetime | None = Field(description="waits for a release since then; null: it does not")
    rejected: bool = Field(description="by a person")
    last_error: str | None
    said: tuple[SaidOut, ...]


class TileOut(BaseModel):
    """One tile of the console."""

    series: SeriesOut
    findings: tuple[str, ...] = Field(description="the severest first")
    worst_slice: int | None = Field(description="its place in the stack, from 1 on")


class SeriesPage(BaseModel):
    """One page of the worklist."""

    series: tuple[SeriesOut, ...]
    before: str | None = Field(description="cursor of the page before")
    after: str | None = Field(description="cursor of the page after")


class CountOut(BaseModel):
    """How many series pass a filter."""

    count: int = Field(description="at most 1001, which stands for more than 1000")


class AttentionOut(BaseModel):
    """What needs a person, whatever a list is filtered by; each number ends at 1000."""

    failed: int
    undelivered: int
    waiting: int
    held: int = Field(description="waiting for a release; no fault")


class StationOut(BaseModel):
    """One scanner."""

    name: str
    last_received_at: datetime


class ActIn(_Body):
    """One click."""

    act: Click
    revision: Revision
    because: str = Field("", max_length=20, description="of a disagreement: better, worse or reason")
    reason: str = Field("", max_length=MAX_REASON, description="free words; leave patients out")


class SeenIn(_Body):
    """One verdict that was seen."""

    series_instance_uid: str = Field(max_length=200)
    revision: Revision


class SeenManyIn(_Body):
    """Verdicts that were seen."""

    seen: list[SeenIn] = Field(max_length=acts.MOST_AT_ONCE)


class NotedOut(BaseModel):
    """The series newly noted as seen."""

    series_instance_uids: tuple[str, ...]


@router.get("/series", rule=Role.VIEWER)
def series(
    site: Here,
    asked: WantedList,
    after: Annotated[str | None, Query(max_length=2000)] = None,
    before: Annotated[str | None, Query(max_length=2000)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = PAGE,
) -> SeriesPage:
    """One page of the worklist."""
    found = one_page(site, asked, after=after, before=before, limit=limit)
    return SeriesPage(series=tuple(map(series_out, found.rows)), before=found.before, after=found.after)


@router.get("/series/count", rule=Role.VIEWER)
def count(site: Here, asked: WantedList) -> CountOut:
    """How many series the worklist has."""
    return CountOut(count=Worklist(site.store).count(asked.filter))


@router.get("/console", rule=Role.VIEWER)
def console(site: Here, station: Annotated[str | None, Query(max_length=200)] = None) -> tuple[TileOut, ...]:
    """The last series of a scanner, or of all."""
    return tuple(map(_tile_out, Console(site.store).tiles(station)))


@router.get("/console/{uid}", rule=Role.VIEWER)
def tile(site: Here, uid: Uid) -> TileOut:
    """One series as the console shows it."""
    return _one(site, uid)


@router.get("/stations", rule=Role.VIEWER)
def stations(site: Here) -> tuple[StationOut, ...]:
    """Every scanner that ever sent, the one that sent last first."""
    return tuple(
        StationOut(name=one.name, last_received_at=one.last_received_at)
        for one in Console(site.store).stations()
    )


@router.get("/attention", rule=Role.VIEWER)
def attention(site: Here) -> AttentionOut:
    """What failed, was not delivered, waits for too long, or is held."""
    found = Notices(site.store).attention()
    return AttentionOut(
        failed=found.failed, undelivered=found.undelivered, waiting=found.waiting, held=found.held
    )


@router.post("/series/{uid}/acts", rule=Role.RADIOGRAPHER, status_code=201)
def act(site: Here, visitor: Visitor, uid: Uid, body: ActIn) -> TileOut:
    """Answer for a series; what others said stays."""
    acts.answer(
        site,
        visitor,
        uid,
        kind=body.act,
        revision=body.revision,
        because=body.because,
        reason=body.reason,
    )
    return _one(site, uid)


@router.post("/acknowledgements", rule=Role.RADIOGRAPHER)
def acknowledge(site: Here, visitor: Visitor, body: SeenManyIn, response: Response) -> NotedOut:
    """Note that verdicts were seen, all or none."""
    noted = acts.acknowledge(site, visitor, [(one.series_instance_uid, one.revision) for one in body.seen])
    response.status_code = 201 if noted else 200
    return NotedOut(series_instance_uids=noted)


def series_out(row: DeskSeries) -> SeriesOut:
    """A series as programs get it."""
    return SeriesOut(
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        state=row.state.value,
        modality=row.modality,
        region=row.region,
        station=row.station_name,
        protocol=row.protocol_name,
        description=row.series_description,
        series_number=row.series_number,
        instances=row.instance_count,
        received_at=row.last_received_at,
        decided_at=row.decided_at,
        verdict=row.verdict.value if row.verdict else None,
        provisional=row.provisional,
        judged_revision=row.judged_revision,
        quality=row.quality,
        reasons=row.reasons,
        undelivered=row.undelivered,
        held_since=row.held_since,
        rejected=row.rejected,
        last_error=row.last_error,
        said=_said_out(row),
    )


def _said_out(row: DeskSeries) -> tuple[SaidOut, ...]:
    return tuple(
        SaidOut(
            actor=one.actor,
            act=one.kind.value if one.kind else "acknowledged",
            revision=one.revision,
            reason=one.reason,
            at=one.at,
        )
        for one in row.said
    )


def _one(site: Here, uid: str) -> TileOut:
    found = Console(site.store).tile(uid)
    if found is None:
        raise Problem(404, _("The gate does not know this series; look for it in the worklist."))
    return _tile_out(found)


def _tile_out(one: Tile) -> TileOut:
    return TileOut(
        series=series_out(one.series),
        findings=tuple(finding.text for finding in one.findings),
        worst_slice=one.worst.slice_number if one.worst else None,
    )
