"""Synthetic series of CT and MR: made once, sent any number of times under fresh UIDs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from scipy import ndimage

SIDE = 512
NOISE_HU = 55.0  #: standard deviation in soft tissue: a low dose
_STUDY, _SERIES = "2.25.1000000000000", "2.25.2000000000000"  # replaced byte by byte: fixed length
_INSTANCE = "2.25.3000000000000"
_STATION = "CTBENCH "
#: brightness of T1 for the phantom's HU: air, lung, fat, water, soft tissue, contrast, bone
_T1 = ((-1000, -830, -90, 0, 45, 100, 380, 550), (5, 30, 820, 150, 420, 560, 90, 60))


@dataclass(frozen=True, slots=True)
class Template:
    """The files of one series with placeholders for UIDs."""

    files: tuple[bytes, ...]

    def write(
        self, folder: Path, number: int, *, slices: int | None = None, station: str = _STATION
    ) -> tuple[str, list[Path]]:
        """Write the series, or its first slices, under UIDs of its own; (Series Instance UID, files).

        station: Station Name, at most 8 characters.
        """
        folder.mkdir(parents=True)
        uids = {uid: _numbered(uid, number) for uid in (_STUDY, _SERIES, _INSTANCE)}
        paths = []
        for place, file in enumerate(self.files[:slices]):
            data = file.replace(_STATION.encode(), f"{station:<{len(_STATION)}}".encode())
            for placeholder, uid in uids.items():
                data = data.replace(placeholder.encode(), uid.encode())
            paths.append(folder / f"{place:04d}.dcm")
            paths[-1].write_bytes(data)
        return uids[_SERIES], paths


def _numbered(uid: str, number: int) -> str:
    return f"{uid[:8]}{number:010d}"


def sop_instance_uid(number: int, place: int) -> str:
    """Of one slice of a series that was written; places count from 0."""
    return f"{_numbered(_INSTANCE, number)}.{1001 + place}"


def template(
    slices: int = 200,
    *,
    side: int = SIDE,
    noise: float = NOISE_HU,
    modality: str = "CT",
    attributes: Mapping[str, object] | None = None,
) -> Template:
    """A chest-like phantom with noise; 512 x 512, 16 bit, Explicit VR Little Endian, 530 kB a slice.

    noise: standard deviation, HU in CT, of 1000 in MR. attributes: by DICOM keyword; they win.
    """
    rng = np.random.default_rng(7)
    files = []
    for place in range(slices):
        if place % 8 == 0:
            clean = _anatomy(place / slices, side)
            if modality == "MR":
                clean = np.interp(clean, *_T1).astype(np.float32)
        files.append(_encoded(_scanned(clean, noise, rng), place, modality, attributes or {}))
    return Template(tuple(files))


def _scanned(clean: npt.NDArray[np.float32], sigma: float, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    noise = ndimage.gaussian_filter(rng.standard_normal(clean.shape, dtype=np.float32), 0.6)
    return np.asarray(np.clip(clean + sigma * noise / noise.std(), -1024, 3071), dtype=np.int16)


def _anatomy(height: float, side: int) -> npt.NDArray[np.float32]:
    """One noiseless slice in HU; height 0 to 1."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)

    def ellipse(centre: Sequence[float], radii: Sequence[float]) -> npt.NDArray[np.bool_]:
        return np.asarray(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1)

    hounsfield = np.full((side, side), -1000.0, dtype=np.float32)
    hounsfield[ellipse((0, 0), (0.85, 0.6))] = -90.0
    hounsfield[ellipse((0, 0), (0.8, 0.55))] = 45.0
    lung = 0.25 + 0.12 * np.sin(np.pi * height)
    for lobe in (-1, 1):
        hounsfield[ellipse((lobe * 0.4, -0.03), (lung, 0.38))] = -830.0
    hounsfield[ellipse((0.1, -0.1), (0.16, 0.2))] = 60.0 + 40 * height
    hounsfield[ellipse((0, 0.36), (0.1, 0.1))] = 380.0
    for angle in np.linspace(0, 2 * np.pi, 14) + 3 * height:
        hounsfield[ellipse((0.72 * np.cos(angle), 0.48 * np.sin(angle)), (0.035, 0.025))] = 550.0
    return np.asarray(ndimage.gaussian_filter(hounsfield, 0.8))


def _encoded(
    pixels: npt.NDArray[np.int16], place: int, modality: str, attributes: Mapping[str, object]
) -> bytes:
    data, side = Dataset(), len(pixels)
    data.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    data.SOPInstanceUID = f"{_INSTANCE}.{1001 + place}"
    data.StudyInstanceUID, data.SeriesInstanceUID = _STUDY, _SERIES
    data.FrameOfReferenceUID = f"{_STUDY}.9"
    data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20260101", "120000", "", "1"
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "PHANTOM", "0", "", ""
    data.Modality, data.ImageType = modality, ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M"]
    data.Manufacturer, data.StationName, data.BodyPartExamined = "BENCH", _STATION, "CHEST"
    data.SeriesNumber, data.InstanceNumber = 1, place + 1
    (_ct if modality == "CT" else _mr)(data)
    data.Rows = data.Columns = side
    data.PixelSpacing, data.SliceThickness = [0.7 * SIDE / side] * 2, 1
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-179, -179, place]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = pixels.astype("<i2").tobytes()
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    with DicomBytesIO() as buffer:
        data.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()


def _ct(data: Dataset) -> None:
    data.SeriesDescription, data.ProtocolName, data.ConvolutionKernel = "Thorax 1.0", "Thorax", "B30f"
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "HU"
    data.WindowCenter, data.WindowWidth, data.KVP = 40, 400, 120


def _mr(data: Dataset) -> None:
    data.SeriesDescription, data.ProtocolName = "t1 vibe", "Thorax t1"
    data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "GR", "SP", ""
    data.MRAcquisitionType, data.MagneticFieldStrength = "3D", 3
    data.RepetitionTime, data.EchoTime, data.FlipAngle, data.EchoTrainLength = 4, 1.5, 10, 1
