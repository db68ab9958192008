"""The pages of the trends: who drifts, control charts, alerts and repeats, dose; service events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from qagate import stewardship
from qagate.store.baselines import BaselineRow, Baselines
from qagate.store.service_events import ServiceEvents
from qagate.store.trends import Trends
from qagate.web import texts, trend_charts, words
from qagate.web.chart_files import MEDIA, file_of
from qagate.web.chart_lines import sparkline
from qagate.web.charts import Look
from qagate.web.errors import Problem
from qagate.web.pages import page
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.site import Site
from qagate.web.texts import gettext as _
from qagate.web.trend_choice import DAYS, Asked, AskedOfAll, AskedTrend, asked_of_all, choices

router = Router()

_PAGE = 50  #: baselines on one page
_LONGEST_EVENT = 500
_USUAL_MADS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One baseline as the overview shows it."""

    row: BaselineRow
    now: float | None  #: median of the last series
    shift: float | None  #: MADs from the level it was built on
    spark: Markup
    address: str


@router.get("/trends", rule=Role.VIEWER)
def overview(
    request: Request,
    site: Here,
    at: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    accepted: int | None = None,
) -> Response:
    """Every scanner's protocols, alarms first."""
    model = Trends(site.store).latest_model()
    rows = Baselines(site.store).rows(model, limit=_PAGE + 1, offset=at) if model else ()
    return page(
        request,
        "trends.html",
        watched=[_watched(site, row) for row in rows[:_PAGE]],
        before=max(at - _PAGE, 0) if at else None,
        after=at + _PAGE if len(rows) > _PAGE else None,
        accepted=accepted,
    )


@router.get("/trends/chart", rule=Role.VIEWER)
def chart(request: Request, site: Here, of: AskedTrend) -> Response:
    """The control chart of a figure."""
    return _page(
        request,
        site,
        of,
        "trends_chart.html",
        chart=trend_charts.control_figure(site, of),
        markers=trend_charts.markers(site, of),
        exports=of.address("/trends/control.KIND"),
        moment=site.clock.local(site.store.now()).strftime("%Y-%m-%dT%H:%M"),
    )


@router.get("/trends/alerts", rule=Role.VIEWER)
def alerts(request: Request, site: Here, of: AskedOfAll) -> Response:
    """Alert rate, its truth, and repeats by reason."""
    weekly, reasons = trend_charts.outcome_figures(site, of)
    return _page(
        request,
        site,
        of,
        "trends_alerts.html",
        weekly=weekly,
        reasons=reasons,
        exports={name: of.address(f"/trends/{name}.KIND") for name in ("alerts", "repeats")},
    )


@router.get("/trends/dose", rule=Role.VIEWER)
def dose(request: Request, site: Here, of: AskedTrend) -> Response:
    """A figure against dose."""
    return _page(
        request,
        site,
        of,
        "trends_dose.html",
        chart=trend_charts.dose_figure(site, of),
        exports=of.address("/trends/dose.KIND"),
    )


@router.get("/trends/{name}.{kind}", rule=Role.VIEWER)
def export(site: Here, of: AskedTrend, name: str, kind: str) -> Response:
    """A chart as SVG, PNG or CSV."""
    if name not in trend_charts.FIGURES or kind not in MEDIA:
        raise Problem(404, _("There is no such chart; use the links below the charts."))
    if name in ("alerts", "repeats"):
        of = asked_of_all(of, of.given.get("model", ""))
    drawn = trend_charts.FIGURES[name](site, of, Look.FILE)
    if drawn is None:
        raise Problem(404, _("No series fits; widen the filters."))
    return file_of(drawn, kind, f"qagate-{name}-{site.clock.local(site.store.now()):%Y-%m-%d}")


@router.post("/trends/events", rule=Role.PHYSICIST)
def add_event(
    site: Here,
    visitor: Visitor,
    of: AskedTrend,
    when: Annotated[str, Form()] = "",
    scanner: Annotated[str, Form()] = "",
    text: Annotated[str, Form()] = "",
) -> Response:
    """Note what was done to a scanner."""
    said = text.strip()
    if not said or len(said) > _LONGEST_EVENT or not said.isprintable():
        raise Problem(422, _("Say what was done, in 1 to 500 characters on one line."))
    if not scanner or scanner not in choices(site, of).options["station"]:
        raise Problem(422, _("Choose one of the scanners of the list."))
    try:
        moment = site.clock.zoned(datetime.fromisoformat(when))
    except (ValueError, OverflowError):
        raise Problem(422, _("Write the time as 2026-03-01T12:30.")) from None
    with site.store.together():
        ServiceEvents(site.store).add(station=scanner, at=moment, words=said, actor=visitor.name)
        site.audit(visitor, act="service event", station=scanner, at=moment.isoformat())
    return RedirectResponse(of.address("/trends/chart", station=scanner), 303)


@router.post("/trends/baselines/{number}/accept", rule=Role.PHYSICIST)
def accept(site: Here, visitor: Visitor, number: int, reason: Annotated[str, Form()] = "") -> Response:
    """Call the present level of a baseline normal."""
    if not reason.strip():
        raise Problem(422, _("Say why this level is normal; it is kept with the act."))
    stewardship.accept(site.settings, number, actor=visitor.name, reason=reason.strip())
    return RedirectResponse(f"/trends?accepted={number}", 303)


def _page(request: Request, site: Site, of: Asked, template: str, **shown: Any) -> Response:
    """A page with the filters of the trends above what it shows."""
    filters: dict[str, Any] = {
        "of": of,
        "choices": choices(site, of),
        "days": DAYS,
        "figure_word": words.figure,
    }
    return page(request, template, **filters, **shown)


def _watched(site: Site, row: BaselineRow) -> Watched:
    state, key = row.state, row.key
    recent = [point.quality for point in state.recent]
    now, shift, usual = (median(recent) if recent else None), None, None
    if state.anchor_median is not None and state.anchor_mad is not None and now is not None:
        spread = max(state.anchor_mad, site.settings.baseline.least_mad)
        shift = (now - state.anchor_median) / spread
        usual = (state.anchor_median - _USUAL_MADS * spread, state.anchor_median + _USUAL_MADS * spread)
    told = _("last %(n)s series, now %(now)s", n=len(recent), now=texts.number(now))
    given = {"station": key.station, "protocol": key.protocol_name, "region": key.region, "type": key.type}
    return Watched(
        row=row,
        now=now,
        shift=shift,
        spark=sparkline(recent, usual=usual, words=told),
        address=_address(given),
    )


def _address(given: dict[str, str]) -> str:
    return "/trends/chart?" + urlencode({name: value for name, value in given.items() if value})
