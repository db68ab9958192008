"""Measures turned into words a radiographer reads. Decides nothing: see policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qagate.assessment import Artefact, Finding
from qagate.gate.measures.compute import slice_measures
from qagate.gate.measures.geometry import Geometry, geometry_of
from qagate.image import SliceHeader, SliceImage, Stack

GHOST_VISIBLE = 0.03  #: of the signal; clean series stay below 0.02
GHOST_STRONG = 0.2
PHASE_ENCODING = {"columns": "COL", "rows": "ROW"}  #: (0018,1312) by the direction ghosts move in
GHOST_PREFERENCE = 1.5  #: the other axis must be this much stronger than the phase encoding's


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where one measure becomes worth a sentence, and where it is as bad as it gets."""

    artefact: Artefact
    measure: str
    visible: float  #: severity 0 here
    worst: float  #: severity 1 here; below visible for a measure whose high values are good
    text: str
    modalities: tuple[str, ...]
    share: float = 0.0  #: of the slices that must show it: thick slices of a vault's top are soft


LIMITS = (
    Limit(artefact=Artefact.NOISE, measure="noise_hu", visible=30.0, worst=80.0,
          text="high noise ({value:.0f} HU)", modalities=("CT",)),
    Limit(artefact=Artefact.NOISE, measure="snr_tissue", visible=8.0, worst=2.0,
          text="low signal-to-noise ratio ({value:.1f})", modalities=("MR",)),
    Limit(artefact=Artefact.BLUR, measure="edge_sharpness_per_px", visible=0.20, worst=0.08,
          text="blurred edges", modalities=("MR",), share=0.5),
    Limit(artefact=Artefact.BLUR, measure="edge_sharpness_per_px", visible=0.17, worst=0.08,
          text="blurred edges", modalities=("CT",), share=0.5),
    Limit(artefact=Artefact.CLIPPING, measure="clipping_fraction", visible=0.01, worst=0.1,
          text="intensities clipped at the upper end ({value:.1%} of the body)",
          modalities=("CT", "MR", "CR", "DX", "MG")),
    Limit(artefact=Artefact.NON_UNIFORMITY, measure="uniformity_percent", visible=35.0, worst=5.0,
          text="uneven brightness", modalities=("MR",)),
    Limit(artefact=Artefact.TRUNCATION, measure="fov_truncation_fraction", visible=0.10, worst=0.5,
          text="anatomy cut off at the edge of the field of view", modalities=("CT",)),
    Limit(artefact=Artefact.TRUNCATION, measure="fov_truncation_fraction", visible=0.30, worst=0.8,
          text="anatomy cut off at the edge of the field of view", modalities=("MR",)),
)  # fmt: skip


def findings(
    images: Sequence[SliceImage], stack: Stack, measures: Sequence[Mapping[str, float]] | None = None
) -> tuple[Finding, ...]:
    """What is wrong with the series, worst first.

    images: the decoded slices of the stack; measures: slice_measures of each, in the same order,
    computed when not given.
    A slice range reaches over slices that were not decoded when its neighbours on both sides show
    the artefact.
    """
    if measures is None:
        measures = [slice_measures(image) for image in images]
    places = {_key(header): number for number, header in enumerate(stack.slices, start=1)}
    order = sorted(range(len(images)), key=lambda i: places.get(_key(images[i].header), i + 1))
    seen = _Seen(
        headers=tuple(images[i].header for i in order),
        numbers=tuple(places.get(_key(images[i].header), i + 1) for i in order),
        measures=tuple(measures[i] for i in order),
        total=len(stack.slices),
    )
    modality = images[0].header.modality if images else ""
    found = [_limit_finding(limit, seen) for limit in LIMITS if modality in limit.modalities]
    if modality == "MR":
        found += [_ghost_finding(seen, axis) for axis in ("columns", "rows")]
    found.append(_missing_finding(geometry_of(stack), stack))
    return tuple(sorted((f for f in found if f is not None), key=lambda f: -f.severity))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    headers: tuple[SliceHeader, ...]
    numbers: tuple[int, ...]
    measures: tuple[Mapping[str, float], ...]
    total: int


def _key(header: SliceHeader) -> tuple[str, int | None]:
    return header.sop_instance_uid, header.frame_number


def _limit_finding(limit: Limit, seen: _Seen) -> Finding | None:
    def severity(measures: Mapping[str, float]) -> float:
        value = measures.get(limit.measure)
        return -1.0 if value is None else (value - limit.visible) / (limit.worst - limit.visible)

    flagged = _flagged(seen, severity)
    if not flagged or len(flagged) < limit.share * len(seen.measures):
        return None
    values = [seen.measures[i][limit.measure] for i in flagged]
    worst = max(values) if limit.worst > limit.visible else min(values)
    return _finding(limit.artefact, limit.text.format(value=worst), seen, flagged, severity)


def _ghost_finding(seen: _Seen, axis: str) -> Finding | None:
    other_axis = "rows" if axis == "columns" else "columns"
    encoded = seen.headers[0].phase_encoding if seen.headers else None
    known = encoded == PHASE_ENCODING[axis]
    weight = GHOST_PREFERENCE if known else 1.0
    other_weight = GHOST_PREFERENCE if encoded == PHASE_ENCODING[other_axis] else 1.0

    def severity(measures: Mapping[str, float]) -> float:
        value = measures.get(f"ghost_along_{axis}", 0.0)
        if value * weight <= measures.get(f"ghost_along_{other_axis}", 0.0) * other_weight:
            return -1.0
        return (value - GHOST_VISIBLE) / (GHOST_STRONG - GHOST_VISIBLE)

    flagged = _flagged(seen, severity)
    if not flagged:
        return None
    text = f"ghosting along {axis}" + (" (phase encoding)" if known else "")
    return _finding(Artefact.GHOSTING, text, seen, flagged, severity)


def _flagged(seen: _Seen, severity: Callable[[Mapping[str, float]], float]) -> list[int]:
    flagged = [i for i, measures in enumerate(seen.measures) if severity(measures) > 0]
    # One odd slice of several is anatomy more often than an artefact.
    return flagged if len(flagged) >= min(2, len(seen.measures)) else []


def _finding(
    artefact: Artefact,
    text: str,
    seen: _Seen,
    flagged: Sequence[int],
    severity: Callable[[Mapping[str, float]], float],
) -> Finding:
    where = slice_ranges([seen.numbers[i] for i in flagged], seen.numbers)
    return Finding(
        artefact=artefact,
        severity=min(max(severity(seen.measures[i]) for i in flagged), 1.0),
        text=f"{text}, {where}" if seen.total > 1 else text,
        sop_instance_uids=tuple(dict.fromkeys(seen.headers[i].sop_instance_uid for i in flagged)),
    )


def slice_ranges(flagged: Sequence[int], looked_at: Sequence[int]) -> str:
    """Words such as "slice 4" or "slices 1-7, 15"; a slice that was looked at and is clean ends a run."""
    runs: list[list[int]] = []
    previous = -1
    for place, number in enumerate(sorted(looked_at)):
        if number not in flagged:
            continue
        if runs and place == previous + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
        previous = place
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ("slice " if words == [str(runs[0][0])] else "slices ") + ", ".join(words)


def _missing_finding(geometry: Geometry | None, stack: Stack) -> Finding | None:
    if geometry is None or not geometry.gaps:
        return None
    count = sum(gap.missing for gap in geometry.gaps)
    after = ", ".join(str(gap.after) for gap in geometry.gaps[:5])
    more = " and elsewhere" if len(geometry.gaps) > 5 else ""
    noun = "slice is" if count == 1 else "slices are"
    uids = tuple(stack.slices[gap.after - 1].sop_instance_uid for gap in geometry.gaps)
    return Finding(
        artefact=Artefact.MISSING_SLICES,
        severity=1.0,
        text=f"{count} {noun} missing after slice {after}{more}",
        sop_instance_uids=uids,
    )
