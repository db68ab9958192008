"""Proof that a form was sent from our own page: a value derived from a secret that only the cookie holds.

Someone logged in has the session cookie; before login a cookie of its own serves the login form.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from fastapi import Request, Response

FIELD = "csrf"
HEADER = "x-csrf-token"
_FORM_COOKIE = "qagate_form"


def token_of(secret: str) -> str:
    """The token that belongs to a secret."""
    return hmac.new(secret.encode(), b"qagate form", hashlib.sha256).hexdigest()


def form_secret(request: Request) -> str:
    """The outsider's secret, made when there is none yet."""
    known = request.cookies.get(_FORM_COOKIE)
    if known:
        return known
    if not hasattr(request.state, "form_secret"):
        request.state.form_secret = secrets.token_urlsafe(32)
    return str(request.state.form_secret)


def keep_form_secret(request: Request, response: Response) -> None:
    """Give the outsider's browser the secret that its page was made with."""
    made = getattr(request.state, "form_secret", None)
    if made is not None:
        secure = bool(request.app.state.site.settings.web.encrypted)
        response.set_cookie(_FORM_COOKIE, made, httponly=True, samesite="lax", secure=secure)


async def sent_token(request: Request) -> str:
    """What the request gives as proof: a header from scripts, a field from forms."""
    header = request.headers.get(HEADER)
    if header is not None:
        return header
    kind = request.headers.get("content-type", "")
    if kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        form = await request.form()
        return str(form.get(FIELD, ""))
    return ""


def proves(sent: str, expected: str) -> bool:
    """Whether what was sent is the token."""
    return bool(expected) and hmac.compare_digest(sent.encode(), expected.encode())
