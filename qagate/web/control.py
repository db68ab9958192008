"""Control: queue and deliveries, archives, what failed and how it goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response

from qagate import parts
from qagate.dicom import scu
from qagate.store.health import Health
from qagate.store.holds import Holds
from qagate.store.outbox import Outbox
from qagate.store.queue import Queue
from qagate.store.refusals import Refusals
from qagate.store.roles import Roles
from qagate.store.rows import text
from qagate.store.series_detail import SeriesDetails
from qagate.web.errors import Problem
from qagate.web.health import expiring
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _
from qagate.web.texts import ngettext
from qagate.web.words import refusal

router = Router()

SHOWN = 50  #: rows of each list
_ECHO_S = 5.0  #: a person waits for the answer


@router.get("/control", rule=Role.PHYSICIST)
def health(request: Request, site: Here, requeued: int | None = None) -> Response:
    """How the gate itself does."""
    said = "" if requeued is None else done(requeued)
    return _page(request, site, said=said)


@router.post("/control/requeue", rule=Role.PHYSICIST)
def requeue_series(
    site: Here,
    visitor: Visitor,
    series: Annotated[str, Form()] = "",
    failed: Annotated[bool, Form()] = False,
) -> Response:
    """Let one series be scored again, or every one that failed."""
    with site.store.together():
        count = requeue(site, [series] if series else [], failed=failed)
        site.audit(visitor, act="requeue series", series_instance_uid=series or None, count=count)
    return RedirectResponse(f"/control?requeued={count}", 303)


@router.post("/control/redeliver", rule=Role.PHYSICIST)
def redeliver(site: Here, visitor: Visitor, series: Annotated[str, Form()] = "") -> Response:
    """Try the given-up deliveries of one series again, or all of them."""
    with site.store.together():
        count = Outbox(site.store).requeue_dead(text(series) or None)
        site.audit(visitor, act="requeue deliveries", series_instance_uid=text(series) or None, count=count)
    return RedirectResponse(f"/control?requeued={count}", 303)


@router.post("/control/archives/{name}/echo", rule=Role.PHYSICIST)
def echo_archive(request: Request, site: Here, visitor: Visitor, name: str) -> Response:
    """Ask an archive whether it is there."""
    trouble = echo(site, name)
    site.audit(visitor, act="echo", archive=name, answered=not trouble)
    if trouble:
        return _page(request, site, wrong=trouble)
    return _page(request, site, said=_("%(name)s answers.", name=name))


def requeue(site: Site, series: list[str], *, failed: bool) -> int:
    """Let series be scored again; how many. Raises Problem 404 for one that is not known, 422 for nothing."""
    if not series and not failed:
        raise Problem(422, _("Name a series, or ask for all that failed."))
    for uid in series:
        if SeriesDetails(site.store).stamp(uid) is None:
            raise Problem(404, _("There is no such series; it may have been deleted."))
    return Queue(site.store).requeue(series, failed=failed)


def echo(site: Site, name: str) -> str:
    """C-ECHO an archive of the settings; what went wrong, "" when it answered. Raises Problem 404."""
    found = next((one for one in site.settings.archive if one.name == name), None)
    if found is None:
        raise Problem(404, _("The settings name no such archive."))
    archive = parts.archive(site.settings, found)
    try:
        scu.echo(replace(archive, timeout_s=min(archive.timeout_s, _ECHO_S)))
    except (scu.DeliveryError, OSError, ValueError) as error:
        return str(error)
    return ""


def done(count: int) -> str:
    """What to say of a requeue."""
    if not count:
        return _("Nothing was to be done: it goes on already, or somebody was faster.")
    return ngettext("It is in the queue again.", "%(num)s are in the queue again.", count)


def _page(request: Request, site: Site, *, said: str = "", wrong: str = "") -> Response:
    found = Health(site.store)
    queue, names = found.queue(), tuple(one.name for one in site.settings.archive)
    free_mb = site.spool.free_bytes() // 2**20
    refused = sorted(Refusals(site.store).today().items(), key=lambda one: -one[1])
    return page(
        request,
        "control.html",
        said=said,
        wrong=wrong,
        queue=queue,
        waiting=sum(queue.counts.get(name, 0) for name in ("COMPLETE", "SCORING")),
        held=Holds(site.store).waiting(),
        failed=found.failed(SHOWN),
        stuck=found.stuck(SHOWN),
        destinations=found.destinations(names),
        archives={one.name: one for one in site.settings.archive},
        loads=[load for load in Roles(site.store).loads() if load.error],
        free_gb=free_mb / 1024,
        full=free_mb < site.settings.receiver.min_free_mb,
        shown=SHOWN,
        warnings=expiring(site.settings),
        refused=[(refusal(word), count) for word, count in refused if count],
    )
