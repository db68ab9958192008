"""A synthetic CT series of 200 slices: made once, sent any number of times under fresh UIDs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage

SIDE = 512
NOISE_HU = 55.0  #: standard deviation in soft tissue: a low dose
_STUDY, _SERIES = "2.25.1000000000000", "2.25.2000000000000"  # replaced byte by byte: fixed length
_INSTANCE = "2.25.3000000000000"


@dataclass(frozen=True, slots=True)
class Template:
    """The files of one series with placeholders for UIDs."""

    files: tuple[bytes, ...]

    def write(self, folder: Path, number: int) -> tuple[str, list[Path]]:
        """Write the series under UIDs of its own; (Series Instance UID, files)."""
        folder.mkdir(parents=True)
        uids = {uid: f"{uid[:8]}{number:010d}" for uid in (_STUDY, _SERIES, _INSTANCE)}
        paths = []
        for place, file in enumerate(self.files):
            data = file
            for placeholder, uid in uids.items():
                data = data.replace(placeholder.encode(), uid.encode())
            paths.append(folder / f"{place:04d}.dcm")
            paths[-1].write_bytes(data)
        return uids[_SERIES], paths


def template(slices: int = 200) -> Template:
    """A chest-like phantom with noise; 512 x 512, 16 bit, Explicit VR Little Endian, 530 kB a slice."""
    rng = np.random.default_rng(7)
    files = []
    for place in range(slices):
        if place % 8 == 0:
            clean = _anatomy(place / slices)
        files.append(_encoded(_scanned(clean, rng), place))
    return Template(tuple(files))


def _scanned(clean: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.int16]:
    noise = ndimage.gaussian_filter(rng.standard_normal(clean.shape, dtype=np.float32), 0.6)
    return np.asarray(np.clip(clean + NOISE_HU * noise / noise.std(), -1024, 3071), dtype=np.int16)


def _anatomy(height: float) -> npt.NDArray[np.float32]:
    """One noiseless slice in HU; height 0 to 1."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)

    def ellipse(centre: Sequence[float], radii: Sequence[float]) -> npt.NDArray[np.bool_]:
        return np.asarray(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1)

    hounsfield = np.full((SIDE, SIDE), -1000.0, dtype=np.float32)
    hounsfield[ellipse((0, 0), (0.85, 0.6))] = -90.0
    hounsfield[ellipse((0, 0), (0.8, 0.55))] = 45.0
    lung = 0.25 + 0.12 * np.sin(np.pi * height)
    for side in (-1, 1):
        hounsfield[ellipse((side * 0.4, -0.03), (lung, 0.38))] = -830.0
    hounsfield[ellipse((0.1, -0.1), (0.16, 0.2))] = 60.0 + 40 * height
    hounsfield[ellipse((0, 0.36), (0.1, 0.1))] = 380.0
    for angle in np.linspace(0, 2 * np.pi, 14) + 3 * height:
        hounsfield[ellipse((0.72 * np.cos(angle), 0.48 * np.sin(angle)), (0.035, 0.025))] = 550.0
    return np.asarray(ndimage.gaussian_filter(hounsfield, 0.8))


def _encoded(pixels: npt.NDArray[np.int16], place: int) -> bytes:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{_INSTANCE}.{1001 + place}"
    data.StudyInstanceUID, data.SeriesInstanceUID = _STUDY, _SERIES
    data.FrameOfReferenceUID = f"{_STUDY}.9"
    data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20260101", "120000", "", "1"
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "PHANTOM", "0", "", ""
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Manufacturer, data.StationName, data.BodyPartExamined = "BENCH", "CTBENCH", "CHEST"
    data.SeriesDescription, data.ProtocolName, data.ConvolutionKernel = "Thorax 1.0", "Thorax", "B30f"
    data.SeriesNumber, data.InstanceNumber, data.KVP = 1, place + 1, 120
    data.Rows = data.Columns = SIDE
    data.PixelSpacing, data.SliceThickness = [0.7, 0.7], 1
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-179, -179, place]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "HU"
    data.WindowCenter, data.WindowWidth = 40, 400
    data.PixelData = pixels.astype("<i2").tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    with DicomBytesIO() as buffer:
        data.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()
