"""What data sets are mutated from: pydicom's test files, synthetic ones of each syntax, real ones."""

from __future__ import annotations

import functools
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"
LARGEST = 120_000  #: bytes of a seed; more only makes mutating slow
ENCODED = (RLELossless, JPEGLSLossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian)
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Part 10 files, the synthetic ones first."""
    found = [synthetic(syntax) for syntax in (*PLAIN, *ENCODED)]
    found += [enhanced(4), *(synthetic(syntax, side=64) for syntax in ENCODED)]
    for name in sorted(get_testdata_files("**/*.dcm")):
        data = Path(name).read_bytes()
        if 300 < len(data) <= LARGEST:
            found.append(data)
    return tuple(found)


@functools.cache
def real() -> tuple[bytes, ...]:
    """A slice of each real series; of full size, so they are drawn seldom. None where the series are not."""
    folders = [sorted(folder.glob("*.dcm")) for folder in sorted(SHARED.glob("*"))]
    return tuple(files[len(files) // 2].read_bytes() for files in folders if files)


def data_set(side: int = 32, number: int = 1) -> Dataset:
    """A small CT slice with every kind of element that the gate reads."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, UID(f"2.25.1{number:04d}")
    made.StudyInstanceUID, made.SeriesInstanceUID = UID("2.25.2"), UID("2.25.3")
    made.PatientName, made.PatientID = "Thrushcombe^Ottilie", "TC-88417"
    made.Modality, made.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.BodyPartExamined, made.StationName, made.SeriesDescription = "HEAD", "FUZZ", "AXIAL"
    made.InstanceNumber, made.SeriesNumber = number, 2
    made.Rows = made.Columns = side
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 0, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.PixelSpacing, made.SliceThickness = [0.7, 0.7], 3
    made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 3 * number]
    made.RescaleSlope, made.RescaleIntercept, made.KVP = 1, -1024, 120
    made.WindowCenter, made.WindowWidth = 40, 400
    rows, columns = np.mgrid[:side, :side]
    disc = 1000 * (np.hypot(rows - side / 2, columns - side / 2) < side / 3)
    noise = np.random.default_rng(number).normal(30, 8, (side, side))
    made.PixelData = (disc + noise).clip(0, 4095).astype("<u2").tobytes()
    return made


def synthetic(syntax: str, side: int = 32) -> bytes:
    """A slice as a Part 10 file of a transfer syntax."""
    made = data_set(side)
    made.file_meta = FileMetaDataset()
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.compress(UID(syntax), generate_instance_uid=False)
    made.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == ExplicitVRBigEndian:
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
    return part10(made)


def enhanced(frames: int, side: int = 32) -> bytes:
    """An Enhanced MR object with functional groups for every frame."""
    made = data_set(side)
    made.SOPClassUID, made.Modality, made.NumberOfFrames = EnhancedMRImageStorage, "MR", frames
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(made, keyword)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1, 1], 3
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = [_frame(number) for number in range(frames)]
    made.PixelData = bytes(made.PixelData) * frames
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return part10(made)


def _frame(number: int) -> Dataset:
    group, position, content, echo = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, 3 * number]
    content.InStackPositionNumber, content.TemporalPositionIndex = number + 1, 1
    echo.EffectiveEchoTime = 80.0
    group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
    group.MREchoSequence = [echo]
    return group


def part10(made: Dataset) -> bytes:
    """The Part 10 file of a data set that has a transfer syntax."""
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    out = BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def head(syntax: str) -> bytes:
    """Preamble and file meta information alone; a data set written by hand follows."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, UID("2.25.9")
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    whole = part10(made)
    return whole[: 132 + 12 + struct.unpack_from("<L", whole, 140)[0]]


def deflated(plain: bytes) -> bytes:
    """Bytes of an Explicit VR data set, deflated, as a Part 10 file."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head(DeflatedExplicitVRLittleEndian) + packer.compress(plain) + packer.flush()


def plain_data_set(made: Dataset) -> bytes:
    """The encoded data set alone, Explicit VR Little Endian."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = part10(made)
    return whole[132 + 12 + struct.unpack_from("<L", whole, 140)[0] :]


def readable(data: bytes) -> bool:
    """Tell whether pydicom reads it at all; for tests of the seeds."""
    return bool(dcmread(BytesIO(data), force=True))
