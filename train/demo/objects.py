"""Writing the demo's slices as CT and MR Image Storage objects of a patient that does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One slice to be written."""

    pixels: npt.NDArray[np.float32]  #: (rows, columns); HU for CT, stored values for MR
    position_mm: tuple[float, float, float]  #: (0020,0032)
    orientation: tuple[float, ...] = AXIAL  #: (0020,0037)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What all series of one examination share; fresh UIDs for every run."""

    study_instance_uid: str
    frame_of_reference_uid: str
    modality: str  #: CT or MR
    started: datetime

    @classmethod
    def begin(cls, modality: str) -> Study:
        """A study that starts now."""
        return cls(
            study_instance_uid=generate_uid(),
            frame_of_reference_uid=generate_uid(),
            modality=modality,
            started=datetime.now(),
        )


def write_series(
    folder: Path,
    study: Study,
    planes: list[Plane],
    *,
    series_number: int,
    spacing_mm: float,
    attributes: Mapping[str, object],
) -> tuple[str, tuple[Path, ...]]:
    """Write one Part 10 file a plane into `folder`; returns the Series Instance UID and the files.

    attributes: further (0018,xxxx) and series attributes by DICOM keyword; they win over the defaults;
    None removes one.
    """
    folder.mkdir(parents=True)
    series_uid = generate_uid()
    files = []
    for number, plane in enumerate(planes, start=1):
        dataset = _general(study, series_uid, series_number, number)
        (_ct if study.modality == "CT" else _mr)(dataset)
        _image(dataset, plane, spacing_mm, intercept=-1024 if study.modality == "CT" else 0)
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        files.append(folder / f"{number:03d}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return series_uid, tuple(files)


def _general(study: Study, series_uid: str, series_number: int, instance_number: int) -> Dataset:
    """Patient, study, series, frame of reference and equipment modules (PS3.3 A.3, A.4)."""
    dataset = Dataset()
    sop_class = CTImageStorage if study.modality == "CT" else MRImageStorage
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName = "DEMO^QAGATE"
    dataset.PatientID = "QAGATE-DEMO"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = study.study_instance_uid
    dataset.StudyDate = study.started.strftime("%Y%m%d")
    dataset.StudyTime = study.started.strftime("%H%M%S")
    dataset.ContentDate, dataset.ContentTime = dataset.StudyDate, dataset.StudyTime
    dataset.StudyID = "DEMO"
    dataset.StudyDescription = f"qagate demo {study.modality} head"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.Modality = study.modality
    dataset.SeriesInstanceUID = series_uid
    dataset.SeriesNumber = series_number
    dataset.BodyPartExamined = "HEAD"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = study.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "qagate"
    dataset.ManufacturerModelName = "demo scanner"
    dataset.StationName = f"DEMO{study.modality}"
    dataset.InstanceNumber = instance_number
    dataset.AcquisitionNumber = 1
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset


def _image(dataset: Dataset, plane: Plane, spacing_mm: float, *, intercept: int) -> None:
    """Image plane and image pixel modules; 12 bits stored, values beyond them are clipped."""
    dataset.ImagePositionPatient = [round(value, 4) for value in plane.position_mm]
    dataset.ImageOrientationPatient = list(plane.orientation)
    dataset.PixelSpacing = [spacing_mm, spacing_mm]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = plane.pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    stored = np.clip(np.rint(plane.pixels - intercept), 0, 4095).astype("<u2")
    dataset.PixelData = stored.tobytes()


def _ct(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
    dataset.KVP = 120
    dataset.WindowCenter, dataset.WindowWidth = 40, 80


def _mr(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    dataset.ScanningSequence = ["GR", "IR"]
    dataset.SequenceVariant = ["SP", "MP"]
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "3D"
    dataset.RepetitionTime, dataset.EchoTime, dataset.InversionTime = 1900, 2.5, 900
    dataset.FlipAngle, dataset.EchoTrainLength = 9, 1
    dataset.MagneticFieldStrength = 3
    dataset.InPlanePhaseEncodingDirection = "COL"
