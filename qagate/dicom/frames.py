"""One file's header as planes: one for a single-frame image, one a frame for multi-frame ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from qagate.dicom.decoders import NATIVE, frame_count, size_problem, syntax_problem
from qagate.dicom.geometry import Plane, normal, unit_orientation
from qagate.dicom.kinds import component, not_acquired, reason_not_to_judge
from qagate.dicom.source import (
    PixelError,
    Source,
    integer,
    number,
    numbers,
    open_source,
    text,
    texts,
)
from qagate.dicom.units import macro
from qagate.image import SliceHeader

# fmt: off
PLANE_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "InstanceNumber", "AcquisitionNumber",
    "TemporalPositionIdentifier", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated",
    "ConvolutionKernel", "EchoNumbers", "EchoTime", "DiffusionBValue", "InPlanePhaseEncodingDirection",
    "VolumeBasedCalculationTechnique", "ComplexImageComponent", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
# fmt: on
"""What decides where a plane belongs; few, because every file of a series is read for them."""

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A usable image file."""

    sop_instance_uid: str
    modality: str
    planes: tuple[Plane, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    source: Source
    sop_instance_uid: str
    sop_class_uid: str
    modality: str


def read_instance(path: Path) -> Instance | str:
    """One file's planes, or a plain sentence why it cannot be used."""
    name = path.name
    try:
        source = open_source(path, PLANE_KEYWORDS)
        uid = text(source.data, "SOPInstanceUID") or text(source.data.file_meta, "MediaStorageSOPInstanceUID")
        if not _UID.fullmatch(uid):
            raise PixelError("the file has no SOPInstanceUID")
        name = uid
        return _instance(source, uid)
    except PixelError as error:
        return f"{name}: {error}"


def _instance(source: Source, uid: str) -> Instance:
    data = source.data
    modality = text(data, "Modality").upper()
    sop_class = text(data, "SOPClassUID") or text(data.file_meta, "MediaStorageSOPClassUID")
    if what := not_acquired(modality):
        raise PixelError(f"the object is {what}, not an acquired image")
    if source.pixels is None:
        kind = UID(sop_class).name if sop_class else "an object without SOPClassUID"
        raise PixelError(f"the object holds no image ({kind})")
    rows, columns = integer(data, "Rows"), integer(data, "Columns")
    if problem := size_problem(rows, columns) or syntax_problem(source.transfer_syntax):
        raise PixelError(problem)
    frames = frame_count(data)
    bits = (rows or 0) * (columns or 0) * (integer(data, "BitsAllocated") or 1)
    if source.transfer_syntax in NATIVE and frames * bits > source.pixels.available * 8:
        raise PixelError("the pixel data is truncated: fewer bytes than Rows, Columns and frames need")
    file = _File(source=source, sop_instance_uid=uid, sop_class_uid=sop_class, modality=modality)
    numbered = frames > 1 or "PerFrameFunctionalGroupsSequence" in data
    planes = tuple(_plane(file, index, numbered) for index in range(frames))
    return Instance(sop_instance_uid=uid, modality=modality, planes=planes)


def _plane(file: _File, index: int, numbered: bool) -> Plane:
    data, modality = file.source.data, file.modality

    def holder(name: str, keyword: str) -> Dataset:
        """Where a frame keeps an element: its functional group when it has one, else the top."""
        group = macro(data, index, name) if numbered else None
        return group if group is not None and keyword in group else data

    measures = holder("PixelMeasuresSequence", "PixelSpacing")
    spacing = numbers(measures, "PixelSpacing", 2)
    position = numbers(holder("PlanePositionSequence", "ImagePositionPatient"), "ImagePositionPatient", 3)
    cosines = numbers(
        holder("PlaneOrientationSequence", "ImageOrientationPatient"), "ImageOrientationPatient", 6
    )
    orientation = unit_orientation(cosines)
    geometry = holder("MRFOVGeometrySequence", "InPlanePhaseEncodingDirection")
    header = SliceHeader(
        path=str(file.source.path.absolute()),
        sop_instance_uid=file.sop_instance_uid,
        sop_class_uid=file.sop_class_uid,
        frame_number=index + 1 if numbered else None,
        modality=modality,
        rows=integer(data, "Rows") or 0,
        columns=integer(data, "Columns") or 0,
        instance_number=integer(data, "InstanceNumber"),
        position_mm=_along_normal(position, orientation),
        orientation=orientation,
        pixel_spacing_mm=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        slice_thickness_mm=number(holder("PixelMeasuresSequence", "SliceThickness"), "SliceThickness"),
        phase_encoding=_phase_encoding(text(geometry, "InPlanePhaseEncodingDirection")),
    )
    frame_type = _frame_type(data, index, modality, numbered)
    return Plane(
        header=header,
        position=position,
        apart=_apart(data, index, modality, frame_type, numbered),
        order=_order(data, index, header, numbered),
        not_assessed=_judgement(data, index, header, frame_type, numbered),
    )


def _along_normal(position: tuple[float, ...] | None, orientation: tuple[float, ...] | None) -> float | None:
    if position is None or orientation is None:
        return None
    return float(sum(p * n for p, n in zip(position, normal(orientation), strict=True)))


def _phase_encoding(direction: str) -> str | None:
    return {"ROW": "ROW", "COL": "COL", "COLUMN": "COL"}.get(direction.upper())


def _frame_type_macro(data: Dataset, index: int, modality: str, numbered: bool) -> Dataset | None:
    return (
        macro(data, index, f"{modality}ImageFrameTypeSequence") if numbered and modality in "CTMR" else None
    )


def _frame_type(data: Dataset, index: int, modality: str, numbered: bool) -> tuple[str, ...]:
    found = _frame_type_macro(data, index, modality, numbered)
    frame_type = texts(found, "FrameType") if found is not None else ()
    return tuple(word.upper() for word in frame_type or texts(data, "ImageType"))


def _apart(
    data: Dataset, index: int, modality: str, frame_type: tuple[str, ...], numbered: bool
) -> tuple[object, ...]:
    """What must not interleave: echoes, b-values and components in MR, kernels in CT."""
    if modality == "CT":
        reconstruction = macro(data, index, "CTReconstructionSequence") if numbered else None
        return texts(reconstruction if reconstruction is not None else data, "ConvolutionKernel")
    if modality != "MR":
        return ()
    if numbered:
        echo = macro(data, index, "MREchoSequence")
        diffusion = macro(data, index, "MRDiffusionSequence")
        frame = _frame_type_macro(data, index, modality, numbered)
        return (
            number(echo, "EffectiveEchoTime") if echo is not None else None,
            number(diffusion, "DiffusionBValue") if diffusion is not None else None,
            text(frame, "ComplexImageComponent") if frame is not None else "",
            component(modality, frame_type),
        )
    echo_number = integer(data, "EchoNumbers")
    echo_time = number(data, "EchoTime") if echo_number is None else None
    return echo_number, echo_time, number(data, "DiffusionBValue"), component(modality, frame_type)


def _order(data: Dataset, index: int, header: SliceHeader, numbered: bool) -> tuple[float, ...]:
    content = macro(data, index, "FrameContentSequence") if numbered else None
    time = integer(content, "TemporalPositionIndex") if content is not None else None
    time = integer(data, "TemporalPositionIdentifier") if time is None else time
    return (
        float(time or 0),
        float(integer(data, "AcquisitionNumber") or 0),
        float(header.instance_number or 0),
        float(header.frame_number or 0),
    )


def _judgement(
    data: Dataset, index: int, header: SliceHeader, frame_type: tuple[str, ...], numbered: bool
) -> str | None:
    frame = _frame_type_macro(data, index, header.modality, numbered)
    where = frame if frame is not None else data
    return reason_not_to_judge(
        modality=header.modality,
        sop_class_uid=header.sop_class_uid,
        image_type=frame_type,
        samples_per_pixel=integer(data, "SamplesPerPixel") or 1,
        technique=text(where, "VolumeBasedCalculationTechnique"),
        complex_component=text(where, "ComplexImageComponent"),
    )
