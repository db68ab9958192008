"""Series of small DICOM files in a spool, for pages that show pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless

from qagate.assessment import Artefact, Baseline, Finding, QualityMap, SliceScore, Verdict
from qagate.dicom.spool import Spool
from qagate.store.outbox import OutboxItem

MAP = QualityMap(rows=2, columns=2, low=0.0, high=1.0, cells=bytes((0, 255, 255, 255)))


def scored_series(
    spool: Spool, seed: Callable[..., str], uid: str, *, outbox: Sequence[OutboxItem] = (), **more: Any
) -> str:
    """A decided CT series of three slices with files; the second is the worst and has MAP."""
    scores = tuple(
        SliceScore(
            sop_instance_uid=f"{uid}.{n}", slice_number=n, score=q, quality=q,
            quality_map=MAP if n == 2 else None,
        )
        for n, q in ((1, 0.6), (2, 0.4), (3, 0.7))
    )  # fmt: skip
    return seed(
        Verdict.REVIEW,
        uid=uid,
        quality=0.45,
        reasons=("motion: ghosting along columns, slices 1-2", "quality 0.45 is below 0.50: please look"),
        paths=write_series(spool, uid, **more),
        assessment={
            "slices": scores,
            "measures": {"noise_hu": 12.5},
            "findings": (Finding(artefact=Artefact.GHOSTING, severity=0.6, text="ghosting along columns"),),
        },
        decision={"baseline": Baseline(median=0.8, mad=0.03, count=44), "relative": True},
        outbox=list(outbox),
    )


def write_series(spool: Spool, uid: str, count: int = 3, *, broken: bool = False, **tags: Any) -> list[str]:
    """Write `count` CT slices of 64 x 48 pixels, 3 mm apart; return their paths in the spool.

    Slice n (from 1) holds n HU in its first row and a ramp below; `uid`.n is its SOP Instance UID.
    broken: their JPEG 2000 stream is none.
    """
    paths = []
    for number in range(1, count + 1):
        path = spool.folder(uid) / f"{uid}.{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = data_set(uid, number, **tags)
        if broken:
            made.file_meta.TransferSyntaxUID = JPEG2000Lossless
            made.PixelData = encapsulate([b"not a code stream"])
            made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
        made.save_as(path, enforce_file_format=True)
        paths.append(path.relative_to(spool.root).as_posix())
    return paths


def data_set(uid: str, number: int, **tags: Any) -> Dataset:
    """One of these slices."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number}"
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"{uid}.{number}"
    made.SeriesInstanceUID, made.StudyInstanceUID = uid, f"{uid}.0"
    made.Modality, made.PatientName, made.PatientID = "CT", "Doe^Jane", "4711"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.InstanceNumber = number
    made.Rows, made.Columns, made.PixelSpacing = 64, 48, [1.0, 1.0]
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RescaleIntercept, made.RescaleSlope = -1024, 1
    pixels = np.linspace(0, 2000, 64 * 48).reshape(64, 48).astype(np.uint16)
    pixels[0] = 1024 + number
    made.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    return made
