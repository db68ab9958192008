"""Ratings as people and programs give them: kept as labels of the visitor, with an audit line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from itertools import islice

from qagate.assessment import Artefact
from qagate.gate.agreement import alpha, icc, table
from qagate.label import MAX_REASON, Label, LabelKind, Scale
from qagate.store.labels import Labels
from qagate.store.ratings import LOOKED_AT, Progress, Queue, RatingQueues, Subject, Task
from qagate.web.acts import keep
from qagate.web.errors import Problem
from qagate.web.routing import Visitor
from qagate.web.site import Site
from qagate.web.texts import gettext as _

SCALES: Mapping[str, Scale] = {"0-4": Scale(0, 4), "0-100": Scale(0, 100)}
MAX_PLACE = 60  #: characters that tell where an artefact is
_LOOKED_AT = 10  #: tasks of which the first with files are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One rating as it was sent."""

    series_instance_uid: str
    sop_instance_uid: str | None
    revision: int
    score: float
    scale: str  #: a key of SCALES
    artefacts: Sequence[Artefact] = ()
    places: Mapping[Artefact, str] = field(default_factory=dict)  #: where an artefact is, in free words
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterCount:
    """One rater, and how many series and slices that rater's word counts for."""

    rater: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far raters agree; a figure is NaN where it does not exist."""

    raters: tuple[RaterCount, ...]
    items: int  #: rated by two raters or more
    icc_single: float  #: ICC(2,1)
    icc_mean: float  #: ICC(2,k)
    alpha_interval: float
    alpha_ordinal: float


def rate(site: Site, visitor: Visitor, given: Given) -> None:
    """Keep a rating. Raises Problem with the mend."""
    if given.scale not in SCALES:
        raise Problem(422, _("There is no such scale; choose 0-4 or 0-100."))
    with site.store.together():
        keep(
            site,
            visitor,
            series_instance_uid=given.series_instance_uid,
            sop_instance_uid=given.sop_instance_uid,
            revision=given.revision,
            kind=LabelKind.RATING,
            score=given.score,
            scale=SCALES[given.scale],
            artefacts=tuple(dict.fromkeys(given.artefacts)),
            reason=_reason(given),
        )
        site.audit(
            visitor,
            act="rate",
            series_instance_uid=given.series_instance_uid,
            revision=given.revision,
            sop_instance_uid=given.sop_instance_uid,
        )


def _reason(given: Given) -> str:
    """Where each artefact is, then the rater's own words: "motion: slices 3-5; ..."."""
    parts = [
        f"{artefact.value}: {place}"
        for artefact in given.artefacts
        if (place := " ".join(given.places.get(artefact, "").split())[:MAX_PLACE])
    ]
    words = " ".join(given.comment.split())
    return "; ".join([*parts, *([words] if words else [])])[:MAX_REASON]


def said(label: Label) -> tuple[Mapping[Artefact, str], str]:
    """Where each artefact is, and the rater's own words, of a rating that `rate` kept."""
    places: dict[Artefact, str] = {}
    parts = label.reason.split("; ")
    for artefact in label.artefacts:
        name = f"{artefact.value}: "
        if parts and parts[0].startswith(name):
            places[artefact] = parts.pop(0).removeprefix(name)
    return places, "; ".join(parts)


def next_tasks(
    site: Site, visitor: Visitor, queue: Queue, subject: Subject, *, skip: Sequence[str] = (), count: int = 2
) -> tuple[Task, ...]:
    """The rater's next tasks whose images are still there."""
    queues = RatingQueues(site.store)
    there: tuple[Task, ...] = ()
    for limit in (max(_LOOKED_AT, 2 * count), LOOKED_AT):  # the second only where images were purged
        found = queues.tasks(visitor.name, queue, subject, limit=limit, skip=skip)
        there = tuple(islice((one for one in found if _has_files(site, one)), count))
        if there or len(found) < limit:
            break
    return there


def _has_files(site: Site, task: Task) -> bool:
    try:
        folder = site.spool.folder(task.series_instance_uid)
    except ValueError:
        return False
    return next(folder.glob("*.dcm"), None) is not None


def progress(site: Site, visitor: Visitor) -> Progress:
    """How far this rater and all of them are."""
    today = site.clock.local(site.store.now()).date()
    midnight = site.clock.zoned(datetime.combine(today, time()))
    return RatingQueues(site.store).progress(visitor.name, midnight)


def agreement(site: Site) -> Agreement:
    """Agreement over every rating that counts."""
    objects: dict[tuple[str, str | None], list[Label]] = {}
    counts: dict[str, int] = {}
    for one in Labels(site.store).latest(LabelKind.RATING):
        key = (one.label.series_instance_uid, one.label.sop_instance_uid)
        objects.setdefault(key, []).append(one.label)
        counts[one.label.rater] = counts.get(one.label.rater, 0) + 1
    ratings, _raters, _scale, _notes = table(list(objects.values()))
    single, mean = icc(ratings)
    return Agreement(
        raters=tuple(RaterCount(rater=name, count=counts[name]) for name in sorted(counts)),
        items=sum(len({label.rater for label in of}) > 1 for of in objects.values()),
        icc_single=single,
        icc_mean=mean,
        alpha_interval=alpha(ratings, "interval"),
        alpha_ordinal=alpha(ratings, "ordinal"),
    )
