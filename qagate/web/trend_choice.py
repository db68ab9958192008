"""What an address asks of the trends: which series, which figure, which time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query

from qagate.gate.measures.specs import MEASURES, applies
from qagate.store.trends import QUALITY, Selection, Trends
from qagate.web.errors import Problem
from qagate.web.routing import Here
from qagate.web.site import Site
from qagate.web.texts import gettext as _

DOSE = "ctdi_vol_mgy"
LAST, EVERY = "last", "all"
DAYS = (7, 30, 90, 180, 365)
_LONGEST = 200
_NAMES = ("station", "protocol", "modality", "region", "type", "coil", "kernel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The series and figure somebody asked for."""

    selection: Selection
    figure: str
    days: int
    model: str  #: LAST or EVERY
    given: Mapping[str, str]  #: the parameters as given, empty ones left out

    def address(self, path: str, **changes: str | int | None) -> str:
        """The address that asks the same elsewhere, with some parameters changed; None takes one away."""
        query = {name: value for name, value in {**self.given, **changes}.items() if value not in (None, "")}
        return f"{path}?{urlencode(query)}" if query else path


def asked(
    site: Here,
    station: Annotated[str, Query(max_length=_LONGEST, description="StationName")] = "",
    protocol: Annotated[str, Query(max_length=_LONGEST, description="ProtocolName, the whole")] = "",
    modality: Annotated[str, Query(max_length=_LONGEST)] = "",
    region: Annotated[str, Query(max_length=_LONGEST, description="body region as the gate saw it")] = "",
    type: Annotated[str, Query(max_length=_LONGEST, description="MR contrast or CT kernel class")] = "",
    coil: Annotated[str, Query(max_length=_LONGEST, description="ReceiveCoilName")] = "",
    kernel: Annotated[str, Query(max_length=_LONGEST, description="ConvolutionKernel")] = "",
    figure: Annotated[
        str, Query(max_length=_LONGEST, description="quality, a measure, ctdi_vol_mgy")
    ] = QUALITY,
    days: Annotated[int, Query(ge=1, le=3660, description="how far back")] = 90,
    model: Annotated[
        str, Query(description="last: the model that decided last (quality); all: every model (measures)")
    ] = "",
) -> Asked:
    """What the parameters ask. Raises Problem 422."""
    if figure not in (QUALITY, DOSE, *MEASURES):
        known = ", ".join((QUALITY, DOSE, *MEASURES))
        raise Problem(422, _("There is no such figure; there are: %(known)s.", known=known))
    if model not in ("", LAST, EVERY):
        raise Problem(422, _("The model can be last or all."))
    values = dict(zip(_NAMES, (station, protocol, modality, region, type, coil, kernel), strict=True))
    if any("\x00" in value for value in values.values()):
        raise Problem(422, _("A filter holds a character that no name has; type it again."))
    now = site.store.now()
    selection = _selection(now, days, values)
    chosen = model or (LAST if figure == QUALITY else EVERY)
    if chosen == LAST:
        selection = replace(selection, weights_sha256=Trends(site.store).latest_model(selection))
    given = {name: value for name, value in values.items() if value}
    given |= {"figure": figure} if figure != QUALITY else {}
    given |= {"days": str(days)} if days != 90 else {}
    given |= {"model": model} if model else {}
    return Asked(selection=selection, figure=figure, days=days, model=chosen, given=given)


def asked_of_all(
    of: Annotated[Asked, Depends(asked)], model: Annotated[str, Query(include_in_schema=False)] = ""
) -> Asked:
    """The same of every model unless one is asked for: alerts are counted, not measured on a scale."""
    if model:
        return of
    return replace(of, model=EVERY, selection=replace(of.selection, weights_sha256=None))


AskedTrend = Annotated[Asked, Depends(asked)]
AskedOfAll = Annotated[Asked, Depends(asked_of_all)]


def _selection(now: datetime, days: int, values: Mapping[str, str]) -> Selection:
    wanted = {
        ("protocol_name" if name == "protocol" else name): value or None for name, value in values.items()
    }
    return Selection(since=now - timedelta(days=days), until=now + timedelta(days=1), **wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the filters offer."""

    options: Mapping[str, tuple[str, ...]]  #: parameter -> values
    figures: tuple[str, ...]


def choices(site: Site, of: Asked) -> Choices:
    """Values that lead somewhere: those scored together with what is chosen already."""
    trends, chosen = Trends(site.store), of.given
    rows = trends.compared()
    options: dict[str, tuple[str, ...]] = {}
    for name in ("station", "protocol", "modality", "region", "type"):
        others = {key: value for key, value in chosen.items() if key in _NAMES[:5] and key != name}
        fit = {row[_column(name)] for row in rows if all(row[_column(k)] == v for k, v in others.items())}
        options[name] = tuple(sorted(value for value in fit if value))
    options["coil"] = trends.distinct(replace(of.selection, coil=None), "coil")
    options["kernel"] = trends.distinct(replace(of.selection, kernel=None), "kernel")
    modality = chosen.get("modality") or (options["modality"][0] if len(options["modality"]) == 1 else "")
    measured = tuple(name for name in MEASURES if not modality or applies(name, modality))
    dose = (DOSE,) if modality in ("", "CT") else ()
    return Choices(options=options, figures=(QUALITY, *measured, *dose))


def _column(name: str) -> str:
    return "protocol_name" if name == "protocol" else name
