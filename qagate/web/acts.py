"""What radiographers click: agree, disagree, repeating, cannot repeat, seen. Each is kept and audited.

Two people may answer for one series: both answers are kept, and the page says who said what.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from qagate.label import MAX_REASON, Label, LabelKind
from qagate.store.console import Console
from qagate.store.desk import DeskSeries
from qagate.store.errors import StoreError, StoreUnavailable
from qagate.store.labels import Labels, UnknownObject
from qagate.web.errors import Problem, wants_json
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _

router = Router()

Click = Literal["agree", "disagree", "repeating", "cannot_repeat"]
MOST_AT_ONCE = 500  #: series acknowledged by one click
#: Why a verdict is wrong, in the words that are kept with the label.
BECAUSE = {
    "better": "images are better than the gate says",
    "worse": "images are worse than the gate says",
    "reason": "verdict fits, its reason does not",
}


@dataclass(frozen=True, slots=True)
class Button:
    """One answer."""

    kind: Click
    word: str
    icon: str
    key: str  #: on the keyboard, for the newest series of the console


def buttons() -> tuple[Button, ...]:
    """The answers in the visitor's language."""
    return (
        Button("agree", _("Agree"), "thumb-up", "a"),
        Button("disagree", _("Disagree"), "thumb-down", "d"),
        Button("repeating", _("Repeating"), "loop-arrow", "r"),
        Button("cannot_repeat", _("Cannot repeat"), "block", "n"),
    )


def act_word(kind: LabelKind | None) -> str:
    """What somebody did, in the visitor's language; None: acknowledged."""
    return {
        LabelKind.AGREE: _("agrees"),
        LabelKind.DISAGREE: _("disagrees"),
        LabelKind.REPEATING: _("is repeating"),
        LabelKind.CANNOT_REPEAT: _("cannot repeat"),
        None: _("has seen it"),
    }[kind]


@dataclass(frozen=True, slots=True)
class Heard:
    """What one person says at last of a series, in the visitor's language."""

    actor: str
    words: str
    reason: str
    earlier: bool  #: of a revision before the one that was judged
    at: datetime  #: UTC


def heard(series: DeskSeries) -> tuple[Heard, ...]:
    """What everybody says: a later click replaces the same person's former one to the same question."""
    last = {(one.actor, one.kind.question if one.kind else "seen"): one for one in series.said}
    return tuple(
        Heard(one.actor, act_word(one.kind), _why(one.reason), one.revision != series.judged_revision, one.at)
        for one in sorted(last.values(), key=lambda one: one.at)
    )


def _why(reason: str) -> str:
    """The reason of a disagreement, its ready-made part in the visitor's language."""
    ready = {
        BECAUSE["better"]: _("the images are better than the gate says"),
        BECAUSE["worse"]: _("the images are worse than the gate says"),
        BECAUSE["reason"]: _("the verdict fits, its reason does not"),
    }
    first, mark, rest = reason.partition("; ")
    return ready.get(first, first) + mark + rest


def pressed(series: DeskSeries, name: str) -> frozenset[str]:
    """The answers that stand of this visitor for the revision that was judged."""
    last: dict[str, str] = {}
    for one in series.said:
        if one.kind is not None and one.actor == name and one.revision == series.judged_revision:
            last[one.kind.question] = one.kind.value
    return frozenset(last.values())


def answer(
    site: Site, visitor: Visitor, uid: str, *, kind: Click, revision: int, because: str = "", reason: str = ""
) -> None:
    """Keep one answer as a label of the visitor. Raises Problem with the mend."""
    words = "; ".join(filter(None, (BECAUSE.get(because, ""), reason.strip())))
    with site.store.together():
        keep(site, visitor, series_instance_uid=uid, revision=revision, kind=LabelKind(kind), reason=words)
        site.audit(visitor, act=kind, series_instance_uid=uid, revision=revision)


def keep(site: Site, visitor: Visitor, **said: Any) -> None:
    """Keep what the visitor said, the fields of a `Label`. Raises Problem with the mend."""
    try:
        Labels(site.store).add([Label(rater=visitor.name, **said)])
    except ValueError as error:
        raise Problem(
            422, _("This cannot be kept: %(why)s. Change it and send it again.", why=error)
        ) from None
    except UnknownObject:
        raise Problem(
            404, _("The gate does not know this series any more; nothing was recorded. Load the page again.")
        ) from None


def acknowledge(site: Site, visitor: Visitor, seen: list[tuple[str, int]]) -> tuple[str, ...]:
    """Note that the visitor has seen these verdicts; returns the series noted. Raises Problem."""
    if len(seen) > MOST_AT_ONCE:
        raise Problem(
            422,
            _(
                "%(n)s series are too many at once; take at most %(most)s.",
                n=len(seen),
                most=MOST_AT_ONCE,
            ),
        )
    revisions = dict(seen)
    try:
        with site.store.together():
            noted = Console(site.store).acknowledge(seen, visitor.name)
            for uid in noted:
                site.audit(visitor, act="acknowledge", series_instance_uid=uid, revision=revisions[uid])
    except StoreUnavailable:
        raise
    except StoreError:
        raise Problem(
            409,
            _("One of these series has changed or was deleted; nothing was noted. Load the list again."),
        ) from None
    return noted


@router.post("/series/{uid}/acts", rule=Role.RADIOGRAPHER)
def act(
    request: Request,
    site: Here,
    visitor: Visitor,
    uid: str,
    kind: Annotated[Click, Form()],
    revision: Annotated[int, Form(ge=1, le=2**31 - 1)],
    because: Annotated[str, Form(max_length=20)] = "",
    reason: Annotated[str, Form(max_length=MAX_REASON)] = "",
    next: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """One click, from a form or from the page's script."""
    answer(site, visitor, uid, kind=kind, revision=revision, because=because, reason=reason)
    return _done(request, next or f"/series/{uid}", {"kind": kind})


@router.post("/worklist/acknowledge", rule=Role.RADIOGRAPHER)
def acknowledge_many(
    request: Request,
    site: Here,
    visitor: Visitor,
    seen: Annotated[list[str], Form(default_factory=list)],
    next: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """The series ticked in the worklist, each as its UID and revision with a blank between."""
    noted = acknowledge(site, visitor, [_ticked(one) for one in seen])
    return _done(request, next or "/worklist", {"acknowledged": len(noted)})


def _ticked(value: str) -> tuple[str, int]:
    uid, _blank, revision = value.partition(" ")
    if not (revision.isascii() and revision.isdigit() and len(revision) < 10):
        raise Problem(422, _("A tick cannot be read. Load the list again."))
    return uid, int(revision)


def _done(request: Request, back: str, told: dict[str, object]) -> Response:
    """Back to the page that was left; never to another host."""
    if wants_json(request):
        return JSONResponse(told)
    inside = back.startswith("/") and not back.startswith(("//", "/\\")) and back.isprintable()
    return RedirectResponse(back if inside else "/console", 303)
