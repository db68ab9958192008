"""The attributes of a series that prompts, policy and measures may see.

A list of what may pass, not of what may not: nothing of the patient is read in the first place.
"""

from __future__ import annotations

import math

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from qagate.dicom.source import first_item, items, text, value
from qagate.wording import one_line

Value = str | int | float
Attribute = Value | tuple[Value, ...] | tuple[tuple[str, str, str], ...]

# fmt: off
PLAIN = (
    "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber",
    "AcquisitionNumber", "Modality", "ImageType", "Manufacturer", "ManufacturerModelName",
    "StationName", "SoftwareVersions", "BodyPartExamined", "Laterality", "ImageLaterality",
    "ViewPosition", "ProtocolName", "SeriesDescription", "StudyDescription", "ScanningSequence",
    "SequenceVariant", "ScanOptions", "MRAcquisitionType", "SequenceName", "PulseSequenceName",
    "AngioFlag", "EchoTime", "EffectiveEchoTime", "RepetitionTime", "InversionTime", "FlipAngle",
    "EchoTrainLength", "EchoNumbers", "NumberOfAverages", "MagneticFieldStrength", "ImagingFrequency",
    "ImagedNucleus", "PixelBandwidth", "PercentSampling", "PercentPhaseFieldOfView",
    "AcquisitionMatrix", "ReceiveCoilName", "InPlanePhaseEncodingDirection",
    "ParallelReductionFactorInPlane", "EchoPulseSequence", "InversionRecovery",
    "EchoPlanarPulseSequence", "AcquisitionContrast", "ComplexImageComponent", "DiffusionBValue",
    "VolumetricProperties", "VolumeBasedCalculationTechnique", "ContrastBolusAgent",
    "ContrastBolusRoute", "KVP", "XRayTubeCurrent", "XRayTubeCurrentInmA", "ExposureTime",
    "XRayTubeCurrentInuA", "ExposureTimeInms", "ExposureTimeInuS", "RevolutionTime", "Exposure",
    "ExposureInmAs", "ExposureInuAs", "CTDIvol", "ConvolutionKernel",
    "ConvolutionKernelGroup", "FilterType", "ReconstructionDiameter", "ReconstructionAlgorithm",
    "GantryDetectorTilt", "SpiralPitchFactor", "SliceThickness", "SpacingBetweenSlices", "PixelSpacing",
    "ImagerPixelSpacing", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth",
    "WindowCenterWidthExplanation", "LossyImageCompression", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod", "ConversionType",
)
# fmt: on

NUMERIC = frozenset(
    keyword for keyword in PLAIN if dictionary_VR(keyword) in ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD")
)
"""Keywords whose text (a number that is none) is left out."""

CODED = (
    "AnatomicRegionSequence",
    "AnatomicRegionModifierSequence",
    "ProcedureCodeSequence",
    "ContrastBolusAgentSequence",
    "ViewCodeSequence",
)

# fmt: off
MACROS = (
    "FrameAnatomySequence", "CTImageFrameTypeSequence", "MRImageFrameTypeSequence",
    "XRay3DFrameTypeSequence", "PixelMeasuresSequence", "CTReconstructionSequence",
    "CTXRayDetailsSequence", "CTExposureSequence", "CTGeometrySequence", "CTAcquisitionDetailsSequence",
    "MRTimingAndRelatedParametersSequence", "MREchoSequence", "MRModifierSequence",
    "MRImagingModifierSequence", "MRAveragesSequence", "MRFOVGeometrySequence", "MRReceiveCoilSequence",
    "MRDiffusionSequence", "FrameVOILUTSequence", "PixelValueTransformationSequence",
    "ContrastBolusUsageSequence",
)
# fmt: on
"""Functional group macros (PS3.3 C.7.6.16.2 and the CT and MR ones) that are flattened."""

KEYWORDS = (*PLAIN, *CODED, "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def flatten(data: Dataset) -> dict[str, Attribute]:
    """Attributes of one instance: DICOM keyword -> str, int, float or a tuple of these.

    Coded sequences become a tuple of (CodeValue, CodingSchemeDesignator, CodeMeaning), one a
    code. Shared and first per-frame functional groups are flattened in; the classic keywords of
    enhanced objects (EchoTime, InversionTime, ScanningSequence, ContrastBolusAgent) are filled
    from their enhanced counterparts when absent. Unreadable values are left out.
    """
    found: dict[str, Attribute] = {}
    _collect(data, found)
    shared = first_item(data, "SharedFunctionalGroupsSequence")
    per_frame = first_item(data, "PerFrameFunctionalGroupsSequence")
    for group in (shared, per_frame):
        for macro in MACROS:
            item = first_item(group, macro)
            if item is None:
                continue
            _collect(item, found)
            if "InversionTimes" in item:
                times = plain(value(item, "InversionTimes"))
                found.setdefault("InversionTime", times[0] if isinstance(times, tuple) else times or 0.0)
    _classic(found)
    return found


def _collect(data: Dataset, found: dict[str, Attribute]) -> None:
    for keyword in PLAIN:
        if keyword in data and keyword not in found:
            converted = plain(value(data, keyword))
            if converted is not None and (keyword not in NUMERIC or not _has_text(converted)):
                found[keyword] = converted
    for keyword in CODED:
        codes = tuple(_code(item) for item in items(data, keyword))
        if codes and keyword not in found:
            found[keyword] = codes


def _has_text(converted: Value | tuple[Value, ...]) -> bool:
    values = converted if isinstance(converted, tuple) else (converted,)
    return any(isinstance(one, str) for one in values)


def _code(item: Dataset) -> tuple[str, str, str]:
    code_value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
    return code_value, text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")


def plain(found: object) -> Value | tuple[Value, ...] | None:
    """A pydicom value as plain Python, or None when it is neither text nor a finite number."""
    if isinstance(found, MultiValue | list | tuple):
        values = tuple(one for one in map(plain, found) if isinstance(one, str | int | float))
        return values or None
    if isinstance(found, int):
        return int(found)
    if isinstance(found, float):
        return float(found) if math.isfinite(found) else None
    if isinstance(found, str):
        return one_line(str(found).strip("\0")) or None
    return None


def _classic(found: dict[str, Attribute]) -> None:
    """Fill the classic keywords from the enhanced ones (PS3.3 C.8.13.4 names both)."""
    if "EffectiveEchoTime" in found:
        found.setdefault("EchoTime", found["EffectiveEchoTime"])
    if "PulseSequenceName" in found:
        found.setdefault("SequenceName", found["PulseSequenceName"])
    for classic, enhanced in (("XRayTubeCurrent", "XRayTubeCurrentInmA"), ("Exposure", "ExposureInmAs")):
        if enhanced in found:
            found.setdefault(classic, found[enhanced])
    agents = found.get("ContrastBolusAgentSequence")
    if isinstance(agents, tuple) and agents and isinstance(agents[0], tuple):
        found.setdefault("ContrastBolusAgent", agents[0][2] or agents[0][0])
    sequence = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}.get(
        str(found.get("EchoPulseSequence", "")), ()
    )
    if sequence:
        inversion = ("IR",) if found.get("InversionRecovery") == "YES" else ()
        planar = ("EP",) if found.get("EchoPlanarPulseSequence") == "YES" else ()
        found.setdefault("ScanningSequence", (*sequence, *inversion, *planar))
