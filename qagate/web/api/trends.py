"""The trends for programs: values with control limits, weeks, repeats, doses, baselines, events."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from qagate.store.baselines import Baselines
from qagate.store.outcomes import Outcomes
from qagate.store.service_events import ServiceEvents
from qagate.store.trends import Trends
from qagate.web import trend_charts
from qagate.web.errors import Problem
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.texts import gettext as _
from qagate.web.trend_choice import AskedOfAll, AskedTrend

router = Router(prefix="/api/v1/trends", tags=["trends"], schema=True)

_MOST = 500


class LimitsOut(BaseModel):
    """What the first values shown say is usual."""

    centre: float
    sigma: float
    count: int = Field(description="values behind it")


class PointOut(BaseModel):
    """One value of a control chart."""

    at: datetime
    value: float
    note: str
    series: str | None = Field(description="path of its page; null for the mean of a day")
    sigmas: float | None = Field(description="standard deviations from the centre; null without limits")
    ewma: float | None
    ewma_low: float | None
    ewma_high: float | None


class ControlOut(BaseModel):
    """A control chart."""

    figure: str
    daily: bool = Field(description="whether each value is the mean of a day")
    limits: LimitsOut | None = Field(description="null: too few values")
    drifting: bool = Field(description="whether the EWMA of the last value is out of its limits")
    points: tuple[PointOut, ...]


class WeekOut(BaseModel):
    """One week's series and what people said of its alerts."""

    monday: date
    verdicts: dict[str, int]
    alerts: int
    right: int
    wrong: int
    missed: int


class ReasonOut(BaseModel):
    """What series were to be repeated for."""

    artefact: str = Field(description="empty: no artefact was named")
    suggested: int
    repeated: int


class RepeatsOut(BaseModel):
    """Repeats among the assessed series."""

    series: int
    reasons: tuple[ReasonOut, ...]


class DoseOut(BaseModel):
    """One CT series with its dose."""

    series_instance_uid: str
    at: datetime
    ctdi_vol_mgy: float
    value: float


class BaselineOut(BaseModel):
    """How one scanner's protocol usually scores."""

    number: int
    station: str
    protocol: str
    modality: str
    region: str
    type: str
    median: float | None
    mad: float | None
    anchor_median: float | None = Field(description="of the series it was built on")
    recent: tuple[float, ...] = Field(description="qualities of the last series, oldest first")
    alarm: str | None
    alarmed_at: datetime | None
    updated_at: datetime


class EventIn(BaseModel):
    """What was done to a scanner."""

    model_config = ConfigDict(extra="forbid")

    station: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")
    at: AwareDatetime
    text: str = Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f]+$")


class EventOut(BaseModel):
    """What was done to a scanner, and who noted it."""

    station: str
    at: datetime
    text: str
    actor: str


@router.get("/control", rule=Role.VIEWER, response_model=ControlOut)
def control(site: Here, of: AskedTrend) -> ControlOut:
    """A figure's values with Shewhart's and the EWMA's limits."""
    found = trend_charts.trend(site, of)
    limits = found.chart.limits
    points = found.chart.points or (None,) * len(found.plotted)
    return ControlOut(
        figure=of.figure,
        daily=found.daily,
        limits=LimitsOut(centre=limits.centre, sigma=limits.sigma, count=limits.count) if limits else None,
        drifting=found.chart.drifting,
        points=tuple(
            PointOut(
                at=one.at,
                value=one.value,
                note=one.note,
                series=one.href or None,
                sigmas=point.sigmas if point else None,
                ewma=point.ewma.value if point else None,
                ewma_low=point.ewma.low if point else None,
                ewma_high=point.ewma.high if point else None,
            )
            for one, point in zip(found.plotted, points, strict=True)
        ),
    )


@router.get("/weeks", rule=Role.VIEWER, response_model=tuple[WeekOut, ...])
def weeks(site: Here, of: AskedOfAll) -> tuple[WeekOut, ...]:
    """Verdicts, alerts and their truth, week by week."""
    return tuple(
        WeekOut(
            monday=one.monday,
            verdicts=dict(one.verdicts),
            alerts=one.alerts,
            right=one.right,
            wrong=one.wrong,
            missed=one.missed,
        )
        for one in Outcomes(site.store, of.selection).weeks()
    )


@router.get("/repeats", rule=Role.VIEWER, response_model=RepeatsOut)
def repeats(site: Here, of: AskedOfAll) -> RepeatsOut:
    """Repeats by reason."""
    found = Outcomes(site.store, of.selection).repeats()
    return RepeatsOut(
        series=found.series,
        reasons=tuple(
            ReasonOut(artefact=one.artefact, suggested=one.suggested, repeated=one.repeated)
            for one in found.reasons
        ),
    )


@router.get("/doses", rule=Role.VIEWER, response_model=tuple[DoseOut, ...])
def doses(site: Here, of: AskedTrend) -> tuple[DoseOut, ...]:
    """A figure against CTDIvol, the newest series."""
    return tuple(
        DoseOut(
            series_instance_uid=one.series_instance_uid,
            at=one.at,
            ctdi_vol_mgy=one.ctdi_vol_mgy,
            value=one.value,
        )
        for one in Trends(site.store).doses(of.selection, of.figure, trend_charts.MOST_DOSES)
    )


@router.get("/baselines", rule=Role.VIEWER, response_model=tuple[BaselineOut, ...])
def baselines(
    site: Here, at: Annotated[int, Query(ge=0, le=1_000_000, description="how many to pass over")] = 0
) -> tuple[BaselineOut, ...]:
    """The baselines of the model that decided last, alarms first, at most 500."""
    model = Trends(site.store).latest_model()
    rows = Baselines(site.store).rows(model, limit=_MOST, offset=at) if model else ()
    return tuple(
        BaselineOut(
            number=row.baseline_id,
            station=row.key.station,
            protocol=row.key.protocol_name,
            modality=row.key.modality,
            region=row.key.region,
            type=row.key.type,
            median=row.state.median,
            mad=row.state.mad,
            anchor_median=row.state.anchor_median,
            recent=tuple(point.quality for point in row.state.recent),
            alarm=row.state.alarm.value if row.state.alarm else None,
            alarmed_at=row.alarmed_at,
            updated_at=row.updated_at,
        )
        for row in rows
    )


@router.get("/events", rule=Role.VIEWER, response_model=tuple[EventOut, ...])
def events(site: Here, of: AskedTrend) -> tuple[EventOut, ...]:
    """Service events of a scanner, or of all, oldest first."""
    selection = of.selection
    found = ServiceEvents(site.store).of(selection.station, since=selection.since, until=selection.until)
    return tuple(EventOut(station=one.station, at=one.at, text=one.text, actor=one.actor) for one in found)


@router.post("/events", rule=Role.PHYSICIST, response_model=EventOut, status_code=201)
def add_event(site: Here, visitor: Visitor, event: EventIn) -> EventOut:
    """Note what was done to a scanner."""
    if not event.text.strip() or not event.station.strip():
        raise Problem(422, _("Say what was done, in 1 to 500 characters on one line."))
    with site.store.together():
        one = ServiceEvents(site.store).add(
            station=event.station, at=event.at, words=event.text.strip(), actor=visitor.name
        )
        site.audit(visitor, act="service event", station=one.station, at=one.at.isoformat())
    return EventOut(station=one.station, at=one.at, text=one.text, actor=one.actor)
