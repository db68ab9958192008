"""Quality on the readers' own scale, and which threshold gives which alerts. Pure; fits nothing.

The table of a scale is fitted elsewhere (`train.calibrate`); serving only reads it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from qagate.assessment import Rating

Floats = npt.NDArray[np.float64]

FEWEST_ALERTS = 5  #: a share among fewer says nothing
_CONFIDENT = 1.959964  #: standard deviations of a 95 % interval


class CalibrationError(ValueError):
    """A readers' scale cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadersScale:
    """A monotone table from quality to what the readers say, with intervals. Raises CalibrationError."""

    quality: tuple[float, ...]  #: rising, 0 to 1
    rating: tuple[float, ...]  #: expected rating at each, never further from `best` at a higher quality
    low: tuple[float, ...]  #: end of the rating's interval towards `worst`
    high: tuple[float, ...]  #: end of the rating's interval towards `best`
    worst: float  #: the scale's ends; `worst` may be the larger number
    best: float
    cases: int  #: labelled series it was fitted to

    def __post_init__(self) -> None:
        columns = (self.quality, self.rating, self.low, self.high)
        if len({len(column) for column in columns}) != 1 or len(self.quality) < 2:
            raise CalibrationError(
                "a readers' scale needs as many ratings and ends as qualities, two or more"
            )
        if not all(
            math.isfinite(value) for column in (*columns, (self.worst, self.best)) for value in column
        ):
            raise CalibrationError("a readers' scale holds NaN or infinity")
        if any(b <= a for a, b in zip(self.quality, self.quality[1:], strict=False)):
            raise CalibrationError("the qualities of a readers' scale do not rise")
        sign = 1 if self.best > self.worst else -1
        if any(sign * (b - a) < 0 for a, b in zip(self.rating, self.rating[1:], strict=False)):
            raise CalibrationError("the ratings of a readers' scale fall where quality rises")

    def __call__(self, quality: float) -> Rating:
        """The rating to expect; beyond the table's ends that of its end."""
        value, low, high = (
            float(np.interp(quality, self.quality, column)) for column in (self.rating, self.low, self.high)
        )
        return Rating(value=value, low=low, high=high, worst=self.worst, best=self.best)


def dumps(scale: ReadersScale) -> str:
    """The scale as JSON."""
    return json.dumps(asdict(scale))


def loads(text: str) -> ReadersScale:
    """What `dumps` wrote. Raises CalibrationError for anything else."""
    try:
        values: dict[str, Any] = json.loads(text)
        names = {field.name for field in fields(ReadersScale)}
        if set(values) != names:
            raise CalibrationError(f"a readers' scale has the keys {', '.join(sorted(names))}")
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return ReadersScale(**plain)
    except (ValueError, TypeError) as error:
        raise CalibrationError(f"no readers' scale: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What a threshold on quality would do."""

    threshold: float  #: series below it raise an alert
    alert_rate: float  #: share of all series that do
    alerts: int  #: labelled series that do
    ppv: float | None  #: share of these that the readers call bad; None without any
    ppv_low: float  #: its 95 % interval (Wilson)
    ppv_high: float
    sensitivity: float | None  #: share of the bad ones that raise one; None when none is bad


def trade_off(
    quality: Sequence[float], bad: Sequence[bool], every: Sequence[float] = ()
) -> tuple[OperatingPoint, ...]:
    """Every threshold that tells two labelled series apart, rising.

    quality, bad: of the labelled series. every: qualities of all series that came, for the alert rate; the
    labelled ones stand in for them when there are none, and are then no fair sample if chosen by eye.
    """
    values, is_bad = np.asarray(quality, float), np.asarray(bad, bool)
    if values.shape != is_bad.shape or values.ndim != 1 or not len(values):
        raise ValueError(f"{values.shape} qualities and {is_bad.shape} labels; expected as many, one or more")
    all_values = np.sort(np.asarray(every if len(every) else values, float))
    levels = np.unique(values)
    edges = [*((levels[:-1] + levels[1:]) / 2), min(float(np.nextafter(levels[-1], 2.0)), 1.0)]
    return tuple(_point(float(edge), values, is_bad, all_values) for edge in edges)


def _point(threshold: float, quality: Floats, bad: npt.NDArray[np.bool_], every: Floats) -> OperatingPoint:
    below = quality < threshold
    alerts, right = int(below.sum()), int((below & bad).sum())
    low, high = wilson(right, alerts)
    return OperatingPoint(
        threshold=threshold,
        alert_rate=float(np.searchsorted(every, threshold) / len(every)),
        alerts=alerts,
        ppv=right / alerts if alerts else None,
        ppv_low=low,
        ppv_high=high,
        sensitivity=right / int(bad.sum()) if bad.any() else None,
    )


def for_alert_rate(points: Sequence[OperatingPoint], most: float) -> OperatingPoint | None:
    """The highest threshold that alerts on at most this share of all series; None: there is none."""
    return max(
        (point for point in points if point.alert_rate <= most), key=lambda p: p.threshold, default=None
    )


def for_ppv(
    points: Sequence[OperatingPoint], least: float, fewest: int = FEWEST_ALERTS
) -> OperatingPoint | None:
    """The highest threshold at which at least this share of alerts is right; None: there is none.

    fewest: labelled alerts a share must be made of.
    """
    fit = (
        point for point in points if point.ppv is not None and point.alerts >= fewest and point.ppv >= least
    )
    return max(fit, key=lambda p: p.threshold, default=None)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share; (0, 1) when there is nothing to share."""
    if not count:
        return 0.0, 1.0
    share, square = hits / count, _CONFIDENT**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = (
        _CONFIDENT / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    )
    return max(middle - half, 0.0), min(middle + half, 1.0)
