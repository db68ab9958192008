"""The worklist: every series, filtered, sorted and paged by its address, so that each view is a link."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import Request
from fastapi.responses import Response

from qagate.assessment import Verdict
from qagate.series import State
from qagate.store.desk import DeskSeries
from qagate.store.notices import Notices
from qagate.store.worklist import COUNTED, BadCursor, Filter, Only, Order, Page, Worklist
from qagate.web.acts import heard
from qagate.web.console import share
from qagate.web.errors import Problem
from qagate.web.pages import page
from qagate.web.reasons import plain, telling
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.sheets import csv_answer
from qagate.web.site import Site
from qagate.web.texts import gettext as _
from qagate.web.wanted import Wanted, WantedList

router = Router()

COLUMNS = (
    *("series_instance_uid", "study_instance_uid", "revision", "state", "verdict", "provisional", "quality"),
    *("reasons", "station", "modality", "region", "protocol", "description", "series_number", "instances"),
    *("received_at", "decided_at", "undelivered", "held_since", "rejected", "last_error", "answers"),
)
_PROBLEMS_SHOWN = 5


@router.get("/worklist", rule=Role.VIEWER)
def worklist(
    request: Request, site: Here, asked: WantedList, after: str | None = None, before: str | None = None
) -> Response:
    """One page of the list; what failed or was not delivered stands above it whatever the filter."""
    listed, notices = Worklist(site.store), Notices(site.store)
    shown, attention = one_page(site, asked, after=after, before=before), notices.attention()
    whole = shown.before is None and shown.after is None
    count = len(shown.rows) if whole else listed.count(asked.filter)
    problems: tuple[DeskSeries, ...] = ()
    if attention.total and asked.filter.only is not Only.PROBLEMS:
        problems = listed.page(Filter(only=Only.PROBLEMS), limit=_PROBLEMS_SHOWN).rows
    return page(
        request,
        "worklist.html",
        heard=heard,
        asked=asked,
        attention=attention,
        choices=listed.choices(),
        count=count,
        counted=COUNTED,
        first=after is None and before is None,
        listed=shown,
        newest=notices.newest(),
        orders=orders(),
        plain=plain,
        problems=problems,
        share=share,
        states=list(State),
        telling=telling,
        today=site.clock.local(datetime.now(UTC)).date(),
        verdicts=list(Verdict),
    )


def one_page(
    site: Site, asked: Wanted, *, after: str | None, before: str | None, limit: int | None = None
) -> Page:
    """The page of a cursor. Raises Problem for a damaged one."""
    sizes = {} if limit is None else {"limit": limit}
    try:
        return Worklist(site.store).page(asked.filter, asked.order, after=after, before=before, **sizes)
    except BadCursor:
        raise Problem(
            422, _("The address of this page is damaged. Open the first page of the list.")
        ) from None


def orders() -> dict[str, str]:
    """Every order in the visitor's language."""
    return {
        Order.NEWEST.value: _("newest first"),
        Order.OLDEST.value: _("oldest first"),
        Order.WORST.value: _("lowest quality first"),
        Order.BEST.value: _("highest quality first"),
        Order.SCANNER.value: _("by scanner"),
        Order.PROTOCOL.value: _("by protocol"),
    }


@router.get("/worklist.csv", rule=Role.VIEWER)
def export(site: Here, visitor: Visitor, asked: WantedList) -> Response:
    """Every series of the list as CSV in UTF-8, times in UTC."""
    site.audit(visitor, act="export worklist", **asked.given)
    name = f"qagate-worklist-{site.clock.local(datetime.now(UTC)):%Y-%m-%d}.csv"
    return csv_answer(name, COLUMNS, map(cells, Worklist(site.store).export(asked.filter, asked.order)))


def cells(row: DeskSeries) -> tuple[object, ...]:
    """The values of COLUMNS."""
    return (
        row.series_instance_uid,
        row.study_instance_uid,
        row.revision,
        row.state.value,
        row.verdict.value if row.verdict else "",
        "yes" if row.provisional else "",
        "" if row.quality is None else round(row.quality, 4),
        "; ".join(row.reasons),
        row.station_name,
        row.modality,
        row.region,
        row.protocol_name,
        row.series_description,
        "" if row.series_number is None else row.series_number,
        row.instance_count,
        _utc(row.last_received_at),
        _utc(row.decided_at),
        row.undelivered,
        _utc(row.held_since),
        "yes" if row.rejected else "",
        row.last_error or "",
        "; ".join(
            f"{one.actor}: {one.kind.value if one.kind else 'acknowledged'}"
            + (f" ({one.reason})" if one.reason else "")
            for one in row.said
        ),
    )


def _utc(time: datetime | None) -> str:
    return "" if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")
