"""Planes into stacks: what lies parallel, belongs together, and in which order.

Pure arithmetic on headers; knows neither files nor pixels. Axes and signs are DICOM's (PS3.3
C.7.6.2.1.1): the normal is row direction x column direction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qagate.dicom.kinds import LOCALISER, ORTHOGONAL_LOCALISER_SLICES
from qagate.image import SliceHeader, Stack

ORIENTATION_TOLERANCE = 0.01  #: largest difference of a direction cosine within a stack, 0.6 degrees
POSITION_TOLERANCE_MM = 0.02  #: nearer positions are the same position
ORTHOGONAL_COSINE = 0.35  #: normals further apart than 70 degrees count as orthogonal


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A slice header and what decides its stack."""

    header: SliceHeader
    position: tuple[float, ...] | None = None  #: (0020,0032), mm
    apart: tuple[object, ...] = ()  #: differing values never share a stack
    order: tuple[float, ...] = ()  #: time, acquisition, instance, frame
    not_assessed: str | None = None  #: why this plane may not be judged


def unit_orientation(cosines: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Six direction cosines normalised; None when they describe no plane."""
    if cosines is None or len(cosines) != 6:
        return None
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not 0.5 < min(lengths) <= max(lengths) < 2.0:
        return None
    row, column = row / lengths[0], column / lengths[1]
    if abs(float(row @ column)) > 0.1:
        return None
    return tuple(float(cosine) for cosine in (*row, *column))


def normal(orientation: tuple[float, ...]) -> np.ndarray:
    """Unit normal of a plane: row direction x column direction."""
    cross = np.cross(orientation[:3], orientation[3:])
    return np.asarray(cross / np.linalg.norm(cross))


def stacks(planes: Sequence[Plane]) -> list[Stack]:
    """Group planes into stacks: those that may be judged first, then the largest first."""
    found = [stack for group in _parallel(planes) for stack in _in_order(group)]
    return sorted(found, key=lambda stack: (stack.not_assessed is not None, -len(stack.slices)))


def _parallel(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Split into groups of one size, one kind and one orientation."""
    alike: dict[tuple[object, ...], list[Plane]] = defaultdict(list)
    for plane in planes:
        header = plane.header
        key = (header.modality, header.rows, header.columns, plane.apart, plane.not_assessed)
        alike[key].append(plane)
    return [group for together in alike.values() for group in _by_orientation(together)]


def _by_orientation(planes: list[Plane]) -> list[list[Plane]]:
    groups: list[list[Plane]] = []
    unoriented: list[Plane] = []
    directions = np.empty((0, 6))
    for plane in planes:
        if plane.header.orientation is None:
            unoriented.append(plane)
            continue
        distance = np.abs(directions - np.array(plane.header.orientation)).max(axis=1, initial=0.0)
        near = np.flatnonzero(distance <= ORIENTATION_TOLERANCE)
        if near.size:
            groups[int(near[0])].append(plane)
        else:
            groups.append([plane])
            directions = np.vstack([directions, plane.header.orientation])
    return [*groups, unoriented] if unoriented else groups


def _in_order(planes: list[Plane]) -> list[Stack]:
    """Order one group along its normal; repeated positions become stacks of their own."""
    reason = planes[0].not_assessed
    by_instance = sorted(planes, key=lambda plane: plane.order)
    orientation = planes[0].header.orientation
    if orientation is None or any(plane.position is None for plane in planes):
        return [_stack(by_instance, "instance_number", reason)]
    axis = normal(orientation)
    placed = [
        replace(plane, header=replace(plane.header, position_mm=float(axis @ np.array(plane.position))))
        for plane in by_instance
    ]
    positions = _positions(placed)
    if len(positions) == 1:  # one place seen many times: a cine, not many stacks of one slice
        return [_stack(positions[0], "instance_number" if len(placed) > 1 else "position", reason)]
    rounds = max(map(len, positions))
    repeats = [[there[k] for there in positions if k < len(there)] for k in range(rounds)]
    return [_stack(repeat, "position", reason) for repeat in repeats]


def _positions(planes: list[Plane]) -> list[list[Plane]]:
    """Planes by position, ascending; those of one position in their order of time."""
    found: list[list[Plane]] = []
    start = 0.0
    for plane in sorted(planes, key=lambda plane: plane.header.position_mm or 0.0):
        position = plane.header.position_mm or 0.0
        if found and position - start <= POSITION_TOLERANCE_MM:
            found[-1].append(plane)
        else:
            found.append([plane])
            start = position
    return [sorted(there, key=lambda plane: plane.order) for there in found]


def _stack(planes: list[Plane], ordered_by: str, reason: str | None) -> Stack:
    return Stack(slices=tuple(plane.header for plane in planes), ordered_by=ordered_by, not_assessed=reason)


def orthogonal_localiser(found: Sequence[Stack]) -> str | None:
    """Whether a few slices in two or three orthogonal orientations make a localiser.

    True localisers without a telling name are short and cross at right angles; disc blocks of a
    spine are nearly parallel, and radial slabs have many orientations.
    """
    short = all(len(stack.slices) <= ORTHOGONAL_LOCALISER_SLICES for stack in found)
    orientations = [stack.slices[0].orientation for stack in found]
    known = [normal(orientation) for orientation in orientations if orientation is not None]
    if not short or len(known) != len(found):
        return None
    axes: list[np.ndarray] = []
    for axis in known:
        cosines = [abs(float(axis @ other)) for other in axes]
        if all(cosine < ORTHOGONAL_COSINE for cosine in cosines):
            axes.append(axis)
        elif max(cosines) < 0.95:
            return None
    if len(axes) < 2:
        return None
    return f"a {LOCALISER} ({len(axes)} orthogonal orientations of a few slices)"
