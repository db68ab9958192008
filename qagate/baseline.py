"""The running baseline of a station's protocol: how its series usually score. Types only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from enum import Enum


class BaselineAlarm(Enum):
    """What a physicist must look at before the gate goes on as if nothing were."""

    DRIFT = "drift"  #: recent series score otherwise than those the baseline was built on
    LOW = "low"  #: most series are REPEAT before there is a baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineKey:
    """Which series are compared with one another."""

    station: str  #: (0008,1010) *Station Name*, or the calling AE title where there is none
    protocol_name: str  #: (0018,1030); free text: it stays out of alerts unless a setting allows it
    modality: str  #: (0008,0060)
    region: str  #: of the prompt
    type: str  #: of the prompt: MR contrast or CT kernel class
    weights_sha256: str  #: another model's scores are another scale

    @property
    def digest(self) -> str:
        """One short, fixed-size name of the whole key."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One series as the baseline remembers it."""

    series_id: int  #: the store's key; a later revision takes the place of an earlier one
    quality: float
    repeat: bool = False  #: the gate suggested a repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineState:
    """Everything that is kept of one baseline."""

    sample: tuple[Point, ...] = ()  #: what the baseline is computed from, oldest first; no REPEAT
    recent: tuple[Point, ...] = ()  #: the last series, REPEAT among them
    median: float | None = None  #: of the sample; None until it is warm
    mad: float | None = None
    anchor_median: float | None = None  #: of the series it was built on; fixed once these are enough
    anchor_mad: float | None = None
    evidence: int = 0  #: series that spoke for a drift, less those that spoke against it
    alarm: BaselineAlarm | None = None
