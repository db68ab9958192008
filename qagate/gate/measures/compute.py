"""All measures of a slice and of a series, by name. Judges nothing: see findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qagate.gate.measures import noise, structure
from qagate.gate.measures.geometry import Geometry, geometry_of
from qagate.gate.measures.plane import Plane, plane_of
from qagate.gate.measures.specs import MEASURES, applies
from qagate.image import SliceImage, Stack


def slice_measures(image: SliceImage) -> dict[str, float]:
    """The per-slice measures that apply to the slice's modality and can be computed; all finite.

    Beside the named measures: ghost_along_columns and ghost_along_rows, the ghost measures by
    direction, which findings reads. Only names in MEASURES go into series_measures.
    """
    plane = plane_of(image)
    if plane is None:
        return {}
    modality = image.header.modality
    values: dict[str, float | None] = {
        "edge_sharpness_per_px": structure.edge_sharpness_per_px(plane),
        "clipping_fraction": structure.clipping_fraction(plane, image.storable),
    }
    if applies("noise_hu", modality):
        spacing = image.header.pixel_spacing_mm
        values["noise_hu"] = noise.tissue_noise_hu(plane, min(spacing) if spacing else None)
        values["noise_air_hu"] = noise.air_noise(plane, is_magnitude=False)
    if applies("snr_tissue", modality):
        values["snr_tissue"] = _signal_over(plane, noise.tissue_noise(plane))
    if applies("fov_truncation_fraction", modality):
        values["fov_truncation_fraction"] = structure.fov_truncation_fraction(plane)
    if modality == "MR":
        values |= _mr_measures(plane)
    return {name: float(value) for name, value in values.items() if value is not None and np.isfinite(value)}


def _mr_measures(plane: Plane) -> dict[str, float | None]:
    ratios = structure.ghost_ratios(plane)
    correlations = structure.ghost_correlations(plane)
    return {
        "snr_air": _signal_over(plane, noise.air_noise(plane, is_magnitude=True)),
        "ghost_to_signal_ratio": max(ratios) if ratios else None,
        "ghost_correlation": max(correlations),
        "ghost_along_columns": max(ratios[0] if ratios else 0.0, correlations[0]),
        "ghost_along_rows": max(ratios[1] if ratios else 0.0, correlations[1]),
        "entropy_focus": structure.entropy_focus(plane),
        "uniformity_percent": structure.uniformity_percent(plane),
    }


def _signal_over(plane: Plane, sd: float | None) -> float | None:
    return plane.signal / sd if sd is not None and sd > 0 else None


def series_measures(images: Sequence[SliceImage], stack: Stack) -> dict[str, float]:
    """Median of each per-slice measure over the decoded slices, and the measures of the whole stack."""
    return pooled([slice_measures(image) for image in images], geometry_of(stack))


def pooled(slices: Sequence[Mapping[str, float]], geometry: Geometry | None) -> dict[str, float]:
    """Medians over slices (a measure absent from a slice is passed over) and the geometry's counts."""
    result = {}
    for name, spec in MEASURES.items():
        values = [measures[name] for measures in slices if name in measures]
        if spec.per_slice and values:
            result[name] = float(np.median(values))
    if geometry is not None:
        result["missing_slices_count"] = float(sum(gap.missing for gap in geometry.gaps))
        result["duplicated_positions_count"] = float(geometry.duplicated)
        if geometry.largest_gap_mm is not None:
            result["slice_gap_mm"] = geometry.largest_gap_mm
    return result
