"""What machines ask: is the process alive, can it work, how much is there to do."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from qagate.certificates import Certificate, certificates
from qagate.config import Settings
from qagate.store.errors import StoreError
from qagate.store.migrate import current_revision, head_revision
from qagate.web.metrics import registry
from qagate.web.routing import Here, Router
from qagate.web.security import PUBLIC, Role
from qagate.web.texts import gettext as _

router = Router()


@router.get("/healthz", rule=PUBLIC)
def alive() -> Response:
    """200 while the process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", rule=PUBLIC)
def ready(site: Here) -> Response:
    """200 when database and spool can be used, 503 otherwise; says which.

    `warnings` are sentences that change nothing yet, such as of a certificate that is about to end.
    """
    looks: dict[str, Any] = {
        "database": _database(site.settings.store_url),
        "spool": site.spool.root.is_dir(),
    }
    return JSONResponse(looks | {"warnings": expiring(site.settings)}, 200 if all(looks.values()) else 503)


@router.get("/metrics", rule=Role.VIEWER)
def metrics(request: Request, site: Here) -> Response:
    """Prometheus' text; a scraper sends a token of a viewer."""
    text = generate_latest(registry(site.store, request.app.state.requests, site.settings))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def expiring(settings: Settings) -> list[str]:
    """A sentence for each certificate that ends within 30 days or cannot be read."""
    return [_sentence(one) for one in certificates(settings) if one.is_short]


def _sentence(one: Certificate) -> str:
    names = {"receiver": _("the receiver"), "pages": _("these pages")}
    what = names.get(one.role) or _("archive %(name)s", name=one.archive)
    if one.ends is None:
        return _("The certificate for %(what)s cannot be read: put a PEM file at its place.", what=what)
    day = f"{one.ends:%Y-%m-%d}"
    if one.days < 0:
        said = _(
            "The certificate for %(what)s ended on %(day)s: put a new one at its place; "
            "it is taken up without a restart.",
            what=what,
            day=day,
        )
    else:
        said = _(
            "The certificate for %(what)s ends on %(day)s: put a new one at its place; "
            "it is taken up without a restart.",
            what=what,
            day=day,
        )
    return said


def _database(url: str) -> bool:
    try:
        return current_revision(url) == head_revision()
    except StoreError:
        return False
