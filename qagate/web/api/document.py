"""The OpenAPI document of everything under /api/v1."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from qagate.web.routing import Router
from qagate.web.security import Role

router = Router(prefix="/api/v1")


@router.get("/openapi.json", rule=Role.VIEWER)
def document(request: Request) -> Response:
    """What can be asked, with the types of question and answer."""
    return JSONResponse(request.app.openapi())
