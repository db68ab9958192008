"""The OpenAPI document of everything under /api/v1."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from qagate.web.routing import Router
from qagate.web.security import Role

router = Router(prefix="/api/v1")


@router.get("/openapi.json", rule=Role.VIEWER)
def document(request: Request) -> Response:
    """What can be asked, with the types of question and answer."""
    return JSONResponse(described(request.app))


def described(app: FastAPI) -> dict[str, Any]:
    """The document, with how programs prove who they are."""
    made = app.openapi()
    made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"token": []}]
    return made
