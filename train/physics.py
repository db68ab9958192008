"""Physical parameters of a series from its header: tube charge, dose, field strength, with the evidence.

Pure functions of attributes as `qagate.dicom.attributes.flatten` gives them. What images of such parameters
look like is for the network to learn; here it is only decided what the scanner wrote, and what it meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

GAUSS_ABOVE = 30.0  #: no scanner has so many tesla: the value is in gauss
GAUSS_A_TESLA = 10_000.0
PROTON_MHZ_A_TESLA = 42.577
MICRO = 1000.0  #: a charge that is this many times current x time is in microampere-seconds
ALIKE = 0.05  #: relative difference below which two values say the same
UNIT_ALIKE = 0.25  #: the same, when only the unit is asked

Attributes = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One that can be learnt."""

    unit: str
    modality: str
    low: float  #: the label 0; values below count as this
    high: float  #: the label 1

    def label(self, value: float) -> float:
        """0 to 1, rising with quality, even in the logarithm: noise falls with the root of dose."""
        low, high = math.log(self.low), math.log(self.high)
        return (min(max(math.log(value), low), high) - low) / (high - low)

    def value(self, label: float) -> float:
        """The inverse of `label`."""
        return float(self.low * (self.high / self.low) ** label)


PARAMETERS: Mapping[str, Parameter] = {
    "mas": Parameter(unit="mAs", modality="CT", low=1.0, high=1000.0),
    "effective_mas": Parameter(unit="mAs", modality="CT", low=1.0, high=1000.0),
    "ctdivol": Parameter(unit="mGy", modality="CT", low=0.1, high=100.0),
    "tesla": Parameter(unit="T", modality="MR", low=0.1, high=10.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Physics:
    """What one series' header says; None where it says nothing usable."""

    mas: float | None = None  #: tube charge, as the scanner gives it
    effective_mas: float | None = None  #: of a rotation, divided by the pitch
    ctdivol: float | None = None  #: mGy
    tesla: float | None = None
    evidence: tuple[str, ...] = ()  #: the tags that spoke, and what was not believed

    def known(self) -> dict[str, float]:
        """Parameter -> value, of those there are."""
        found = {name: getattr(self, name) for name in PARAMETERS}
        return {name: value for name, value in found.items() if value is not None}


def physics_of(attributes: Attributes) -> Physics:
    """The parameters that belong to the series' modality; others are not looked at."""
    notes: list[str] = []
    modality = str(attributes.get("Modality", "")).upper()
    if modality == "CT":
        mas, effective = _charge(attributes, notes)
        return Physics(
            mas=mas,
            effective_mas=effective,
            ctdivol=_positive(attributes, "CTDIvol", notes, "mGy"),
            evidence=tuple(notes),
        )
    if modality == "MR":
        return Physics(tesla=_field(attributes, notes), evidence=tuple(notes))
    return Physics(evidence=(f"modality {modality or 'missing'}: no parameter is known",))


def _charge(attributes: Attributes, notes: list[str]) -> tuple[float | None, float | None]:
    """(mAs, effective mAs): Exposure, else ExposureInuAs, else current x time, else CT Exposure Sequence."""
    product = _product(attributes, notes)
    told = _told(attributes, product, notes)
    mas = product if told is None else told
    if mas is None:
        notes.append("no exposure and no tube current with exposure time")
        return None, None
    pitch = _positive(attributes, "SpiralPitchFactor", notes)
    return mas, None if pitch is None else _effective(attributes, told, product, pitch, notes)


def _told(attributes: Attributes, product: float | None, notes: list[str]) -> float | None:
    """The charge that a tag gives outright."""
    exposure = _positive(attributes, "Exposure", [])
    if exposure is not None:
        where = "CT Exposure Sequence" if "ExposureInmAs" in attributes else "Exposure"
        notes.append(f"{where} {exposure:g} mAs")
        if product is not None and _alike(exposure, MICRO * product, UNIT_ALIKE):
            notes.append("a thousand times current x time: taken as µAs")
            return exposure / MICRO
        return exposure
    micro = _positive(attributes, "ExposureInuAs", [])
    if micro is None:
        return None
    notes.append(f"ExposureInuAs {micro:g} µAs")
    return micro / MICRO


def _product(attributes: Attributes, notes: list[str]) -> float | None:
    """Tube current x exposure time, mAs."""
    current = _positive(attributes, "XRayTubeCurrent", []) or _positive(attributes, "XRayTubeCurrentInmA", [])
    time = _positive(attributes, "ExposureTime", []) or _positive(attributes, "ExposureTimeInms", [])
    if current is None and (micro := _positive(attributes, "XRayTubeCurrentInuA", [])) is not None:
        current = micro / MICRO
    if time is None and (micro := _positive(attributes, "ExposureTimeInuS", [])) is not None:
        time = micro / MICRO
    if current is None or time is None:
        return None
    notes.append(f"{current:g} mA x {time:g} ms")
    return current * time / 1000


def _effective(
    attributes: Attributes, told: float | None, product: float | None, pitch: float, notes: list[str]
) -> float | None:
    """The charge of a rotation over the pitch, whichever of the tags carries the pitch already.

    Some scanners write the effective charge into Exposure, some a time that is the rotation's over the pitch.
    """
    notes.append(f"pitch {pitch:g}")
    if product is None:
        return None
    if told is not None and not _alike(told, product) and _alike(told, product / pitch):
        notes.append("Exposure is current x time / pitch: it is the effective charge already")
        return told
    time = _positive(attributes, "ExposureTime", []) or _positive(attributes, "ExposureTimeInms", [])
    rotation = _positive(attributes, "RevolutionTime", [])
    if time and rotation and not _alike(rotation * 1000, time) and _alike(rotation * 1000 / pitch, time):
        notes.append("ExposureTime is the rotation / pitch: current x time is the effective charge already")
        return product
    return product / pitch


def _field(attributes: Attributes, notes: list[str]) -> float | None:
    """Tesla: MagneticFieldStrength, in gauss where it is too large, else the frequency of protons."""
    strength = _positive(attributes, "MagneticFieldStrength", notes, "T")
    if strength is not None:
        if strength <= GAUSS_ABOVE:
            return strength
        notes.append(f"above {GAUSS_ABOVE:g}: taken as gauss")
        return strength / GAUSS_A_TESLA
    frequency = _positive(attributes, "ImagingFrequency", notes, "MHz")
    nucleus = str(attributes.get("ImagedNucleus", "")).replace(" ", "").upper()
    if frequency is None or nucleus not in ("1H", "H1", "H"):
        notes.append("no field strength, and no frequency of protons")
        return None
    notes.append("MagneticFieldStrength is missing: from the frequency of protons")
    return round(frequency / PROTON_MHZ_A_TESLA, 3)


def _positive(attributes: Attributes, keyword: str, notes: list[str], unit: str = "") -> float | None:
    """A finite number above 0, and a note that it spoke (with a unit) or was not believed."""
    found = attributes.get(keyword)
    if isinstance(found, tuple):
        found = found[0] if found else None
    if found is None:
        return None
    try:
        value = float(str(found))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        notes.append(f"{keyword} is no number above 0")
        return None
    if unit:
        notes.append(f"{keyword} {value:g} {unit}")
    return value


def _alike(a: float, b: float, within: float = ALIKE) -> bool:
    return abs(a - b) <= within * max(abs(a), abs(b))
