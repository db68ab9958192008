"""Cases, splits that share nobody, and images prepared once, as the gate prepares them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from models.preparation import Preparation
from qagate.examine import prepare
from qagate.label import Scale
from train.data import images as module
from train.data.case import QUALITY, Case, from_samples
from train.data.images import BrokenCases, Images, prepare_all
from train.data.splits import PARTS, folds_of, read, read_parts, write
from train.disk import NoSpaceError
from train.evaluation.folds import Fold
from train.labels.sample import Sample, UnusableLabels
from train.recipe import FoldsRecipe

PREPARATION = Preparation(side=40)


def sample(number: int, **values: object) -> Sample:
    told = {
        "name": f"1.2.{number}", "paths": (), "modality": "MR", "mos": 1 + number % 4, "scale": Scale(1, 5),
        "group": f"reference {number}", **values,
    }  # fmt: skip
    return Sample(**told)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=24, max_size=60),
    st.sampled_from(["groups", "references", "split", "scanners"]),
    st.sampled_from([0.0, 0.2]),
)
def test_splits_never_share_a_patient_a_study_or_a_reference(
    drawn: list[tuple[int, int, int, int]], kind: str, validation: float
) -> None:
    samples = [
        sample(
            number, patient=f"p{patient}" if patient else "", study=f"s{study}" if study else "",
            group=f"r{reference}", station=f"c{scanner % 3}",
        )
        for number, (patient, study, reference, scanner) in enumerate(drawn)
    ]  # fmt: skip
    try:
        folds = folds_of(from_samples(samples), FoldsRecipe(kind=kind, k=2, validation=validation), 3)
    except UnusableLabels:
        return  # everything hangs together, or too little is left
    tested = [row for fold in folds for row in fold.test]
    assert kind == "split" or sorted(tested) == list(range(len(samples)))
    for fold in folds:
        parts = [set(getattr(fold, part)) for part in PARTS]
        for name in ("patient", "study", "group"):
            told = [{getattr(samples[row], name) for row in rows} - {""} for rows in parts]
            assert not (told[0] & told[1] or told[0] & told[2] or told[1] & told[2]), name
        if kind == "scanners":
            assert not {samples[r].station for r in fold.train} & {samples[r].station for r in fold.test}


def test_patients_that_share_a_study_are_one_unit_and_no_name_is_kept() -> None:
    samples = [sample(0, patient="A"), sample(1, patient="A", study="s"), sample(2, patient="B", study="s"),
               sample(3, patient="C")]  # fmt: skip
    cases = from_samples(samples)
    assert [case.unit for case in cases] == [0, 0, 0, 1]
    assert not any(secret in repr(cases) for secret in ("'A'", "'B'", "'C'"))
    assert cases[1].targets == {QUALITY: 0.25} and cases[1].values == {QUALITY: 2}


def test_a_score_outside_its_scale_is_named() -> None:
    with pytest.raises(UnusableLabels, match=r"1\.2\.0: the score 7 is outside its scale 1-5"):
        from_samples([sample(0, mos=7.0)])


def test_too_few_patients_constant_labels_and_too_few_scanners_are_named() -> None:
    few = from_samples([sample(number, patient=f"{number % 3}") for number in range(12)])
    with pytest.raises(UnusableLabels, match=r"12 labelled images come from too few patients .* fewer folds"):
        folds_of(few, FoldsRecipe(k=5), 0)
    constant = from_samples([sample(number, mos=3 if number else 4) for number in range(8)])
    with pytest.raises(UnusableLabels, match="all training labels of quality are alike"):
        folds_of(constant, FoldsRecipe(kind="references"), 0)
    with pytest.raises(UnusableLabels, match=r"12 series name no scanner, 1\.2\.0 among them"):
        folds_of(few, FoldsRecipe(kind="scanners"), 0)
    one = [replace(case, scanner="only") for case in few]
    with pytest.raises(UnusableLabels, match="too few scanners"):
        folds_of(one, FoldsRecipe(kind="scanners", k=2), 0)


@pytest.fixture
def divided(tmp_path: Path) -> Callable[..., Path]:
    def write_file(*lines: str) -> Path:
        path = tmp_path / "splits.csv"
        path.write_text("\n".join(["name,part", *lines]) + "\n")
        return path

    return write_file


def test_a_given_division_is_used_as_it_is_and_written_back(
    divided: Callable[..., Path], tmp_path: Path
) -> None:
    cases = from_samples([sample(number, patient=f"{number // 2}") for number in range(6)])
    given_ = divided("1.2.0,train", "1.2.1,train", "1.2.2,test", "1.2.3,test", "1.2.4,validation",
                     "1.2.5,validation")  # fmt: skip
    (fold,) = folds_of(read_parts(given_, cases), FoldsRecipe(kind="given"), 0)
    assert [list(part) for part in (fold.train, fold.test, fold.validation)] == [[0, 1], [2, 3], [4, 5]]
    write([fold], cases, tmp_path / "out.csv")
    again = read_parts(tmp_path / "out.csv", cases)
    assert [case.part for case in again] == ["train"] * 2 + ["test"] * 2 + ["validation"] * 2
    (back,) = read(tmp_path / "out.csv", cases)
    assert all((getattr(back, part) == getattr(fold, part)).all() for part in PARTS)


def test_a_patient_on_both_sides_of_a_given_division_is_refused_by_name(divided: Callable[..., Path]) -> None:
    cases = from_samples([sample(number, patient=f"{number // 2}") for number in range(4)])
    given_ = divided("1.2.0,train", "1.2.1,test", "1.2.2,train", "1.2.3,train")
    with pytest.raises(UnusableLabels, match=r"1\.2\.0 \(train\) and 1\.2\.1 \(test\) are of one patient"):
        folds_of(read_parts(given_, cases), FoldsRecipe(kind="given"), 0)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["1.2.0,train"], r"leaves out 1 cases, 1\.2\.1 among them"),
        (["1.2.0,train", "1.2.1,exam"], "line 3: part 'exam' is none of train"),
        (["1.2.0,train", "1.2.1,test", "1.2.0,test"], r"line 4: 1\.2\.0 is in two parts"),
        ([], "expected a header with the columns name and part"),
    ],
)
def test_division_files_with_mistakes(lines: list[str], told: str, divided: Callable[..., Path]) -> None:
    with pytest.raises(UnusableLabels, match=told):
        read_parts(divided(*lines), from_samples([sample(0), sample(1)]))


def test_a_given_division_must_be_there() -> None:
    with pytest.raises(UnusableLabels, match=r"1\.2\.0 is in no part; name one with --splits"):
        folds_of(from_samples([sample(0), sample(1)]), FoldsRecipe(kind="given"), 0)


def dicom(folder: Path, name: str, slices: int) -> Case:
    """A series of copies of one of pydicom's files."""
    folder.mkdir()
    source = dcmread(get_testdata_file(name))
    paths = []
    for number in range(slices):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        source.InstanceNumber = number + 1
        source.ImagePositionPatient = [0, 0, 5.0 * number]
        paths.append(folder / f"{number:02d}.dcm")
        source.save_as(paths[-1])
    return Case(name=str(source.SeriesInstanceUID) + name, paths=tuple(paths), modality=str(source.Modality),
                unit=0, targets={QUALITY: 0.5}, values={QUALITY: 3.0})  # fmt: skip


@pytest.mark.parametrize(
    ("name", "preparation"),
    [
        ("MR_small.dcm", PREPARATION),
        ("CT_small.dcm", PREPARATION),
        (
            "CT_small.dcm",
            replace(PREPARATION, ct_channels_hu=((-160.0, 240.0), (-1000.0, 1000.0), (-25.0, 95.0))),
        ),
    ],
    ids=["MR", "CT", "CT in three windows"],
)
def test_training_sees_what_the_gate_sees(name: str, preparation: Preparation, tmp_path: Path) -> None:
    case = dicom(tmp_path / "series", name, 9)
    (usable, (prepared,), broken) = prepare_all([case], preparation, 7, tmp_path / "cache")
    assert usable == [case] and not broken and prepared.slices == 7
    gate = prepare(case.paths)
    assert (
        prepared.prompt["modality"] == case.modality and prepared.prompt["dimension"] == gate.prompt.dimension
    )
    seen = np.stack([preparation(one.pixels, one.header.modality).numpy() for one in gate.slices])
    assert np.abs(Images([prepared], tmp_path / "cache")[0].numpy() - seen).max() <= 1 / 65535
    (_, (fewer,), _) = prepare_all([case], preparation, 3, tmp_path / "cache")
    three = Images([fewer], tmp_path / "cache")[0].numpy()
    assert len(three) == 3 and np.abs(three - seen[[1, 3, 5]]).max() <= 1 / 65535


def test_a_case_is_read_again_only_when_its_files_or_the_preparation_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, cache = dicom(tmp_path / "series", "MR_small.dcm", 2), tmp_path / "cache"
    (_, (first,), _) = prepare_all([case], PREPARATION, 7, cache)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_from_series", lambda *a: pytest.fail("was read again"))
        assert prepare_all([case], PREPARATION, 7, cache)[1] == [first]
    os.utime(case.paths[0], ns=(1, 1))
    assert prepare_all([case], PREPARATION, 7, cache)[1][0].key != first.key
    assert prepare_all([case], Preparation(side=41), 7, cache)[1][0].key != first.key


def test_a_truncated_cache_file_is_made_anew_and_a_lost_one_is_named(tmp_path: Path) -> None:
    case, cache = dicom(tmp_path / "series", "MR_small.dcm", 2), tmp_path / "cache"
    (_, (one,), _) = prepare_all([case], PREPARATION, 7, cache)
    path = cache / f"{one.key}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    prepare_all([case], PREPARATION, 7, cache)
    assert path.read_bytes() == whole
    path.unlink()
    with pytest.raises(BrokenCases, match=rf"{path.name} is missing .*--cache"):
        Images([one], cache)[0]


def test_the_memory_of_images_is_bounded(cases: list[Case], tmp_path: Path) -> None:
    _, prepared, _ = prepare_all(cases, PREPARATION, 7, tmp_path / "cache")
    small = Images(prepared, tmp_path / "cache", memory=3 * 40 * 40 * 4)
    all_ = Images(prepared, tmp_path / "cache")
    for _ in range(2):
        for number in range(len(cases)):
            assert (small[number] == all_[number]).all()
    assert len(small._known) == 3


def test_broken_and_missing_cases_are_named_together_or_left_out(cases: list[Case], tmp_path: Path) -> None:
    cases[2].paths[0].unlink()
    cases[5].paths[0].write_bytes(b"no picture")
    note = tmp_path / "note.dcm"
    note.write_text("no series")
    cases[7] = replace(cases[7], paths=(note,))
    with pytest.raises(BrokenCases, match=r"3 of 18 .*--leave-out-broken") as error:
        prepare_all(cases, PREPARATION, 7, tmp_path / "cache")
    for name, why in (("002", "missing"), ("005", "cannot be read"), ("007", "no usable image")):
        assert any(name in line and why in line for line in str(error.value).splitlines()), name
    usable, prepared, broken = prepare_all(cases, PREPARATION, 7, tmp_path / "cache", leave_out_broken=True)
    assert len(usable) == len(prepared) == 15 and len(broken) == 3


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((40, 40), 255, np.uint8), 1.0),
        (np.full((40, 40), 32768, np.uint16), 0.5),
        (np.full((40, 40), 0.25, np.float32), 0.25),
        (np.full((40, 40, 3), 51, np.uint8), 0.2),
        (np.full((40, 40), 300.0, np.float32), "outside 0 to 1"),
        (np.full((20, 40), 9, np.uint8), "32 pixels a side"),
    ],
)
def test_pictures_keep_their_values(pixels: np.ndarray, expected: float | str, tmp_path: Path) -> None:
    path = tmp_path / "picture.tif"
    Image.fromarray(pixels).save(path)
    case = Case(name="one", paths=(path,), modality="CT", unit=0, targets={QUALITY: 0}, values={QUALITY: 0})
    if isinstance(expected, str):
        with pytest.raises(BrokenCases, match=expected):
            prepare_all([case], PREPARATION, 7, tmp_path / "cache")
        return
    _, prepared, _ = prepare_all([case], PREPARATION, 7, tmp_path / "cache")
    found = Images(prepared, tmp_path / "cache")[0]
    assert found.shape == (1, 3, 40, 40) and float((found - expected).abs().max()) < 1e-4
    assert prepared[0].prompt["modality"] == "CT"


def test_a_disk_that_cannot_hold_the_images_is_named_before_any_is_written(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: free)
    with pytest.raises(NoSpaceError, match=r"preparing 18 .* name another folder with --cache"):
        prepare_all(cases, PREPARATION, 7, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_prepared_files_hold_nothing_but_pixels_and_words(tmp_path: Path) -> None:
    case, cache = dicom(tmp_path / "series", "MR_small.dcm", 2), tmp_path / "cache"
    (_, (one,), _) = prepare_all([case], PREPARATION, 7, cache)
    header = (cache / f"{one.key}.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    told = json.loads(header[8 : 8 + size])
    assert set(json.loads(told["__metadata__"]["told"])) == {"prompt", "slices"} and str(tmp_path) not in str(
        told
    )


def test_processes_prepare_the_same(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IN_PARALLEL_FROM", 2)
    alone = prepare_all(cases, PREPARATION, 7, tmp_path / "one")
    seen: list[int] = []
    together = prepare_all(
        cases, PREPARATION, 7, tmp_path / "two", processes=2, progress=lambda done, of: seen.append(done)
    )
    assert alone == together and seen == list(range(1, 19))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_folds_are_the_same_for_the_same_seed_only() -> None:
    cases = from_samples([sample(number) for number in range(20)])

    def tests(seed: int) -> list[list[int]]:
        return [list(fold.test) for fold in folds_of(cases, FoldsRecipe(k=4), seed)]

    assert tests(1) == tests(1) != tests(2)
    assert isinstance(folds_of(cases, FoldsRecipe(kind="random", k=4), 0)[0], Fold)
