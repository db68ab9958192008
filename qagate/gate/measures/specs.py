"""The measures the gate computes: formula, unit, source and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSpec:
    """One measure; its name says its unit where it has one."""

    name: str
    formula: str
    unit: str  #: UCUM code, "1" for ratios
    citation: str
    better: Better
    modalities: tuple[str, ...] = ()  #: (0008,0060) values it is computed for; empty: all
    per_slice: bool = True  #: False: of the stack's geometry, not of a slice


_SPECS = (
    MeasureSpec(
        name="noise_hu",
        formula="lowest mode of the sd about a plane in 9.5 mm regions of soft tissue (-150 to 250 HU)",
        unit="[hnsf'U]",
        citation="Christianson et al., AJR 2015;205:W93 (global noise level)",
        better="lower",
        modalities=("CT",),
    ),
    MeasureSpec(
        name="noise_air_hu",
        formula="lowest mode of the sd about a plane in 9 x 9 pixel regions of air outside the body",
        unit="[hnsf'U]",
        citation="this project: sd as in IEC 61223-3-5, of air instead of water",
        better="lower",
        modalities=("CT",),
    ),
    MeasureSpec(
        name="snr_air",
        formula="mean of bright tissue / (sd of air / 0.655)",
        unit="1",
        citation="NEMA MS 1-2008 method 4; Dietrich et al., JMRI 2007;26:375",
        better="higher",
        modalities=("MR",),
    ),
    MeasureSpec(
        name="snr_tissue",
        formula="mean of bright tissue / sd of the difference mask [1 -2 1] x [1 -2 1] / 6 inside the body",
        unit="1",
        citation="Immerkaer, Comput Vis Image Underst 1996;64:300",
        better="higher",
        modalities=("MR", "US", "CR", "DX", "MG", "RF", "XA", "PT", "NM"),
    ),
    MeasureSpec(
        name="edge_sharpness_per_px",
        formula="median over strong edges of steepest slope / edge height",
        unit="/{pixel}",
        citation="Marziliano et al., ICIP 2002 (reciprocal edge width)",
        better="higher",
    ),
    MeasureSpec(
        name="ghost_to_signal_ratio",
        formula="|mean air along columns - mean air along rows| / mean of bright tissue",
        unit="1",
        citation="ACR MRI Quality Control Manual 2015 (percent signal ghosting)",
        better="lower",
        modalities=("MR",),
    ),
    MeasureSpec(
        name="ghost_correlation",
        formula="largest excess of the high-pass autocorrelation at FOV/2, /3, /4, /5 over its neighbours",
        unit="1",
        citation="this project: autocorrelation at the displacements of N/k ghosts",
        better="lower",
        modalities=("MR",),
    ),
    MeasureSpec(
        name="entropy_focus",
        formula="-sum (x/E) ln(x/E) / (sqrt(N) ln sqrt(N)), E = sqrt(sum x^2)",
        unit="1",
        citation="Atkinson et al., IEEE TMI 1997;16:903",
        better="lower",
        modalities=("MR",),
    ),
    MeasureSpec(
        name="clipping_fraction",
        formula="share of the body's pixels at the largest storable value or heaped at the slice's largest",
        unit="1",
        citation="this project: saturation of stored values, PS3.3 C.7.6.3",
        better="lower",
    ),
    MeasureSpec(
        name="uniformity_percent",
        formula="100 (1 - (p95 - p5) / (p95 + p5)) of 8 x 8 block means of bright tissue",
        unit="%",
        citation="ACR MRI Quality Control Manual 2015 (percent integral uniformity), percentiles",
        better="higher",
        modalities=("MR",),
    ),
    MeasureSpec(
        name="fov_truncation_fraction",
        formula="rim pixels of the stored image inside the body / rim pixels",
        unit="1",
        citation="this project: body at the rim of the reconstructed field of view",
        better="lower",
        modalities=("CT", "MR"),
    ),
    MeasureSpec(
        name="slice_gap_mm",
        formula="largest distance of neighbouring planes less slice thickness, not below 0",
        unit="mm",
        citation="PS3.3 C.7.6.2.1.1 (Image Position, Slice Thickness)",
        better="lower",
        per_slice=False,
    ),
    MeasureSpec(
        name="missing_slices_count",
        formula="sum of round(distance / regular distance) - 1 over distances above 1.5 regular distances",
        unit="{slices}",
        citation="PS3.3 C.7.6.2.1.1 (Image Position)",
        better="lower",
        per_slice=False,
    ),
    MeasureSpec(
        name="duplicated_positions_count",
        formula="slices less than 0.01 mm from the one before",
        unit="{slices}",
        citation="PS3.3 C.7.6.2.1.1 (Image Position)",
        better="lower",
        per_slice=False,
    ),
)

MEASURES: Mapping[str, MeasureSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})


def applies(name: str, modality: str) -> bool:
    """Whether the measure is computed for a modality."""
    modalities = MEASURES[name].modalities
    return not modalities or modality in modalities
