"""Series that wait in the gate: who releases them, and who rejects one, after seeing what that hides."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from qagate.dicom.report import REASONS, Rejection, ReportError, suggested_reason
from qagate.parts_hold import rejector
from qagate.rejecting import Preview
from qagate.store.audit import AuditEntry
from qagate.store.desk import DeskSeries
from qagate.store.holds import Holds, UnknownSeries
from qagate.store.rejections import Changed
from qagate.store.series_detail import SeriesDetail, SeriesDetails
from qagate.web.acts import MOST_AT_ONCE
from qagate.web.errors import Problem, wants_json
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _

router = Router()

MOST_WORDS = 500  #: characters of a person's own reason
_SHOWN = 200  #: SOP Instance UIDs on the page
_ACTS = ("release", "reject")


def reason_words() -> dict[str, str]:
    """Code of CID 7011 -> its words in the visitor's language."""
    return {
        "111210": _("Motion blur"),
        "111209": _("Positioning"),
        "111207": _("Image artefacts"),
        "111215": _("Artefacts other than of grid or detector"),
        "111214": _("Detector artefacts"),
        "111208": _("Grid artefacts"),
        "111211": _("Under exposed"),
        "111212": _("Over exposed"),
        "113026": _("Double exposure"),
        "111213": _("No image"),
        "111219": _("Wrong image processing"),
        "111216": _("Mechanical failure"),
        "111217": _("Electrical failure"),
        "111218": _("Software failure"),
        "111220": _("Other failure"),
        "111221": _("Unknown failure"),
    }


def held_until(site: Site, series: DeskSeries) -> datetime | None:
    """When a held series goes by itself, UTC; None: it does not, or is not held."""
    limit_s = site.settings.hold.limit_s
    if series.held_since is None or not limit_s:
        return None
    return series.held_since + timedelta(seconds=limit_s)


def fates(site: Site, uid: str) -> tuple[AuditEntry, ...]:
    """The releases and rejections of a series, the newest first."""
    found = [one for act in _ACTS for one in site.trail.newest(act=act, series_instance_uid=uid)]
    return tuple(sorted(found, key=lambda one: one.entry_id, reverse=True))


def may_be_rejected(site: Site, detail: SeriesDetail) -> bool:
    """Whether a rejection can be offered: an archive can be told, and the images are here."""
    return any(of.results for of in site.settings.archive) and detail.purged_at is None


def release(site: Site, visitor: Visitor, uids: Iterable[str], reason: str = "") -> tuple[str, ...]:
    """Release series in the visitor's name; those that were held. Raises Problem 404."""
    try:
        return Holds(site.store).release_each(uids, actor=visitor.name, reason=reason.strip())
    except UnknownSeries:
        raise Problem(404, _("The gate does not know this series; look for it in the worklist.")) from None


@router.post("/series/{uid}/release", rule=Role.RADIOGRAPHER)
def release_one(
    request: Request,
    site: Here,
    visitor: Visitor,
    uid: str,
    reason: Annotated[str, Form(max_length=MOST_WORDS)] = "",
) -> Response:
    """One click; a second one changes nothing."""
    released = release(site, visitor, [uid], reason)
    if wants_json(request):
        return JSONResponse({"released": len(released)})
    return RedirectResponse(f"/series/{uid}", 303)


@router.post("/worklist/release", rule=Role.RADIOGRAPHER)
def release_many(
    request: Request,
    site: Here,
    visitor: Visitor,
    seen: Annotated[list[str], Form(default_factory=list)],
) -> Response:
    """The series ticked in the worklist; those of them that are not held stay as they are."""
    if len(seen) > MOST_AT_ONCE:
        raise Problem(
            422,
            _("%(n)s series are too many at once; take at most %(most)s.", n=len(seen), most=MOST_AT_ONCE),
        )
    released = release(site, visitor, [one.partition(" ")[0] for one in seen])
    if wants_json(request):
        return JSONResponse({"released": len(released)})
    return RedirectResponse("/worklist?only=held", 303)


@router.get("/series/{uid}/reject", rule=Role.RADIOGRAPHER)
def preview(request: Request, site: Here, uid: str) -> Response:
    """What the archives would hide, and the form that lets them."""
    found, detail = _preview(site, uid), SeriesDetails(site.store).detail(uid)
    if found is None or detail is None:
        raise Problem(404, _("The gate does not know this series; look for it in the worklist."))
    last = detail.results[-1] if detail.results else None
    series = found.subject.series
    return page(
        request,
        "reject.html",
        series=detail.series,
        preview=found,
        held_until=held_until(site, detail.series),
        reasons=reason_words(),
        suggested=suggested_reason(last.assessment, series.header.modality) if last else "",
        shown=series.instances[:_SHOWN],
        purged=detail.purged_at is not None,
        fate=next((one for one in fates(site, uid) if one.act == "reject"), None),
        most_words=MOST_WORDS,
    )


@router.post("/series/{uid}/reject", rule=Role.RADIOGRAPHER)
def reject(
    site: Here,
    visitor: Visitor,
    uid: str,
    revision: Annotated[int, Form(ge=1, le=2**31 - 1)],
    instances: Annotated[int, Form(ge=1, le=2**31 - 1)],
    reason: Annotated[str, Form(max_length=20)] = "",
    words: Annotated[str, Form(max_length=MOST_WORDS)] = "",
    confirmed: Annotated[str, Form(max_length=3)] = "",
) -> Response:
    """Reject what was shown; a second click changes nothing."""
    if confirmed != "yes":
        raise Problem(422, _("Nothing was rejected: tick that the archives shall hide these images."))
    if reason not in REASONS:
        raise Problem(422, _("Nothing was rejected: choose the reason."))
    found = _preview(site, uid)
    if found is None:
        raise Problem(404, _("The gate does not know this series; look for it in the worklist."))
    why = Rejection(person=visitor.name, reason=reason, words=" ".join(words.split()))
    try:
        rejector(site.settings, site.store, site.spool).reject(
            found, revision=revision, instances=instances, rejection=why
        )
    except Changed:
        raise Problem(
            409, _("The series has changed since you looked at it; nothing was rejected. Look again.")
        ) from None
    except ReportError:
        raise Problem(
            409, _("No note can be made of this series here; nothing was rejected. Reject it in the archive.")
        ) from None
    return RedirectResponse(f"/series/{uid}", 303)


def _preview(site: Site, uid: str) -> Preview | None:
    return rejector(site.settings, site.store, site.spool).preview(uid)
