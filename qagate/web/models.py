"""Models: who is champion and challenger, how they compare, and the acts that change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from qagate import stewardship
from qagate.store.errors import StoreError
from qagate.store.roles import Roles
from qagate.trained_models import trained
from qagate.web import words
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _

router = Router()

_LONGEST = 200
_ACTS_SHOWN = 30

Name = Annotated[str, Form(max_length=_LONGEST)]
Reason = Annotated[str, Form(max_length=1000)]


@router.get("/control/models", rule=Role.PHYSICIST)
def models(
    request: Request,
    site: Here,
    compare: Annotated[str, Query(max_length=_LONGEST)] = "",
    done: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Champion, challenger and the other models; `compare` names the one to hold against the champion."""
    said = {
        "promote": _("The workers decide with the new champion from their next batch on."),
        "rollback": _("The former champion decides again from the workers' next batch on."),
        "shadow": _("It scores in silence from now on; nothing it says leaves the gate."),
        "off": _("There is no challenger any more."),
    }.get(done, "")
    return _page(request, site, compare=compare, said=said)


@router.post("/control/models/shadow", rule=Role.PHYSICIST)
def shadow(request: Request, site: Here, visitor: Visitor, name: Name = "", reason: Reason = "") -> Response:
    """Let a model score in silence."""
    return _act(
        request, site, "shadow", name,
        lambda: stewardship.shadow(site.settings, name, actor=visitor.name, reason=reason.strip()),
    )  # fmt: skip


@router.post("/control/models/off", rule=Role.PHYSICIST)
def off(request: Request, site: Here, visitor: Visitor, reason: Reason = "") -> Response:
    """Let there be no challenger."""
    return _act(
        request, site, "off", "",
        lambda: stewardship.shadow_off(site.settings, actor=visitor.name, reason=reason.strip()),
    )  # fmt: skip


@router.post("/control/models/promote", rule=Role.PHYSICIST)
def promote(
    request: Request,
    site: Here,
    visitor: Visitor,
    name: Name = "",
    reason: Reason = "",
    force: Annotated[bool, Form()] = False,
) -> Response:
    """Make a model champion; what speaks against it is shown, and overruled only with a reason."""
    return _act(
        request, site, "promote", name,
        lambda: stewardship.promote(
            site.settings, name, actor=visitor.name, reason=reason.strip(), force=force
        ),
    )  # fmt: skip


@router.post("/control/models/rollback", rule=Role.PHYSICIST)
def rollback(request: Request, site: Here, visitor: Visitor, reason: Reason = "") -> Response:
    """Make the former champion champion again."""
    return _act(
        request, site, "rollback", "",
        lambda: stewardship.rollback(site.settings, actor=visitor.name, reason=reason.strip()),
    )  # fmt: skip


def _act(request: Request, site: Site, what: str, name: str, act: Callable[[], object]) -> Response:
    """Do it and say so; or say why not."""
    try:
        act()
    except StoreError:
        raise
    except (ValueError, RuntimeError) as error:
        refused = isinstance(error, stewardship.PromotionRefused)
        wrong = _("Not promoted; what speaks against it stands below.") if refused else str(error)
        return _page(request, site, compare=name if refused else "", wrong=wrong, status=409)
    return RedirectResponse(f"/control/models?done={what}", 303)


def _page(
    request: Request, site: Site, *, compare: str = "", said: str = "", wrong: str = "", status: int = 200
) -> Response:
    service = stewardship.service(site.settings)
    comparison = None
    if compare and "\x00" not in compare:
        try:
            comparison = stewardship.compare(site.settings, compare)
        except StoreError:
            raise
        except (ValueError, RuntimeError) as error:
            wrong = wrong or str(error)
    roles = Roles(site.store)
    return page(
        request,
        "models.html",
        status=status,
        service=service,
        former=roles.standing().former,
        settings_model=site.settings.worker.model,
        usable=trained(site.settings.house_dir),
        comparison=comparison,
        acts=roles.history()[:_ACTS_SHOWN],
        percent=words.percent,
        said=said,
        wrong=wrong,
    )
