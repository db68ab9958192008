"""Small CT series on disk."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid


def series(folder: Path, count: int, first: int = 1, series_uid: str = "") -> list[Path]:
    """The files of one series of `count` slices of pydicom's 128x128 CT."""
    folder.mkdir(parents=True, exist_ok=True)
    series_uid, study_uid = series_uid or generate_uid(), generate_uid()
    paths = []
    for number in range(first, first + count):
        data_set = dcmread(get_testdata_file("CT_small.dcm"))
        data_set.PatientName, data_set.PatientID = "Wexbarrow^Idris", "WX-20931"
        data_set.StudyInstanceUID, data_set.SeriesInstanceUID = study_uid, series_uid
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data_set.InstanceNumber, data_set.ImagePositionPatient = number, [-42, -42, 3 * number]
        paths.append(folder / f"{series_uid}-{number}.dcm")
        data_set.save_as(paths[-1])
    return paths
