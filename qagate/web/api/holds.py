"""Held series for programs. A rejection needs a person before a page: there is none here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from qagate.store.holds import Holds
from qagate.web import hold
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role

router = Router(prefix="/api/v1", tags=["series"], schema=True)

MOST = 500  #: series in one answer


class HeldOut(BaseModel):
    """One series that waits for a release."""

    series_instance_uid: str
    since: datetime = Field(description="when the first of what is held of it was decided")
    until: datetime | None = Field(description="when it is released by itself; null: never")


class ReleaseIn(BaseModel):
    """Why somebody releases a series."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=hold.MOST_WORDS, description="free words; leave patients out")


class ReleasedOut(BaseModel):
    """Whether there was anything to release."""

    released: bool = Field(description="false: nothing of it was held, or somebody was faster")


@router.get("/held", rule=Role.VIEWER)
def held(site: Here) -> tuple[HeldOut, ...]:
    """The series that wait, the longest first; at most 500."""
    limit_s = site.settings.hold.limit_s
    return tuple(
        HeldOut(
            series_instance_uid=one.series_instance_uid,
            since=one.since,
            until=one.since + timedelta(seconds=limit_s) if limit_s else None,
        )
        for one in Holds(site.store).all(limit=MOST)
    )


@router.post("/series/{uid}/release", rule=Role.RADIOGRAPHER)
def release(
    site: Here,
    visitor: Visitor,
    uid: Annotated[str, Path(max_length=200, description="Series Instance UID")],
    body: ReleaseIn,
) -> ReleasedOut:
    """Send a held series on its way; asked again, nothing changes."""
    return ReleasedOut(released=bool(hold.release(site, visitor, [uid], body.reason)))
