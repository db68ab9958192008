"""The demo's examinations: a head MR and a head CT of a patient that does not exist, as DICOM series.

The brain is real (nilearn's ICBM152 T1 template); skull and scalp are digital. The CT is a digital
phantom altogether: tissue maps of the same brain in Hounsfield units, passed through the simulator's
projector. Nothing here is a scan of a patient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import generate_uid

from train.demo.objects import AXIAL, CORONAL, SAGITTAL, Plane, Study, write_series
from train.demo.phantom import Head, ct_slice, load_head, mr_slice
from train.demo.scan import ct_scan
from train.simulate import degrade

Slices = list[npt.NDArray[np.float32]]
Written = tuple[str, tuple[Path, ...]]  #: Series Instance UID and its files

_MR_HEIGHTS_MM = tuple(range(-16, 80, 4))  #: 24 slices, basal ganglia to vertex
_MR_THICKNESS_MM = 3.0
_MR_SCALE = 1800.0  #: stored value of white matter, about
_MR_NOISE = 0.012  #: standard deviation of the clean scan's noise, white matter = 0.9
_MR_DEGRADED = {"MR head T1, motion": ("motion", "ghost"), "MR head T1, noise": ("noise",)}
_CT_HEIGHTS_MM = tuple(range(-4, 41, 5))  #: nine contiguous slices
_CT_THICKNESS_MM = 5.0
_CT_PIXELS, _CT_SPACING_MM = 512, 0.45
_CT_LOW_DOSE = 0.01  #: part of the full dose; about 45 HU of noise in the brain


class Expected(Enum):
    """What the gate must say of a series for the demo to succeed."""

    PASS = "PASS"  #: good enough
    NOT_PASS = "REVIEW or REPEAT"  #: a person should look, or repeat
    NOT_ASSESSED = "NOT_ASSESSED"  #: the gate abstains


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSeries:
    """One series of the scene."""

    name: str  #: shown in the table
    series_instance_uid: str  #: (0020,000E)
    paths: tuple[Path, ...]  #: its files, in the order in which a scanner sends them
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that the demo sends."""

    series: tuple[SceneSeries, ...]
    broken: Path  #: a file cut off inside its header, to be refused
    broken_sop_instance_uid: str


def write_scene(folder: Path, *, progress: Callable[[str], None] = lambda name: None) -> Scene:
    """Write all series below `folder` (empty or absent); pixels are the same in every run, UIDs are not.

    progress: called with the name of each series before it is made. Raises DemoError when nilearn is
    missing.
    """
    head = load_head()
    progress("MR localizer and T1")
    study = Study.begin("MR")
    clean = _mr_clean(head)
    series = [
        _series("MR localizer", _localizer(folder / "mr-1", study, head), Expected.NOT_ASSESSED),
        _series("MR head T1", _mr(folder / "mr-2", study, head, clean, number=2), Expected.PASS),
    ]
    for number, (name, artefacts) in enumerate(_MR_DEGRADED.items(), start=3):
        progress(name)
        written = _mr(folder / f"mr-{number}", study, head, _degrade(clean, artefacts, 2), number=number)
        series.append(_series(name, written, Expected.NOT_PASS))
    study = Study.begin("CT")
    anatomy = [ct_slice(head, z_mm, _CT_THICKNESS_MM, _CT_PIXELS, _CT_SPACING_MM) for z_mm in _CT_HEIGHTS_MM]
    for number, (name, dose, expected) in enumerate(
        (("CT head", 1.0, Expected.PASS), ("CT head, low dose", _CT_LOW_DOSE, Expected.NOT_PASS)), start=1
    ):
        progress(f"{name} (digital phantom)")
        slices = list(ct_scan(anatomy, spacing_mm=_CT_SPACING_MM, dose=dose, seed=number))
        written = _ct(folder / f"ct-{number}", study, head, slices, number=number, dose=dose)
        series.append(_series(name, written, expected))
    broken = folder / "broken.dcm"
    return Scene(
        series=tuple(series), broken=broken, broken_sop_instance_uid=_cut_off(series[1].paths[0], broken)
    )


def _series(name: str, written: Written, expected: Expected) -> SceneSeries:
    return SceneSeries(name=name, series_instance_uid=written[0], paths=written[1], expected=expected)


def _mr_clean(head: Head) -> Slices:
    """Noise as a magnitude image has it (Gudbjartsson & Patz 1995) and a mild receive-coil shading."""
    rng = np.random.default_rng(2)
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, size) for size in head.t1.shape[1:]), indexing="ij")
    shading = 1.0 - 0.06 * (0.7 * columns**2 + rows**2) + 0.03 * columns
    slices = []
    for z_mm in _MR_HEIGHTS_MM:
        signal = mr_slice(head, z_mm, _MR_THICKNESS_MM) * shading
        real, imaginary = rng.normal(0, _MR_NOISE, (2, *signal.shape))
        slices.append((_MR_SCALE / 0.9 * np.hypot(signal + real, imaginary)).astype(np.float32))
    return slices


def _degrade(slices: Slices, artefacts: tuple[str, ...], seed: int) -> Slices:
    """The strongest degree of each artefact; one pattern for all slices, which a 3D scan takes at once."""
    degraded = []
    for pixels in slices:
        rng = np.random.default_rng(seed)
        image = pixels
        for artefact in artefacts:
            image = degrade(image, artefact, 5, rng, "MR")
        degraded.append(image)
    return degraded


def _mr(folder: Path, study: Study, head: Head, slices: Slices, *, number: int) -> Written:
    left, top, _ = head.first_pixel_mm
    planes = [
        Plane(pixels=pixels, position_mm=(left, top, float(z_mm)))
        for pixels, z_mm in zip(slices, _MR_HEIGHTS_MM, strict=True)
    ]
    attributes = {
        "SeriesDescription": "t1_mprage_tra",
        "ProtocolName": "t1_mprage_tra",
        "SliceThickness": _MR_THICKNESS_MM,
        "SpacingBetweenSlices": _MR_HEIGHTS_MM[1] - _MR_HEIGHTS_MM[0],
        "ImagesInAcquisition": len(planes),
    }
    return write_series(folder, study, planes, series_number=number, spacing_mm=1.0, attributes=attributes)


def _localizer(folder: Path, study: Study, head: Head) -> Written:
    """Three planes through the middle of the head: axial, sagittal, coronal."""
    left, top, bottom = head.first_pixel_mm
    heights = np.arange(bottom, bottom + head.t1.shape[0])
    volume = np.stack([mr_slice(head, float(z_mm), 1.0) for z_mm in heights]) * (_MR_SCALE / 0.9)
    plane, row, column = (size // 2 for size in volume.shape)
    top_mm = float(heights[-1])
    planes = [
        Plane(pixels=volume[plane], position_mm=(left, top, float(heights[plane])), orientation=AXIAL),
        Plane(pixels=volume[::-1, :, column], position_mm=(left + column, top, top_mm), orientation=SAGITTAL),
        Plane(pixels=volume[::-1, row, :], position_mm=(left, top + row, top_mm), orientation=CORONAL),
    ]
    attributes = {
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "SeriesDescription": "localizer",
        "ProtocolName": "localizer",
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "MRAcquisitionType": "2D",
        "RepetitionTime": 8.6,
        "EchoTime": 4,
        "InversionTime": None,
        "FlipAngle": 20,
        "SliceThickness": 1.0,
    }
    return write_series(folder, study, planes, series_number=1, spacing_mm=1.0, attributes=attributes)


def _ct(folder: Path, study: Study, head: Head, slices: Slices, *, number: int, dose: float) -> Written:
    corner = -(_CT_PIXELS - 1) / 2 * _CT_SPACING_MM
    middle = head.first_pixel_mm[0] + (head.t1.shape[2] - 1) / 2, head.first_pixel_mm[1] + 127.5
    planes = [
        Plane(pixels=pixels, position_mm=(middle[0] + corner, middle[1] + corner, float(z_mm)))
        for pixels, z_mm in zip(slices, _CT_HEIGHTS_MM, strict=True)
    ]
    attributes = {
        "SeriesDescription": "Head 5.0 H31s",
        "ProtocolName": "Head routine",
        "ConvolutionKernel": "H31s",
        "SliceThickness": _CT_THICKNESS_MM,
        "Exposure": max(1, round(300 * dose)),
        "XRayTubeCurrent": max(1, round(300 * dose)),
        "ExposureTime": 1000,
        "GantryDetectorTilt": 0,
        "ReconstructionDiameter": _CT_PIXELS * _CT_SPACING_MM,
        "ImagesInAcquisition": len(planes),
    }
    return write_series(
        folder, study, planes, series_number=number, spacing_mm=_CT_SPACING_MM, attributes=attributes
    )


def _cut_off(source: Path, target: Path) -> str:
    """Write a copy of `source` with a UID of its own that ends inside its header; returns the UID."""
    dataset = pydicom.dcmread(source)
    uid = generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(target)
    whole = target.read_bytes()
    target.write_bytes(whole[: whole.index(dataset.StudyInstanceUID.encode()) + 20])
    return str(uid)
