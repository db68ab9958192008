"""One series: its images, what the gate concluded of it and why, and what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Path as InPath
from fastapi import Query, Request
from fastapi.responses import Response
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from qagate.dicom.report import ReportError, sr_text
from qagate.dicom.source import open_source
from qagate.label import LabelKind
from qagate.reporting import report_path
from qagate.store.labels import Labels
from qagate.store.notices import Notices
from qagate.store.series_detail import SeriesDetail, SeriesDetails
from qagate.store.views import Result
from qagate.web import imaging
from qagate.web.acts import buttons, heard, pressed
from qagate.web.api.images import jpeg, worst_of
from qagate.web.console import failed_look
from qagate.web.errors import Problem
from qagate.web.hold import fates, held_until, may_be_rejected
from qagate.web.pages import page
from qagate.web.reasons import sentence, telling
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.series_facts import curve, history, measure_rows, short
from qagate.web.site import Site
from qagate.web.slices import Shelf
from qagate.web.texts import gettext as _

router = Router()

Uid = Annotated[str, InPath(max_length=200)]
Revision = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
_REPORTS = ("comprehensive3d", "enhanced", "kos")
_PATIENT_TAGS = ("PatientName", "PatientID", "PatientBirthDate", "SpecificCharacterSet")
_LONGEST = 200  #: characters of a patient's name that are shown


@dataclass(frozen=True, slots=True)
class Patient:
    """Who was examined, read from a spooled file for one answer and kept nowhere."""

    name: str
    patient_id: str
    born: str


@router.get("/series/{uid}", rule=Role.VIEWER)
def series_page(
    request: Request,
    site: Here,
    visitor: Visitor,
    uid: Uid,
    revision: Revision = None,
    slice: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    beside: Annotated[str, Query(max_length=200)] = "",
    beside_revision: Revision = None,
) -> Response:
    """The page; `beside` puts another series, or `beside_revision` an earlier state, next to it."""
    return _page(request, site, visitor, uid, revision, slice, beside=(beside, beside_revision))


@router.post("/series/{uid}/patient", rule=Role.VIEWER)
def show_patient(
    request: Request, site: Here, visitor: Visitor, shelf: Shelf, uid: Uid, revision: Revision = None
) -> Response:
    """The page with the patient's name; each time is audited."""
    _may_see_patients(site, visitor)
    found = shelf.slices(uid, revision)
    site.audit(visitor, act="show patient", series_instance_uid=uid)
    patient = _patient(Path(found.headers[0].path)) if found.headers else Patient("", "", "")
    return _page(request, site, visitor, uid, revision, None, patient=patient)


@router.get("/series/{uid}/worst.jpg", rule=Role.VIEWER)
def worst(site: Here, shelf: Shelf, uid: Uid, revision: Revision = None) -> Response:
    """The scored slice of the lowest quality with its quality map, as JPEG."""
    found = shelf.slices(uid, revision)
    result = SeriesDetails(site.store).result(uid, found.stamp.revision)
    scores = result.assessment.slices if result else ()
    lowest = worst_of(scores)
    number = (found.number(lowest) if lowest else None) or max(1, (found.scored + 1) // 2)
    shown = lowest.quality_map if lowest else None
    ends = imaging.map_ends(one.quality_map for one in scores)
    return jpeg(found, number, shown, ends=ends, side=imaging.PREVIEW)


@router.get("/series/{uid}/report.dcm", rule=Role.VIEWER)
def report_file(
    site: Here,
    visitor: Visitor,
    uid: Uid,
    revision: Annotated[int, Query(ge=1, le=2**31 - 1)],
    kind: Annotated[str, Query(pattern="^(comprehensive3d|enhanced|kos)$")] = "comprehensive3d",
) -> Response:
    """The report as it is sent to the archive. It names the patient, so it is for those who may see names."""
    _may_see_patients(site, visitor)
    path = _report(site, uid, revision, kind)
    try:
        content = path.read_bytes() if path is not None else b""
    except OSError:
        content = b""
    if not content:
        raise Problem(404, _("There is no such report any more; the archive may have it."))
    site.audit(visitor, act="download report", series_instance_uid=uid, revision=revision, kind=kind)
    named = f'attachment; filename="qagate-{uid}-{revision}-{kind}.dcm"'
    return Response(content, media_type="application/dicom", headers={"content-disposition": named})


def _page(
    request: Request,
    site: Site,
    visitor: Visitor,
    uid: str,
    revision: int | None,
    slice_number: int | None,
    *,
    beside: tuple[str, int | None] = ("", None),
    patient: Patient | None = None,
) -> Response:
    details = SeriesDetails(site.store)
    newest = Notices(site.store).newest()  # first: what is decided after it is news to the page
    detail = details.detail(uid)
    if detail is None:
        raise Problem(404, _("The gate does not know this series; look for it in the worklist."))
    of = detail.series
    shown = revision or of.judged_revision or of.revision
    if shown > of.revision:
        raise Problem(404, _("This series has no state %(n)s; it has %(count)s.", n=shown, count=of.revision))
    result = next((one for one in detail.results if one.revision == shown), None)
    texts, told = _texts(site, uid, shown), fates(site, uid)
    return page(
        request,
        "series.html",
        detail=detail,
        newest=newest,
        series=of,
        revision=shown,
        result=result,
        slice_number=slice_number or _first(result),
        chart=curve(result, shown) if result else None,
        measures=measure_rows(result, details.usual(of)) if result else (),
        history=history(detail, Labels(site.store).of_series(uid), told),
        fate=next(iter(told), None),
        held_until=held_until(site, of),
        rejectable=may_be_rejected(site, detail),
        ratings=_ratings(site, uid, visitor.name),
        reports=texts,
        text=next(iter(texts.values()), None),
        viewer_url=_viewer_url(site, detail),
        compared=_compared(site, detail, beside),
        names_allowed=_names_allowed(site, visitor),
        patient=patient,
        buttons=buttons(),
        pressed=pressed(of, visitor.name),
        heard=heard,
        failed_look=failed_look,
        sentence=sentence,
        short=short,
        telling=telling,
        worst=worst_of(result.assessment.slices) if result else None,
    )


def _first(result: Result | None) -> int | None:
    """The slice to begin with: the worst, for that is what a person should look at."""
    lowest = worst_of(result.assessment.slices) if result else None
    return lowest.slice_number if lowest else None


def _compared(site: Site, detail: SeriesDetail, beside: tuple[str, int | None]) -> dict[str, Any] | None:
    """What stands beside the series: another one, or an earlier state of it."""
    uid, revision = beside
    if not uid and revision is None:
        return None
    other = SeriesDetails(site.store).detail(uid or detail.series.series_instance_uid)
    if other is None:
        raise Problem(404, _("The gate does not know the series to compare with; choose another."))
    shown = revision or other.series.judged_revision or other.series.revision
    result = next((one for one in other.results if one.revision == shown), None)
    return {"series": other.series, "revision": shown, "result": result}


def _ratings(site: Site, uid: str, name: str) -> dict[str, Any]:
    """Ratings of the series; others' stay hidden until the visitor has rated it too."""
    rated = [one.label for one in Labels(site.store).of_series(uid) if one.label.kind is LabelKind.RATING]
    mine = any(one.rater == name for one in rated)
    return {"count": len(rated), "shown": rated if mine else []}


def _texts(site: Site, uid: str, revision: int) -> dict[str, str]:
    """Kind of report -> what it says, for those there are. A damaged one is left out."""
    found: dict[str, str] = {}
    for kind in _REPORTS:
        path = _report(site, uid, revision, kind)
        if path is None or not path.is_file():
            continue
        try:
            found[kind] = sr_text(dcmread(path))
        except (ReportError, InvalidDicomError, OSError, ValueError, AttributeError, KeyError):
            found[kind] = _("This report cannot be read; the file is damaged.")
    return found


def _report(site: Site, uid: str, revision: int, kind: str) -> Path | None:
    """Where a report would lie; None for a text that is no UID, which must not become a path."""
    if not re.fullmatch(r"[0-9.]{1,64}", uid) or ".." in uid:
        return None
    return report_path(site.settings.report_dir, uid, revision, kind)


def _viewer_url(site: Site, detail: SeriesDetail) -> str | None:
    template = site.settings.web.viewer_url
    if not template:
        return None
    of = detail.series
    return template.format(study_uid=quote(of.study_instance_uid), series_uid=quote(of.series_instance_uid))


def _names_allowed(site: Site, visitor: Visitor) -> bool:
    least = site.settings.web.patient_names
    return least != "nobody" and visitor.may(Role.named(least))


def _may_see_patients(site: Site, visitor: Visitor) -> None:
    if not _names_allowed(site, visitor):
        raise Problem(403, _("Your role may not see patient names. Look the patient up in the archive."))


def _patient(path: Path) -> Patient:
    try:
        found = open_source(path, _PATIENT_TAGS).data
        told = {tag: str(found.get(tag, "") or "") for tag in _PATIENT_TAGS}
    except (OSError, ValueError, AttributeError, KeyError, LookupError):
        raise Problem(410, _("The file that names the patient cannot be read any more.")) from None
    name = ", ".join(filter(None, told["PatientName"].partition("=")[0].split("^")))
    return Patient(
        name=_printable(name), patient_id=_printable(told["PatientID"]), born=told["PatientBirthDate"][:8]
    )


def _printable(text: str) -> str:
    return "".join(one for one in text if one.isprintable())[:_LONGEST]
