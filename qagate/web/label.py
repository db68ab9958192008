"""The label page: one series or slice after another, blind to other raters and to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from qagate.assessment import Artefact
from qagate.label import MAX_REASON, Label, LabelKind
from qagate.store.labels import Labels
from qagate.store.ratings import Queue, Subject, Task
from qagate.store.series_detail import SeriesDetails
from qagate.web import rating, words
from qagate.web.errors import Problem
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _

router = Router()

ScaleName = Literal["0-4", "0-100"]
_MOST_SKIPPED = 50
_COOKIE = "desk"
_A_YEAR_S = 365 * 86_400
#: A key each; g begins a jump to another page, f and i belong to the viewer.
KEYS: Mapping[Artefact, str] = {
    Artefact.NOISE: "n",
    Artefact.MOTION: "m",
    Artefact.GHOSTING: "o",
    Artefact.BLUR: "b",
    Artefact.STREAK: "s",
    Artefact.RING: "r",
    Artefact.BEAM_HARDENING: "h",
    Artefact.NON_UNIFORMITY: "u",
    Artefact.WRAP: "w",
    Artefact.CLIPPING: "c",
    Artefact.TRUNCATION: "t",
    Artefact.MISSING_SLICES: "x",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What a rater has chosen: it travels in the address."""

    queue: Queue
    subject: Subject
    scale: str
    skip: tuple[str, ...] = ()
    last: str = ""  #: what was rated last, "series" or "series instance", to change it

    def address(self, **changes: str | None) -> str:
        """The page with some choices changed; None takes one away."""
        given = {
            "queue": self.queue.value,
            "subject": self.subject.value,
            "scale": self.scale,
            "skip": ",".join(self.skip),
            "last": self.last,
        }
        query = {name: value for name, value in {**given, **changes}.items() if value}
        return f"/label?{urlencode(query)}"

    def skipping(self, uid: str) -> str:
        """The page without one more series or slice; the oldest skipped come back."""
        return self.address(skip=",".join((*self.skip, uid)[-_MOST_SKIPPED:]))


@router.get("/label", rule=Role.PHYSICIST)
def label_page(
    request: Request,
    site: Here,
    visitor: Visitor,
    queue: Queue | None = None,
    subject: Subject | None = None,
    scale: ScaleName | None = None,
    skip: Annotated[str, Query(max_length=70 * _MOST_SKIPPED)] = "",
    last: Annotated[str, Query(max_length=200)] = "",
    series: Annotated[str, Query(max_length=200)] = "",
    instance: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The next thing to rate; `series` and `instance` ask for one. What is not chosen is as the last time."""
    skipped = tuple(filter(None, skip.split(",")))[-_MOST_SKIPPED:]
    kept = _kept(request.cookies.get(_COOKIE, ""))
    desk = Desk(queue or kept.queue, subject or kept.subject, scale or kept.scale, skipped, last)
    if series:
        tasks: tuple[Task, ...] = (_asked(site, series, instance),)
    else:
        tasks = rating.next_tasks(site, visitor, desk.queue, desk.subject, skip=desk.skip)
    task = tasks[0] if tasks else None
    detail = SeriesDetails(site.store).detail(task.series_instance_uid) if task else None
    before = _before(site, visitor, task)
    response = page(
        request,
        "label.html",
        desk=desk,
        task=task,
        of=detail.series if detail else None,
        following=tasks[1] if len(tasks) > 1 else None,
        asked=bool(series),
        before=before,
        said=rating.said(before) if before else ({}, ""),
        progress=rating.progress(site, visitor),
        artefacts=[(one, words.artefact(one.value), KEYS[one]) for one in Artefact],
        grades=_grades(),
        queues=_queues(),
        subjects={Subject.SERIES: _("Whole series"), Subject.SLICE: _("Single slices")},
        max_place=rating.MAX_PLACE,
    )
    chosen = ".".join((desk.queue.value, desk.subject.value, desk.scale))
    secure = site.settings.web.encrypted
    response.set_cookie(
        _COOKIE, chosen, max_age=_A_YEAR_S, path="/label", httponly=True, samesite="lax", secure=secure
    )
    return response


@router.post("/label", rule=Role.PHYSICIST)
def save(
    site: Here,
    visitor: Visitor,
    series: Annotated[str, Form(max_length=200)],
    revision: Annotated[int, Form(ge=1, le=2**31 - 1)],
    score: Annotated[float, Form(allow_inf_nan=False)],
    instance: Annotated[str, Form(max_length=200)] = "",
    scale: Annotated[ScaleName, Form()] = "0-4",
    queue: Annotated[Queue, Form()] = Queue.UNCERTAIN,
    subject: Annotated[Subject, Form()] = Subject.SERIES,
    skip: Annotated[str, Form(max_length=70 * _MOST_SKIPPED)] = "",
    artefact: Annotated[list[Artefact], Form()] = [],  # noqa: B006  # FastAPI copies it
    place: Annotated[list[str], Form()] = [],  # noqa: B006
    comment: Annotated[str, Form(max_length=MAX_REASON)] = "",
) -> Response:
    """Keep a rating and go to the next; `place` has an entry for every artefact, in their order."""
    rating.rate(
        site,
        visitor,
        rating.Given(
            series_instance_uid=series,
            sop_instance_uid=instance or None,
            revision=revision,
            score=score,
            scale=scale,
            artefacts=artefact,
            places=dict(zip(Artefact, place, strict=False)),
            comment=comment,
        ),
    )
    desk = Desk(queue, subject, scale, tuple(filter(None, skip.split(","))), f"{series} {instance}".strip())
    return RedirectResponse(desk.address(), 303)


@router.get("/label/agreement", rule=Role.PHYSICIST)
def agreement_page(request: Request, site: Here) -> Response:
    """How far raters agree, without telling what anyone said of anything."""
    return page(request, "label_agreement.html", found=rating.agreement(site))


def _kept(cookie: str) -> Desk:
    """What the rater chose the last time, in this browser."""
    try:
        queue, subject, scale = cookie.split(".")
        known = Desk(Queue(queue), Subject(subject), scale)
    except ValueError:
        return Desk(Queue.UNCERTAIN, Subject.SERIES, "0-4")
    return known if scale in rating.SCALES else replace(known, scale="0-4")


def _asked(site: Site, uid: str, instance: str) -> Task:
    stamp = SeriesDetails(site.store).stamp(uid)
    if stamp is None:
        raise Problem(404, _("The gate does not know this series any more. Take the next one of the queue."))
    return Task(series_instance_uid=uid, sop_instance_uid=instance or None, revision=stamp.revision)


def _before(site: Site, visitor: Visitor, task: Task | None) -> Label | None:
    """What this rater said of the same thing the last time."""
    if task is None:
        return None
    mine = [
        one.label
        for one in Labels(site.store).of_series(task.series_instance_uid)
        if one.label.kind is LabelKind.RATING
        and one.label.rater == visitor.name
        and one.label.sop_instance_uid == task.sop_instance_uid
    ]
    return mine[-1] if mine else None


def _grades() -> tuple[tuple[int, str], ...]:
    """The steps of the scale 0-4."""
    return (
        (0, _("unusable")),
        (1, _("poor")),
        (2, _("acceptable")),
        (3, _("good")),
        (4, _("excellent")),
    )


def _queues() -> Mapping[Queue, str]:
    return {
        Queue.UNCERTAIN: _("Most uncertain"),
        Queue.DISAGREED: _("Most disagreed"),
        Queue.RANDOM: _("Random control"),
    }
