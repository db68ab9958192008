"""From the store to the charts of the trends; pages, files and the API draw the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time

from qagate import parts
from qagate.gate.control_chart import ControlChart, control_chart
from qagate.store.baselines import Baselines
from qagate.store.outcomes import Outcomes
from qagate.store.roles import Act, Roles
from qagate.store.service_events import ServiceEvents
from qagate.store.trends import QUALITY, Trends
from qagate.web import texts, words
from qagate.web.chart_bars import reasons, weekly
from qagate.web.chart_control import Level, Marker, Plotted, control
from qagate.web.chart_lines import DosePoint, dose
from qagate.web.charts import Chart, Look
from qagate.web.site import Site
from qagate.web.texts import gettext as _
from qagate.web.trend_choice import Asked
from qagate.web.verdicts import look as look_of

MOST_VALUES = 400  #: more are drawn as the mean of each day
MOST_DOSES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The values of a control chart with what they say."""

    plotted: tuple[Plotted, ...]
    chart: ControlChart
    daily: bool  #: each value is the mean of a day


def trend(site: Site, of: Asked) -> Trend:
    """The figure's values, series by series, or day by day where they are many."""
    trends, selection = Trends(site.store), of.selection
    values = trends.values(selection, of.figure, MOST_VALUES + 1)
    daily = len(values) > MOST_VALUES
    if daily:
        plotted = tuple(
            Plotted(
                at=datetime.combine(one.day, time(12), UTC),
                value=one.mean,
                note=_("%(n)s series", n=texts.number(one.count)),
            )
            for one in trends.days(selection, of.figure)
        )
    else:
        plotted = tuple(
            Plotted(
                at=one.at,
                value=one.value,
                note=look_of(one.verdict).word,
                href=f"/series/{one.series_instance_uid}",
            )
            for one in values
        )
    return Trend(plotted=plotted, chart=control_chart([one.value for one in plotted]), daily=daily)


def control_figure(site: Site, of: Asked, look: Look = Look.PAGE) -> Chart | None:
    """The control chart; None: no series has the figure."""
    found = trend(site, of)
    if not found.plotted:
        return None
    label = words.figure(of.figure)
    if found.daily:
        label = _("%(figure)s, mean of each day", figure=label)
    return control(
        found.plotted,
        found.chart,
        title=title(of, words.figure(of.figure)),
        label=label,
        clock=site.clock,
        markers=markers(site, of),
        levels=levels(site, of),
        look=look,
    )


def alerts_figure(site: Site, of: Asked, look: Look = Look.PAGE) -> Chart | None:
    """Verdicts and the truth of alerts, week by week; None: no series."""
    return _weekly(Outcomes(site.store, of.selection), of, look)


def repeats_figure(site: Site, of: Asked, look: Look = Look.PAGE) -> Chart | None:
    """Repeats by reason; None: no series was to be repeated."""
    return _reasons(Outcomes(site.store, of.selection), of, look)


def outcome_figures(site: Site, of: Asked) -> tuple[Chart | None, Chart | None]:
    """Both of them for one page."""
    outcomes = Outcomes(site.store, of.selection)
    return _weekly(outcomes, of, Look.PAGE), _reasons(outcomes, of, Look.PAGE)


def _weekly(outcomes: Outcomes, of: Asked, look: Look) -> Chart | None:
    weeks = outcomes.weeks()
    return weekly(weeks, title=title(of, _("Alerts by week")), look=look) if weeks else None


def _reasons(outcomes: Outcomes, of: Asked, look: Look) -> Chart | None:
    found = outcomes.repeats()
    return reasons(found, title=title(of, _("Repeats by reason")), look=look) if found.reasons else None


def dose_figure(site: Site, of: Asked, look: Look = Look.PAGE) -> Chart | None:
    """The figure against dose; None: no series has both."""
    points = [
        DosePoint(
            dose=one.ctdi_vol_mgy,
            value=one.value,
            note=site.clock.text(one.at, "short"),
            href=f"/series/{one.series_instance_uid}",
        )
        for one in Trends(site.store).doses(of.selection, of.figure, MOST_DOSES)
    ]
    if not points:
        return None
    label = words.figure(of.figure)
    heading = title(of, _("%(figure)s against dose", figure=label))
    return dose(points, title=heading, label=label, look=look)


#: The charts by the name their files and addresses have.
FIGURES: Mapping[str, Callable[[Site, Asked, Look], Chart | None]] = {
    "control": control_figure,
    "alerts": alerts_figure,
    "repeats": repeats_figure,
    "dose": dose_figure,
}


def title(of: Asked, what: str) -> str:
    """What is shown, and of which series."""
    chosen = [value for name, value in of.given.items() if name not in ("figure", "days", "model")]
    return " · ".join((what, *chosen))


def markers(site: Site, of: Asked) -> list[Marker]:
    """Service events as 1, 2, …; drift alarms as !; changes of the champion as M. Oldest first."""
    selection = of.selection
    events = ServiceEvents(site.store).of(selection.station, since=selection.since, until=selection.until)
    found = [
        Marker(at=one.at, text=f"{one.station}: {one.text}", sign=str(number))
        for number, one in enumerate(events, 1)
    ]
    for act in Roles(site.store).history():
        if act.act in (Act.PROMOTE, Act.ROLLBACK) and selection.since <= act.acted_at < selection.until:
            name = act.name or site.settings.worker.model
            found.append(Marker(at=act.acted_at, text=_("%(name)s is champion", name=name), sign="M"))
    for row in Baselines(site.store).rows(selection.weights_sha256, alarming=True, limit=50):
        same = selection.station in (None, row.key.station) and selection.protocol_name in (
            None,
            row.key.protocol_name,
        )
        if same and row.alarmed_at is not None and row.alarmed_at >= selection.since:
            told = _("alarm: %(protocol)s", protocol=row.key.protocol_name or row.key.region)
            found.append(Marker(at=row.alarmed_at, text=told, sign="!"))
    return sorted(found, key=lambda one: one.at)


def levels(site: Site, of: Asked) -> list[Level]:
    """The thresholds that decide the newest of the series."""
    newest = Trends(site.store).observations(of.selection, 1)
    if not newest:
        return []
    one = newest[0]
    rules = parts.policy(site.settings).rules
    rule = next((rule for rule in rules if rule.matches(one.assessment, one.header)), None)
    if rule is None:
        return []
    if of.figure == QUALITY:
        review, repeat, relative = rule.limits(one.baseline)
        if relative and not (of.selection.station and of.selection.protocol_name):
            return []  # each scanner's protocol has its own
        pairs = [(review, _("look below %(v)s")), (repeat, _("repeat below %(v)s"))]
    else:
        pairs = [
            (limits[of.figure], words_)
            for limits, words_ in (
                (rule.review_above, _("look above %(v)s")),
                (rule.review_under, _("look below %(v)s")),
            )
            if of.figure in limits
        ]
    return [Level(value=value, text=text % {"v": texts.number(value)}) for value, text in pairs]
