"""Measures a physicist can check and the words they give a radiographer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qagate.assessment import Finding
from qagate.gate.measures.compute import pooled, series_measures, slice_measures
from qagate.gate.measures.findings import findings
from qagate.gate.measures.geometry import geometry_of
from qagate.gate.measures.specs import MEASURES, MeasureSpec
from qagate.image import SliceImage, Stack

__all__ = [
    "MEASURES",
    "MeasureSpec",
    "Measured",
    "findings",
    "measure",
    "series_measures",
    "slice_measures",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything measured of one series."""

    measures: Mapping[str, float]  #: names of MEASURES -> value, as in series_measures
    slices: tuple[Mapping[str, float], ...]  #: slice_measures of each image, in the images' order
    findings: tuple[Finding, ...]  #: worst first


def measure(images: Sequence[SliceImage], stack: Stack) -> Measured:
    """Measure the decoded slices of a stack once, for report and findings alike."""
    slices = tuple(slice_measures(image) for image in images)
    return Measured(
        measures=pooled(slices, geometry_of(stack)),
        slices=slices,
        findings=findings(images, stack, slices),
    )
