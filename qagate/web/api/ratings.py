"""Ratings for programs: what to rate next, a rating, how far the raters are."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from qagate.assessment import Artefact
from qagate.label import MAX_REASON
from qagate.store.ratings import Queue, Subject
from qagate.web import rating
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role

router = Router(prefix="/api/v1/ratings", tags=["ratings"], schema=True)


class TaskOut(BaseModel):
    """One thing to rate; what the model or others said of it is not told."""

    series_instance_uid: str
    sop_instance_uid: str | None = Field(description="null: the whole series")
    revision: int


class RatingIn(BaseModel):
    """One rating; a later one of the same rater takes its place."""

    model_config = ConfigDict(extra="forbid")

    series_instance_uid: str = Field(max_length=200)
    sop_instance_uid: str | None = Field(None, max_length=200, description="null: the whole series")
    revision: int = Field(ge=1, le=2**31 - 1, description="of the series, as it was looked at")
    score: float = Field(allow_inf_nan=False)
    scale: Literal["0-4", "0-100"] = "0-4"
    artefacts: list[Artefact] = Field([], max_length=len(Artefact))
    places: dict[Artefact, str] = Field({}, description="where an artefact is, such as: slices 3-5, left")
    comment: str = Field("", max_length=MAX_REASON, description="free words; leave patients out")


class ProgressOut(BaseModel):
    """How far the raters are."""

    mine: int
    today: int = Field(description="of mine, since midnight of the site")
    everyone: int
    shared: int = Field(description="series or slices that two raters or more have rated")
    raters: int


class RaterOut(BaseModel):
    """One rater."""

    rater: str
    ratings: int


class AgreementOut(BaseModel):
    """How far raters agree; null where a figure does not exist."""

    raters: tuple[RaterOut, ...]
    items: int = Field(description="rated by two raters or more")
    icc_single: float | None = Field(description="ICC(2,1)")
    icc_mean: float | None = Field(description="ICC(2,k)")
    alpha_interval: float | None
    alpha_ordinal: float | None


@router.get("/tasks", rule=Role.PHYSICIST)
def tasks(
    site: Here,
    visitor: Visitor,
    queue: Queue = Queue.UNCERTAIN,
    subject: Subject = Subject.SERIES,
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> tuple[TaskOut, ...]:
    """The next things to rate, best first."""
    found = rating.next_tasks(site, visitor, queue, subject, count=limit)
    return tuple(
        TaskOut(
            series_instance_uid=one.series_instance_uid,
            sop_instance_uid=one.sop_instance_uid,
            revision=one.revision,
        )
        for one in found
    )


@router.post("", rule=Role.PHYSICIST, status_code=201)
def rate(site: Here, visitor: Visitor, body: RatingIn) -> ProgressOut:
    """Keep a rating of the visitor."""
    rating.rate(site, visitor, rating.Given(**body.model_dump()))
    return _progress(site, visitor)


@router.get("/progress", rule=Role.PHYSICIST)
def progress(site: Here, visitor: Visitor) -> ProgressOut:
    """How far this rater and all of them are."""
    return _progress(site, visitor)


@router.get("/agreement", rule=Role.PHYSICIST)
def agreement(site: Here) -> AgreementOut:
    """Agreement over every rating that counts."""
    found = rating.agreement(site)
    return AgreementOut(
        raters=tuple(RaterOut(rater=one.rater, ratings=one.count) for one in found.raters),
        items=found.items,
        icc_single=_there(found.icc_single),
        icc_mean=_there(found.icc_mean),
        alpha_interval=_there(found.alpha_interval),
        alpha_ordinal=_there(found.alpha_ordinal),
    )


def _progress(site: Here, visitor: Visitor) -> ProgressOut:
    found = rating.progress(site, visitor)
    return ProgressOut(
        mine=found.mine,
        today=found.today,
        everyone=found.everyone,
        shared=found.shared,
        raters=found.raters,
    )


def _there(value: float) -> float | None:
    return None if math.isnan(value) else value
