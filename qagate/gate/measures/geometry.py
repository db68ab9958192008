"""What the planes' positions say: gaps, missing and doubled slices. Looks at no pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qagate.image import Stack

SAME_MM = 0.01  #: closer planes are one position
REGULAR = 0.2  #: distances within this share of each other are one spacing
DELIBERATE_RUN = 3  #: as many equal distances in a row were planned (a head scan with two spacings)
GAP = 1.5  #: a distance above this many regular ones lacks a slice

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Slices lacking between two neighbours of the stack."""

    after: int  #: 1-based place of the slice before the gap
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Positions of one stack, summed up."""

    gaps: tuple[Gap, ...]
    duplicated: int
    largest_gap_mm: float | None  #: distance less thickness, not below 0; None when unknown


def geometry_of(stack: Stack) -> Geometry | None:
    """Gaps and doubled positions of a stack ordered by position; None without positions."""
    positions = [header.position_mm for header in stack.slices]
    known = [position for position in positions if position is not None and np.isfinite(position)]
    if stack.ordered_by != "position" or len(known) != len(positions) or len(known) < 2:
        return None
    distances = np.abs(np.diff(np.asarray(known, dtype=np.float64)))
    apart = np.flatnonzero(distances > SAME_MM)
    thicknesses = [s.slice_thickness_mm for s in stack.slices[:-1]]
    clear = [float(distances[i]) - t for i in apart if (t := thicknesses[int(i)]) is not None and t > 0]
    return Geometry(
        gaps=_gaps(distances, apart),
        duplicated=int(len(distances) - len(apart)),
        largest_gap_mm=max(*clear, 0.0) if clear else None,
    )


def _gaps(distances: Doubles, apart: npt.NDArray[np.intp]) -> tuple[Gap, ...]:
    steps = distances[apart]
    if steps.size < DELIBERATE_RUN:
        return ()
    regular = _regular_distances(steps)
    found = []
    for place, step, usual in zip(apart, steps, regular, strict=True):
        if step > GAP * usual:
            found.append(Gap(after=int(place) + 1, missing=max(round(float(step / usual)) - 1, 1)))
    return tuple(found)


def _regular_distances(steps: Doubles) -> Doubles:
    """The planned distance at each place: of its own run, or the larger of the two next to it.

    A run of equal distances was planned when it is long; without any run the median is taken.
    """
    planned = np.full(steps.size, np.nan)
    start = 0
    for end in range(1, steps.size + 1):
        if end == steps.size or abs(steps[end] - steps[start]) > REGULAR * steps[start]:
            if end - start >= DELIBERATE_RUN:
                planned[start:end] = np.median(steps[start:end])
            start = end
    if np.isnan(planned).all():
        return np.full(steps.size, float(np.median(steps)))
    places = np.flatnonzero(~np.isnan(planned))
    for place in np.flatnonzero(np.isnan(planned)):
        right = int(np.searchsorted(places, place))
        beside = [planned[places[i]] for i in (right - 1, right) if 0 <= i < places.size]
        planned[place] = max(beside)
    return planned
