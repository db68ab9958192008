"""Degraded copies of DICOM series, and what the gate makes of those of real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread
from pydicom.data import get_testdata_file

from qagate.cli import main
from train.copies import write_copy
from train.simulate import SIMULATORS

STRONG = 5.0
SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"
REAL = sorted(folder for folder in SHARED.glob("*") if folder.is_dir())


def copied(name: str, folder: Path, **artefacts: float) -> tuple[np.ndarray, np.ndarray]:
    """Stored values of one of pydicom's files and of its copy."""
    path = Path(get_testdata_file(name))
    write_copy([path], folder, artefacts)
    return dcmread(path).pixel_array, dcmread(folder / "0001.dcm").pixel_array


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm"])
def test_a_clean_copy_has_the_same_pixels(name: str, tmp_path: Path) -> None:
    stored, copy = copied(name, tmp_path)
    assert copy.dtype == stored.dtype and (copy == stored).all()


def test_a_copy_says_what_was_done_under_new_uids_in_its_study(tmp_path: Path) -> None:
    stored, copy = copied("CT_small.dcm", tmp_path, noise=3)
    assert 5 < np.std(copy - stored.astype(float)) < 500
    source, made = dcmread(get_testdata_file("CT_small.dcm")), dcmread(tmp_path / "0001.dcm")
    assert made.DerivationDescription == "simulated: noise 3" and made.QualityControlImage == "YES"
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID != source.SOPInstanceUID


def test_padding_stays(tmp_path: Path) -> None:
    data_set = dcmread(get_testdata_file("CT_small.dcm"))
    pixels = data_set.pixel_array.copy()
    pixels[:9] = data_set.PixelPaddingValue = -2000
    data_set.PixelData = pixels.tobytes()
    data_set.save_as(source := tmp_path / "padded.dcm")
    write_copy([source], tmp_path / "copy", {"noise": 5})
    copy = dcmread(tmp_path / "copy" / "0001.dcm").pixel_array
    assert (copy[:9] == -2000).all() and (copy[9:] != pixels[9:]).any()


def test_what_cannot_be_degraded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="monochrome single-frame"):
        write_copy([Path(get_testdata_file("examples_rgb_color.dcm"))], tmp_path, {"noise": 1})
    with pytest.raises(ValueError, match="no artefact 'sunspots'"):
        write_copy([Path(get_testdata_file("CT_small.dcm"))], tmp_path, {"sunspots": 1})


@pytest.mark.skipif(not REAL, reason="the shared series are not here")
@pytest.mark.parametrize("folder", REAL, ids=lambda folder: folder.name)
def test_strong_artefacts_score_below_the_clean_series(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.glob("*.dcm"))
    write_copy(files, tmp_path / "clean", {})
    artefacts = SIMULATORS[dcmread(files[0], stop_before_pixels=True).Modality]
    for artefact in artefacts:
        write_copy(files, tmp_path / artefact, {artefact: STRONG}, seed=7)
    said = CliRunner().invoke(main, ["score", "--json", str(tmp_path)])
    assert said.exit_code == 0, said.output
    rows = {Path(row["path"]).name: row for row in map(json.loads, said.stdout.splitlines())}
    assert rows.keys() == {"clean", *artefacts}
    clean = rows.pop("clean")
    assert clean["verdict"] not in ("REPEAT", "NOT_ASSESSED")
    assert not {name: row["quality"] for name, row in rows.items() if row["quality"] >= clean["quality"]}
