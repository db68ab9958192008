"""Control charts of single values: Shewhart's individuals chart and the EWMA. Pure.

The limits come from a reference period, the first values, so that a later shift does not widen them.
Shewhart's chart finds single values far off, the EWMA small shifts that stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TOLERANCE_SIGMAS, ACTION_SIGMAS = 2.0, 3.0
"""Shewhart's warning and action limits (Montgomery, Statistical Quality Control, section 5.3)."""

EWMA_WEIGHT, EWMA_SIGMAS = 0.2, 2.962
"""Weight of the newest value and width of the limits: one false alarm in 500 values, a shift of one standard
deviation found after 10 (Lucas & Saccucci, Technometrics 1990;32:1)."""

REFERENCE = 50  #: values the limits are computed from, unless told otherwise
FEWEST = 8  #: with fewer values there are no limits
_MEAN_RANGE = 1.128  #: mean range of two normal values, in standard deviations (Montgomery, appendix VI)
_LARGEST_RANGE = 3.267  #: mean ranges above which a range is itself out of control (likewise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a reference period says is usual."""

    centre: float  #: its median
    sigma: float  #: from the ranges of neighbours, so that a drift within it does not count as spread
    count: int  #: values behind it

    def at(self, sigmas: float) -> tuple[float, float]:
        """The values that many standard deviations below and above the centre."""
        return self.centre - sigmas * self.sigma, self.centre + sigmas * self.sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class Ewma:
    """The exponentially weighted moving average of one value and those before it."""

    value: float
    low: float  #: control limits here: they widen from the first value on
    high: float

    @property
    def out(self) -> bool:
        """Whether it is beyond its limits."""
        return not self.low <= self.value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPoint:
    """What the charts say of one value."""

    sigmas: float  #: standard deviations from the centre; negative is below
    ewma: Ewma

    @property
    def tolerance(self) -> bool:
        """Beyond the warning limits, the action limits included."""
        return abs(self.sigmas) > TOLERANCE_SIGMAS

    @property
    def action(self) -> bool:
        """Beyond the action limits."""
        return abs(self.sigmas) > ACTION_SIGMAS


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlChart:
    """Limits, and what they say of each value; None and nothing while the values are too few."""

    limits: Limits | None
    points: tuple[ControlPoint, ...] = ()

    @property
    def drifting(self) -> bool:
        """Whether the EWMA of the last value is beyond its limits."""
        return bool(self.points) and self.points[-1].ewma.out


def limits_of(values: Sequence[float]) -> Limits | None:
    """Limits from a reference period; None for fewer than FEWEST values, or when all are the same.

    From the mean moving range, without those ranges that are out of control themselves (Nelson, J Qual
    Technol 1982;14:172): a single outlier does not widen the limits.
    """
    data = np.asarray(values, np.float64)
    if len(data) < FEWEST:
        return None
    ranges = np.abs(np.diff(data))
    while np.any(outside := ranges > _LARGEST_RANGE * np.mean(ranges)) and not np.all(ranges[~outside] == 0):
        ranges = ranges[~outside]
    sigma = float(np.mean(ranges)) / _MEAN_RANGE
    if not (math.isfinite(sigma) and sigma > 0):
        return None
    return Limits(centre=float(np.median(data)), sigma=sigma, count=len(data))


def control_chart(values: Sequence[float], *, reference: int = REFERENCE) -> ControlChart:
    """Both charts of values in the order they came.

    reference: how many of the first give the limits. Raises ValueError for a value that is not finite.
    """
    data = np.asarray(values, np.float64)
    if not np.all(np.isfinite(data)):
        raise ValueError("a control chart needs finite values")
    limits = limits_of(data[:reference].tolist())
    if limits is None:
        return ControlChart(limits=None)
    points, mean = [], limits.centre
    for number, value in enumerate(data.tolist(), 1):
        mean += EWMA_WEIGHT * (value - mean)
        grown = 1 - (1 - EWMA_WEIGHT) ** (2 * number)
        half = EWMA_SIGMAS * limits.sigma * math.sqrt(EWMA_WEIGHT / (2 - EWMA_WEIGHT) * grown)
        ewma = Ewma(value=mean, low=limits.centre - half, high=limits.centre + half)
        points.append(ControlPoint(sigmas=(value - limits.centre) / limits.sigma, ewma=ewma))
    return ControlChart(limits=limits, points=tuple(points))
