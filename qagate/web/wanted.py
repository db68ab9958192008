"""What an address asks of the worklist, and the address that asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query

from qagate.assessment import Verdict
from qagate.series import State
from qagate.store.worklist import Filter, Only, Order
from qagate.web.errors import Problem
from qagate.web.routing import Here
from qagate.web.texts import Clock
from qagate.web.texts import gettext as _

_Choice = TypeVar("_Choice", bound=Enum)
_NAMES = (
    *("since", "until", "station", "modality", "region", "protocol", "verdict", "state", "only", "uid"),
    "order",
)
_LONGEST = 200  #: characters of a part of a protocol's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A worklist that somebody asked for."""

    filter: Filter
    order: Order
    given: Mapping[str, str]  #: the parameters as they were given, empty ones left out

    @property
    def fields(self) -> Mapping[str, str]:
        """Every parameter, "" where it was not given."""
        return {name: self.given.get(name, "") for name in _NAMES}

    def address(self, path: str = "/worklist", **changes: str | None) -> str:
        """The address with some parameters changed; None takes one away."""
        query = {name: value for name, value in {**self.given, **changes}.items() if value not in (None, "")}
        return f"{path}?{urlencode(query)}" if query else path


def wanted(
    site: Here,
    since: Annotated[
        str, Query(max_length=40, description="first day, such as 2026-03-01, or a time with zone")
    ] = "",
    until: Annotated[
        str, Query(max_length=40, description="last day, or a time with zone; series before it")
    ] = "",
    station: Annotated[str, Query(max_length=_LONGEST, description="StationName")] = "",
    modality: Annotated[str, Query(max_length=_LONGEST)] = "",
    region: Annotated[str, Query(max_length=_LONGEST, description="body region as the gate saw it")] = "",
    protocol: Annotated[str, Query(max_length=_LONGEST, description="a part of ProtocolName")] = "",
    verdict: Annotated[str, Query(description="pass, review, repeat or not_assessed")] = "",
    state: Annotated[str, Query(description="receiving, complete, scoring, decided, delivered, failed")] = "",
    only: Annotated[str, Query(description="problems, held or open")] = "",
    uid: Annotated[str, Query(max_length=_LONGEST, description="a whole Series Instance UID")] = "",
    order: Annotated[str, Query(description="newest, oldest, worst, best, scanner or protocol")] = "",
) -> Wanted:
    """The worklist that the parameters name; empty ones ask nothing. Raises Problem 422."""
    values = (since, until, station, modality, region, protocol, verdict, state, only, uid, order)
    given = dict(zip(_NAMES, values, strict=True))
    if any("\x00" in text for text in (station, modality, region, protocol, uid)):
        raise Problem(422, _("A filter holds a character that no name has; type it again."))
    return Wanted(
        filter=Filter(
            since=_day(since, site.clock) or _time(since, _("from"), site.clock),
            until=_day(until, site.clock, after=1) or _time(until, _("to"), site.clock),
            station=station or None,
            modality=modality or None,
            region=region or None,
            protocol=protocol.strip(),
            verdict=_choice(Verdict, verdict.upper(), _("verdict")),
            state=_choice(State, state.upper(), _("state")),
            only=_choice(Only, only, _("show")),
            series_instance_uid=uid.strip(),
        ),
        order=_choice(Order, order, _("order")) or Order.NEWEST,
        given={name: value for name, value in given.items() if value},
    )


WantedList = Annotated[Wanted, Depends(wanted)]


def _choice(of: type[_Choice], value: str, name: str) -> _Choice | None:
    if not value:
        return None
    try:
        return of(value)
    except ValueError:
        there = ", ".join(str(one.value).lower() for one in of)
        raise Problem(
            422, _("%(name)s cannot be that; there are: %(there)s.", name=name, there=there)
        ) from None


def _day(value: str, clock: Clock, *, after: int = 0) -> datetime | None:
    """Midnight in the site's zone, so many days after the day; None for what is no day."""
    try:
        day = date.fromisoformat(value.strip()) + timedelta(days=after)
        return clock.zoned(datetime.combine(day, time())).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _time(value: str, name: str, clock: Clock) -> datetime | None:
    if not value.strip():
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return (found if found.tzinfo else clock.zoned(found)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise Problem(422, _("%(name)s is no day; write it as 2026-03-01.", name=name)) from None
