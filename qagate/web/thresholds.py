"""Thresholds: the decision table, and what another would have made of the last weeks. Writes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import Response

from qagate import parts
from qagate.assessment import Verdict
from qagate.gate.policy import Policy
from qagate.preview import Preview, preview
from qagate.store.trends import Selection, Trends
from qagate.web import rules_form, words
from qagate.web.errors import Problem
from qagate.web.pages import page
from qagate.web.routing import Here, Router
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _

router = Router()

DAYS = (7, 30, 90)
MOST_SERIES = 20_000  #: the newest are decided again

Texts = Annotated[list[str], Form(max_length=200)]


@router.get("/control/thresholds", rule=Role.PHYSICIST)
def thresholds(request: Request, site: Here) -> Response:
    """The decision table as it is."""
    return _page(request, parts.policy(site.settings), days=30)


@router.post("/control/thresholds", rule=Role.PHYSICIST)
def try_out(
    request: Request,
    site: Here,
    name: Texts,
    modality: Texts,
    region: Texts,
    type: Texts,
    station: Texts,
    protocol: Texts,
    review_below: Texts,
    repeat_below: Texts,
    review_below_baseline: Texts,
    repeat_below_baseline: Texts,
    review_above: Texts,
    review_under: Texts,
    days: Annotated[int, Form(ge=1, le=366)] = 30,
) -> Response:
    """What a changed table would have decided."""
    columns = (
        name, modality, region, type, station, protocol, review_below, repeat_below, review_below_baseline,
        repeat_below_baseline, review_above, review_under,
    )  # fmt: skip
    if len({len(column) for column in columns}) != 1 or len(name) > rules_form.MOST_RULES:
        raise Problem(422, _("The form is incomplete; load the page again."))
    rows = [dict(zip(rules_form.FIELDS, row, strict=True)) for row in zip(*columns, strict=True)]
    try:
        policy = rules_form.policy_of(rows)
    except Problem as problem:
        return _page(request, None, days=days, rows=rows, wrong=problem.detail)
    return _page(request, policy, days=days, found=previewed(site, policy, days))


def previewed(site: Site, policy: Policy, days: int) -> Preview:
    """The table held against the series of the last days, at most MOST_SERIES."""
    now = site.store.now()
    selection = Selection(since=now - timedelta(days=days), until=now + timedelta(days=1))
    return preview(Trends(site.store).observations(selection, MOST_SERIES), policy)


def _page(
    request: Request,
    policy: Policy | None,
    *,
    days: int,
    rows: list[dict[str, str]] | None = None,
    found: Preview | None = None,
    wrong: str = "",
) -> Response:
    return page(
        request,
        "thresholds.html",
        status=422 if wrong else 200,
        rows=rows if policy is None else rules_form.rows_of(policy),
        toml=None if policy is None else rules_form.toml_of(policy),
        table_version=None if policy is None else policy.version,
        days=days,
        choices=DAYS,
        found=found,
        verdicts=[verdict.value for verdict in Verdict],
        percent=words.percent,
        most=MOST_SERIES,
        wrong=wrong,
    )
