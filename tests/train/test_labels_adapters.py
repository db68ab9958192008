"""Readers of public data sets, on tiny folders laid out as theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from qagate.label import Scale
from train.labels.adapters import ADAPTERS, DataSetError, read
from train.labels.sample import Labelled, units


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def facts(found: Labelled) -> list[tuple[Any, ...]]:
    return [(one.name, one.mos, one.group, one.patient, one.part) for one in found.samples]


def test_koniq_of_the_repository(tmp_path: Path) -> None:
    text(
        tmp_path / "koniq10k_distributions_sets.csv",
        "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set",
        "10004473376.jpg,0.0,0.0,0.238,0.695,0.067,105,77.38,0.527,training",
        "10007357496.jpg,0.0,0.031,0.469,0.490,0.010,96,68.73,0.580,test",
        "1.jpg,0,0,0,0,1,100,90,0.1,validation",
    )
    touch(*(tmp_path / "1024x768" / name for name in ("10004473376.jpg", "10007357496.jpg")))
    found = read("koniq-10k", tmp_path)
    assert facts(found) == [
        ("10004473376.jpg", 77.38, "10004473376.jpg", "", "train"),
        ("10007357496.jpg", 68.73, "10007357496.jpg", "", "test"),
    ]
    first = found.samples[0]
    assert first.scale == Scale(0, 100) and first.raters == 105 and first.modality == ""
    assert first.deviation == pytest.approx(0.527 * 25), "the table's SD is of ratings on 1-5"
    assert found.problems == ("1024x768/1.jpg is missing",)


def test_koniq_of_the_archive(tmp_path: Path) -> None:
    inner = tmp_path / "koniq10k"
    text(
        inner / "koniq10k_scores_and_distributions.csv",
        '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"',
        '"a.jpg",0,0,25,73,7,105,3.83,0.53,77.4',
    )
    touch(inner / "512x384" / "a.jpg")
    (one,) = read("koniq-10k", tmp_path).samples
    assert (one.mos, one.scale, one.deviation, one.part) == (3.83, Scale(1, 5), 0.53, "")
    assert one.paths == (inner / "512x384" / "a.jpg",)


def test_kadid(tmp_path: Path) -> None:
    text(
        tmp_path / "dmos.csv", "dist_img,ref_img,dmos,var", "I01_01_01.png,I01.png,4.57,0.496",
        "I01_01_05.png,I01.png,1.2,0.3", "I02_01_01.png,I02.png,4.1,0.2",
    )  # fmt: skip
    touch(*(tmp_path / "images" / f"I0{n}_01_0{m}.png" for n, m in ((1, 1), (1, 5), (2, 1))))
    found = read("kadid-10k", tmp_path)
    assert facts(found) == [
        ("I01_01_01.png", 4.57, "I01.png", "", ""),
        ("I01_01_05.png", 1.2, "I01.png", "", ""),
        ("I02_01_01.png", 4.1, "I02.png", "", ""),
    ]
    assert found.samples[0].quality > found.samples[1].quality and not found.problems
    assert len(set(units(found.samples))) == 2


def live(root: Path, counts: tuple[int, ...] = (2, 1, 1, 1, 1)) -> Path:
    for folder, count in zip(("jp2k", "jpeg", "wn", "gblur", "fastfading"), counts, strict=True):
        touch(*(root / folder / f"img{number}.bmp" for number in range(1, count + 1)))
    touch(root / "refimgs" / "bikes.bmp")
    names = np.array([["bikes.bmp", "house.bmp", "bikes.bmp", "house.bmp", "bikes.bmp", "lake.bmp"]], object)
    dmos = np.array([[50.0, 0.0, 104.5, 20.0, 30.0, 40.0]])
    savemat(root / "dmos_realigned.mat", {"dmos_new": dmos, "orgs": np.array([[0, 1, 0, 0, 0, 0]])})
    savemat(root / "refnames_all.mat", {"refnames_all": names})
    return root


def test_live(tmp_path: Path) -> None:
    found = read("live", live(tmp_path))
    assert facts(found) == [
        ("jp2k/img1.bmp", 50.0, "bikes.bmp", "", ""),
        ("jpeg/img1.bmp", 104.5, "bikes.bmp", "", ""),
        ("wn/img1.bmp", 20.0, "house.bmp", "", ""),
        ("gblur/img1.bmp", 30.0, "bikes.bmp", "", ""),
        ("fastfading/img1.bmp", 40.0, "lake.bmp", "", ""),
    ]
    assert [one.quality for one in found.samples] == [0.5, 0.0, 0.8, 0.7, 0.6], "a difference: 0 is best"


def test_live_without_one_image_is_refused(tmp_path: Path) -> None:
    live(tmp_path)
    (tmp_path / "jp2k" / "img1.bmp").unlink()
    with pytest.raises(DataSetError, match=r"5 images \(jp2k 1, .* 6 scores, which are matched by place"):
        read("live", tmp_path)
    (tmp_path / "dmos_realigned.mat").write_bytes(b"none")
    with pytest.raises(DataSetError, match="no MATLAB file"):
        read("live", tmp_path)


def test_mr_art(tmp_path: Path) -> None:
    names = [f"sub-000103_acq-{kind}_T1w" for kind in ("standard", "headmotion1", "headmotion2")]
    text(
        tmp_path / "derivatives" / "scores.tsv",
        "bids_name\tscore",
        *(f"{n}\t{s}" for n, s in zip(names, (1, 2, 3), strict=True)),
        "sub-000148_acq-standard_T1w\t1",
    )
    touch(*(tmp_path / "sub-000103" / "anat" / f"{name}.nii.gz" for name in names))
    found = read("mr-art", tmp_path)
    assert [one.quality for one in found.samples] == [1.0, 0.5, 0.0]
    assert {(one.patient, one.group, one.modality) for one in found.samples} == {
        ("sub-000103",) * 2 + ("MR",)
    }
    assert found.problems == ("sub-000148/anat/sub-000148_acq-standard_T1w.nii.gz is missing",)


@pytest.mark.parametrize("suffix", ["", ".tif"])
def test_ldctiqa_by_number(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "LDCTIQAG2023_train"
    text(root / "train.json", json.dumps({f"0000{suffix}": 2.6, f"0001{suffix}": 4, f"0002{suffix}": 0.2}))
    touch(root / "image" / "0000.tif", root / "image" / "0001.tif")
    found = read("ldctiqag2023", tmp_path)
    assert facts(found) == [
        ("train/0000", 2.6, "train/0000", "", "train"),
        ("train/0001", 4.0, "train/0001", "", "train"),
    ]
    assert found.problems == ("LDCTIQAG2023_train/image/0002.tif is missing",)
    assert found.notes == (
        "the names of 3 images tell no patient: within a part, a split of them shares patients",
    )


def test_ldctiqa_by_patient_with_its_test_set(tmp_path: Path) -> None:
    train, test = tmp_path / "LDCTIQAG2023_train", tmp_path / "LDCTIQAC2023_test"
    text(train / "train.json", json.dumps({"L096_402_1_1": 2.6, "L096_402_1_2": 1.0, "L067_10_1_1": 4}))
    touch(*(train / "image" / f"{name}.tif" for name in ("L096_402_1_1", "L096_402_1_2", "L067_10_1_1")))
    told = {"test_0.mha": {"fnames": ["S058279_70_1_3"], "scores": [3.2]}}
    text(test / "test-ground-truth.json", json.dumps(told))
    touch(test / "test_0" / "S058279_70_1_3.tif")
    found = read("ldctiqag2023", tmp_path)
    assert facts(found) == [
        ("train/L096_402_1_1", 2.6, "L096_402", "L096", "train"),
        ("train/L096_402_1_2", 1.0, "L096_402", "L096", "train"),
        ("train/L067_10_1_1", 4.0, "L067_10", "L067", "train"),
        ("test/S058279_70_1_3", 3.2, "S058279_70", "S058279", "test"),
    ]
    assert not found.problems and not found.notes
    text(test / "test-ground-truth.json", json.dumps({"test_0.mha": {"fnames": ["a"], "scores": []}}))
    with pytest.raises(DataSetError, match=r"test_0\.mha: expected as many fnames as scores"):
        read("ldctiqag2023", tmp_path)


def test_rad_iqmri(tmp_path: Path) -> None:
    text(tmp_path / "mri_train.txt", "Brain_T1_ghosting_low.png,71.5", "Brain_T2_WhiteNoise_high.png 20", "")
    text(tmp_path / "mri_val.txt", "Brain_T1_edge ghosting_high.png 33.25")
    touch(
        *(
            tmp_path / "Train_Distort" / n
            for n in ("Brain_T1_ghosting_low.png", "Brain_T2_WhiteNoise_high.png")
        )
    )
    touch(tmp_path / "Val_Distort" / "Brain_T1_edge ghosting_high.png")
    found = read("rad-iqmri", tmp_path)
    assert [(one.mos, one.group, one.modality) for one in found.samples] == [
        (71.5, "brain_t1", "MR"),
        (20.0, "brain_t2", "MR"),
        (33.25, "brain_t1", "MR"),
    ]
    assert not found.problems


def test_rad_iqmri_whose_names_tell_no_reference(tmp_path: Path) -> None:
    text(tmp_path / "mri_train.txt", "17.png,71.5")
    touch(tmp_path / "Train_Distort" / "17.png")
    with pytest.raises(DataSetError, match=r"17\.png does not tell what reference.*references\.csv"):
        read("rad-iqmri", tmp_path)
    text(tmp_path / "references.csv", "image,reference", "17.png,liver")
    (one,) = read("rad-iqmri", tmp_path).samples
    assert one.group == "liver"


@pytest.mark.parametrize("name", ADAPTERS)
def test_another_folder_is_refused_with_what_was_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataSetError, match=r"has no .*: name the unpacked data set's folder"):
        read(name, tmp_path)
    with pytest.raises(DataSetError, match="is no folder"):
        read(name, tmp_path / "none")


def test_scores_that_are_none(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.png")
    text(tmp_path / "dmos.csv", "dist_img,ref_img,dmos,var", "a.png,b.png,nan,0")
    with pytest.raises(DataSetError, match=r"a\.png: 'nan' is no score"):
        read("kadid-10k", tmp_path)
    text(tmp_path / "dmos.csv", "dist_img,dmos", "a.png,1")
    with pytest.raises(DataSetError, match="lacks the column ref_img"):
        read("kadid-10k", tmp_path)
    text(tmp_path / "train.json", "[1]")
    with pytest.raises(DataSetError, match="no object of names and scores"):
        read("ldctiqag2023", tmp_path)
    with pytest.raises(DataSetError, match="no data set is called 'imagenet'"):
        read("imagenet", tmp_path)
