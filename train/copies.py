"""Degraded copies of DICOM series: the same headers, one artefact of known severity in the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_rescale
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from train.simulate import degrade


def write_copy(paths: Iterable[Path], folder: Path, artefacts: Mapping[str, float], *, seed: int = 0) -> str:
    """Write a degraded copy of one CT or MR series; returns its new Series Instance UID.

    paths: the files of one series, monochrome single-frame images of any transfer syntax pydicom decodes.
    artefacts: simulator (see train.simulate.SIMULATORS) -> severity 0 to 5, applied in this order; none
    gives a clean copy. seed: of the pattern, which is one and the same in every slice, as in a 3D scan.
    The copies stay in their study, are uncompressed, keep values within the bits stored and say what was
    done in DerivationDescription (0008,2111) and QualityControlImage (0028,0300). Raises ValueError for an
    unknown artefact or severity and for images that are not monochrome.
    """
    series_uid = generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths, start=1):
        data_set = pydicom.dcmread(path)
        _degrade(data_set, artefacts, seed)
        data_set.SeriesInstanceUID = series_uid
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data_set.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return series_uid


def _degrade(data_set: Dataset, artefacts: Mapping[str, float], seed: int) -> None:
    if data_set.get("SamplesPerPixel", 1) != 1 or int(data_set.get("NumberOfFrames") or 1) != 1:
        raise ValueError("only monochrome single-frame images can be degraded")
    if data_set.file_meta.TransferSyntaxUID.is_compressed:
        data_set.decompress(generate_instance_uid=False)
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stored = data_set.pixel_array
    image = np.asarray(apply_rescale(stored, data_set), dtype=np.float32)
    rng = np.random.default_rng(seed)
    for artefact, severity in artefacts.items():
        image = degrade(image, artefact, severity, rng, data_set.Modality)
    slope, intercept = float(data_set.get("RescaleSlope", 1)), float(data_set.get("RescaleIntercept", 0))
    signed, bits = bool(data_set.PixelRepresentation), int(data_set.BitsStored)
    lowest = -(2 ** (bits - 1)) if signed else 0
    values = np.clip(np.rint((image - intercept) / slope), lowest, lowest + 2**bits - 1).astype(stored.dtype)
    if "PixelPaddingValue" in data_set:
        values[stored == data_set.PixelPaddingValue] = data_set.PixelPaddingValue
    data_set.PixelData = values.tobytes()
    done = ", ".join(f"{artefact} {severity:g}" for artefact, severity in artefacts.items())
    if done:
        data_set.DerivationDescription = f"simulated: {done}"
        data_set.QualityControlImage = "YES"
