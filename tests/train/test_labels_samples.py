"""A label file beside DICOM, and labels of the store, become samples; what is missing is named."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from qagate.assessment import Artefact
from qagate.label import Label, LabelKind, Scale
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.engine import Store, open_store
from qagate.store.labels import Labels
from qagate.store.migrate import migrate
from qagate.store.queue import Queue
from train.labels.folder import read_folder
from train.labels.opinion import Scoring
from train.labels.problems import LabelFileError
from train.labels.sample import Sample, UnusableLabels, units, usable
from train.labels.stored import read_store

FIVE = Scale(0, 4)
Series = tuple[str, list[str]]


def write_series(folder: Path, *, patient: str = "P1", slices: int = 2, **values: Any) -> Series:
    """pydicom's CT slice as a series of its own; its UID and those of its images."""
    data_set = dcmread(get_testdata_file("CT_small.dcm"))
    data_set.PatientID, data_set.SeriesInstanceUID = patient, values.pop("SeriesInstanceUID", generate_uid())
    data_set.StudyInstanceUID, data_set.StationName = generate_uid(), "CT7"
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    folder.mkdir(parents=True, exist_ok=True)
    uids = []
    for number in range(slices):
        data_set.InstanceNumber = number + 1
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data_set.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        uids.append(str(data_set.SOPInstanceUID))
    return str(data_set.SeriesInstanceUID), uids


def write_rows(path: Path, columns: Sequence[str], *rows: Sequence[object]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


# -- beside a folder ---------------------------------------------------------------------------


def test_series_by_uid_by_folder_and_by_file(tmp_path: Path) -> None:
    a, _ = write_series(tmp_path / "a")
    b, _ = write_series(tmp_path / "deep" / "b", patient="P2", Modality="MR")
    c, images = write_series(tmp_path / "c", patient="P1")
    file = write_rows(
        tmp_path / "labels.csv",
        ("series_instance_uid", "path", "sop_instance_uid", "rater", "score", "artefacts"),
        (a, "", "", "anna", 3, "noise"),
        (a, "a", "", "ben", 2, "noise|blur"),
        ("", "deep\\b", "", "anna", 4, ""),
        ("", "c/1.dcm", images[1], "anna", 1, ""),
    )
    found = read_folder(file, scale=FIVE).complete()
    first, second, third = found.samples
    assert (first.name, first.mos, first.raters) == (a, 2.5, 2)
    assert first.deviation == pytest.approx(0.5**0.5) and first.scale == FIVE and first.quality == 0.625
    assert first.artefacts == (Artefact.NOISE, Artefact.BLUR), "named by half of the raters or more"
    assert [path.name for path in first.paths] == ["0.dcm", "1.dcm"] and first.station == "CT7"
    assert (second.name, second.modality, second.mos, second.deviation) == (b, "MR", 4.0, None)
    assert (third.name, third.group, third.mos) == (images[1], c, 1.0)
    assert third.paths == (tmp_path / "c" / "1.dcm",)
    assert first.patient == third.patient != second.patient and "P1" not in first.patient
    assert len(set(units(found.samples))) == 2 and not found.notes
    assert [label.rater for label in first.labels] == ["anna", "ben"]


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    good, images = write_series(tmp_path / "good")
    write_series(tmp_path / "two")
    write_series(tmp_path / "two" / "more")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.dcm").write_bytes(b"no image")
    file = write_rows(
        tmp_path / "labels.csv",
        ("series_instance_uid", "path", "sop_instance_uid", "rater", "score"),
        ("1.2.3", "", "", "a", 1),
        ("", "gone", "", "a", 1),
        ("", "two", "", "a", 1),
        ("", "empty", "", "a", 1),
        ("", "broken/1.dcm", "", "a", 1),
        ("1.2.3", "good", "", "a", 1),
        (good, "", "1.2.3.4", "a", 1),
        (good, "", images[0], "a", 1),
    )
    found = read_folder(file, scale=FIVE)
    assert [one.name for one in found.samples] == [images[0]]
    said = "\n".join(found.problems)
    for part in (
        "row 2: series 1.2.3 is not in the folder",
        "row 3, column path: ",
        "gone does not exist",
        "two holds 2 series; give series_instance_uid",
        "empty holds no DICOM image",
        "broken/1.dcm cannot be read",
        f"good is series {good}, not 1.2.3",
        f"image 1.2.3.4 is not among the files of series {good}",
    ):
        assert part in said, said
    with pytest.raises(UnusableLabels, match=f"^{len(found.problems)} problems with the labels") as raised:
        found.complete()
    assert "gone does not exist" in str(raised.value)


def test_a_series_of_which_one_file_is_broken_says_so(tmp_path: Path) -> None:
    uid, _ = write_series(tmp_path / "a")
    (tmp_path / "a" / "9.dcm").write_bytes(b"no image")
    file = write_rows(tmp_path / "l.csv", ("series_instance_uid", "rater", "score"), (uid, "a", 1))
    found = read_folder(file, scale=FIVE)
    assert len(found.samples) == 1 and "9.dcm" in found.problems[0]


def test_later_answers_count_and_clicks_make_no_samples(tmp_path: Path) -> None:
    a, _ = write_series(tmp_path / "images" / "a")
    b, _ = write_series(tmp_path / "images" / "b")
    (tmp_path / "labels").mkdir()
    file = write_rows(
        tmp_path / "labels" / "l.csv",
        ("series_instance_uid", "rater", "score", "kind", "time"),
        (a, "anna", 4, "", "2026-01-02"),
        (a, "anna", 1, "", "2026-01-01"),
        (b, "anna", "", "agree", ""),
    )
    found = read_folder(file, tmp_path / "images", scale=FIVE)
    (one,) = found.samples
    assert one.mos == 4.0 and found.notes == ("1 clicks are no scores and make no samples",)


def test_two_scales_are_put_on_one(tmp_path: Path) -> None:
    a, _ = write_series(tmp_path / "a")
    file = write_rows(
        tmp_path / "l.csv",
        ("series_instance_uid", "rater", "score", "scale"),
        (a, "anna", 3, "0-4"), (a, "ben", 2, "3-1"),
    )  # fmt: skip
    found = read_folder(file)
    (one,) = found.samples
    assert one.scale == Scale(0, 1) and one.mos == pytest.approx((0.75 + 0.5) / 2)
    assert found.notes == ("ratings came on 2 scales (0-4, 3-1) and were put on 0-1",)


def test_an_erratic_rater_is_left_out_and_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows: list[tuple[object, ...]] = []
    for number in range(20):
        uid, _ = write_series(tmp_path / str(number), slices=1)
        truth = rng.uniform(1.5, 2.5)
        rows += [(uid, f"r{rater}", round(truth + rng.normal(0, 0.3), 3), "") for rater in range(9)]
        rows.append((uid, "wild", round(truth + (1.1 if number % 2 else -1.1), 3), "motion"))
    file = write_rows(tmp_path / "l.csv", ("series_instance_uid", "rater", "score", "artefacts"), *rows)
    found = read_folder(file, scale=FIVE)
    assert {one.raters for one in found.samples} == {9} and not any(one.artefacts for one in found.samples)
    assert found.notes == ("wild was left out: erratic, by BT.500's screening of observers",)
    kept = read_folder(file, scale=FIVE, scoring=Scoring(reject=False))
    assert {one.raters for one in kept.samples} == {10} and not kept.notes
    assert kept.samples[0].mos != found.samples[0].mos
    normed = read_folder(file, scale=FIVE, scoring=Scoring(z_score=True))
    assert normed.samples[0].mos == pytest.approx(found.samples[0].mos, abs=0.3)


def test_the_label_files_own_mistakes_are_raised(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match="row 2, column score"):
        read_folder(write_rows(tmp_path / "l.csv", ("path", "rater", "score"), ("a", "b", 9)), scale=FIVE)


# -- from the store ----------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'qagate.db'}"
    migrate(url)
    with open_store(url) as opened:
        yield opened


@pytest.fixture
def receive(store: Store, tmp_path: Path) -> Callable[..., Series]:
    """Puts a series into the spool and the store."""

    def make(name: str, **values: Any) -> Series:
        uid, images = write_series(tmp_path / "spool" / name, **values)
        Queue(store).record([received(uid, image, f"{name}/{n}.dcm") for n, image in enumerate(images)])
        return uid, images

    return make


def received(uid: str, image: str, path: str) -> Received:
    return Received(
        instance=Instance(
            sop_instance_uid=image, sop_class_uid="1.2", series_instance_uid=uid, study_instance_uid="1.9",
            transfer_syntax_uid="1.2", calling_ae_title="CT", path=path, sha256=image, size=1,
            received_at=datetime.now(UTC),
        ),
        header=SeriesHeader(modality="CT", station_name="CT7"),
    )  # fmt: skip


def rating(uid: str, score: float, rater: str = "anna", **values: Any) -> Label:
    return Label(series_instance_uid=uid, rater=rater, score=score, scale=FIVE, **values)


def test_the_stores_labels(store: Store, receive: Callable[..., Series], tmp_path: Path) -> None:
    a, images = receive("a")
    b, _ = receive("b", patient="P2")
    gone, _ = receive("gone")
    (tmp_path / "spool" / "gone" / "0.dcm").unlink()
    old = datetime.now(UTC) - timedelta(days=1)
    labels = Labels(store)
    labels.add([rating(a, 1.0, created_at=old), rating(a, 3.0), rating(a, 4.0, "ben"), rating(gone, 2.0)])
    labels.add([rating(a, 0.0, sop_instance_uid=images[1])])
    labels.add([Label(series_instance_uid=b, rater="anna", kind=LabelKind.AGREE)])
    found = read_store(labels, tmp_path / "spool")
    first, second = found.samples
    assert (first.name, first.mos, first.raters, first.station, first.study) == (a, 3.5, 2, "CT7", "1.9")
    assert len(first.paths) == 2 and all(path.is_file() for path in first.paths)
    assert (second.name, second.mos, second.group, len(second.paths)) == (images[1], 0.0, a, 1)
    assert found.problems == (f"series {gone}: 1 of its 2 images are no longer in the spool",)
    assert found.notes == ("1 clicks are no scores and make no samples",)


def test_the_last_rated_revision_counts(store: Store, receive: Callable[..., Series], tmp_path: Path) -> None:
    a, images = receive("a")
    labels = Labels(store)
    labels.add([rating(a, 1.0), rating(a, 4.0, "ben")])
    store_revision(store, 2)
    labels.add([rating(a, 3.0)])
    found = read_store(labels, tmp_path / "spool")
    (one,) = found.samples
    assert (one.mos, one.raters, len(one.paths)) == (3.0, 1, len(images))
    assert found.notes[0].startswith("1 ratings speak of an earlier revision")


def store_revision(store: Store, revision: int) -> None:
    with store.write() as connection:
        connection.exec_driver_sql(f"UPDATE series SET revision = {revision}")


# -- units, and what cannot be trained on ------------------------------------------------------


def sample(name: str, mos: float = 1.0, **values: Any) -> Sample:
    given_: dict[str, Any] = {"group": name, "modality": "CT", "scale": FIVE, "paths": (Path(name),)}
    return Sample(name=name, mos=mos, **given_ | values)


@given(
    st.lists(
        st.tuples(*map(st.sampled_from, ("abcd", ("", "p", "q", "r"), ("", "1", "2")))),
        min_size=1, max_size=12,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_no_unit_shares_patient_study_or_reference_with_another(
    facts: list[tuple[str, str, str]], random: Any
) -> None:
    samples = [sample(str(n), group=g, patient=p, study=s) for n, (g, p, s) in enumerate(facts)]
    found = units(samples)
    for key in ("group", "patient", "study"):
        for value in {getattr(one, key) for one in samples} - {""}:
            assert (
                len({unit for unit, one in zip(found, samples, strict=True) if getattr(one, key) == value})
                == 1
            )
    order = random.sample(range(len(samples)), len(samples))
    assert units([samples[n] for n in order]) == [found[n] for n in order]
    lonely = [sample(str(n), group=str(n)) for n in range(3)]
    assert len(set(units(lonely))) == 3


def test_labels_that_teach_nothing_are_refused() -> None:
    good = [sample(str(n), float(n % 4)) for n in range(8)]
    usable(good, 8)
    with pytest.raises(UnusableLabels, match="there are no labelled images"):
        usable([])
    with pytest.raises(UnusableLabels, match=r"all 8 labels say 2 of 0-4: a model learns nothing"):
        usable([replace(one, mos=2.0) for one in good])
    with pytest.raises(UnusableLabels, match=r"come from 8 patients or references, and 10 parts"):
        usable(good, 10)
    with pytest.raises(UnusableLabels, match=r"come from 1 patients.*images of 1 more, or ask for fewer"):
        usable([replace(one, patient="p") for one in good], 2)
    with pytest.raises(UnusableLabels, match="two samples have one name"):
        usable([good[0], good[0]])
