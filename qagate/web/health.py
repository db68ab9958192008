"""What machines ask: is the process alive, can it work, how much is there to do."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from qagate.store.errors import StoreError
from qagate.store.migrate import current_revision, head_revision
from qagate.web.metrics import registry
from qagate.web.routing import Here, Router
from qagate.web.security import PUBLIC, Role

router = Router()


@router.get("/healthz", rule=PUBLIC)
def alive() -> Response:
    """200 while the process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", rule=PUBLIC)
def ready(site: Here) -> Response:
    """200 when database and spool can be used, 503 otherwise; says which, and nothing else."""
    looks: dict[str, Any] = {
        "database": _database(site.settings.store_url),
        "spool": site.spool.root.is_dir(),
    }
    return JSONResponse(looks, 200 if all(looks.values()) else 503)


@router.get("/metrics", rule=Role.VIEWER)
def metrics(request: Request, site: Here) -> Response:
    """Prometheus' text; a scraper sends a token of a viewer."""
    text = generate_latest(registry(site.store, request.app.state.requests))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _database(url: str) -> bool:
    try:
        return current_revision(url) == head_revision()
    except StoreError:
        return False
