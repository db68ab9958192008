"""What the reports say, where they belong, and what they make of bad headers."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from qagate.assessment import Artefact, Assessment, Baseline, Decision, Rating, Verdict
from qagate.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from qagate.dicom.report import (
    ReportError,
    ReportIdentity,
    build_kos,
    build_sr,
    derive_uid,
    reference_to,
    sr_text,
    to_bytes,
)
from qagate.dicom.report.codes import finding_codes, measure_name, measure_unit, rejection_reason

Scored = Callable[..., tuple[Assessment, Decision]]
Identify = Callable[..., ReportIdentity]


def items(dataset: Dataset) -> Iterator[Dataset]:
    for one in dataset.get("ContentSequence") or []:
        yield one
        yield from items(one)


def named(dataset: Dataset, code: str) -> list[Dataset]:
    return [
        one
        for one in items(dataset)
        if "ConceptNameCodeSequence" in one and one.ConceptNameCodeSequence[0].get("CodeValue") == code
    ]


def values(dataset: Dataset, code: str) -> list[str]:
    return [one.ConceptCodeSequence[0].CodeValue for one in named(dataset, code)]


def put_raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> None:
    tag = Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def test_sr_lies_in_the_source_study(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    sr = build_sr(mr_evidence, *scored(mr_evidence), identity_of(mr_evidence), content_datetime=when)
    source = mr_evidence[0]
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "AccessionNumber"):
        assert sr[keyword].value == source[keyword].value
    assert (sr.Modality, sr.SeriesNumber, sr.InstanceNumber) == ("SR", 9001, 1)
    assert sr.SeriesInstanceUID != source.SeriesInstanceUID
    assert sr.ContentDate == "20260301" and sr.ContentTime == "030405"
    assert sr.TimezoneOffsetFromUTC == "+0000"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", sr[keyword].value) and UID(sr[keyword].value).is_valid
    equipment = sr.ContributingEquipmentSequence[0]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert equipment.DeviceUID and equipment.SoftwareVersions == "1.0.0"
    references = (
        sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    )
    assert [one.ReferencedSOPInstanceUID for one in references] == [one.SOPInstanceUID for one in mr_evidence]


@pytest.mark.parametrize(
    ("verdict", "series_quality", "assessment_code", "decision_code"),
    [
        (Verdict.PASS, ["RID12"], ["111237"], ["accept"]),
        (Verdict.REVIEW, ["RID13"], ["111236"], ["review"]),
        (Verdict.REPEAT, ["RID14"], ["111235"], ["repeat"]),
    ],
)
def test_verdict_codes(
    verdict: Verdict,
    series_quality: list[str],
    assessment_code: list[str],
    decision_code: list[str],
    mr_evidence: list[Dataset],
    scored: Scored,
    identity_of: Identify,
    when: datetime,
) -> None:
    result = scored(mr_evidence, verdict)
    sr = build_sr(mr_evidence, *result, identity_of(mr_evidence), content_datetime=when)
    assert values(sr, "130550") == series_quality
    assert values(sr, "111050") == assessment_code
    assert values(sr, "decision") == decision_code
    assert values(sr, "128552") == (["128553"] if verdict is Verdict.REPEAT else [])
    assert [one.TextValue for one in named(sr, "reason")] == list(result[1].reasons)
    assert {one.MeasuredValueSequence[0].NumericValue for one in named(sr, "111029")} == {31.2}


def test_not_assessed_is_said_and_not_rated(
    mr_evidence: list[Dataset],
    not_assessed: tuple[Assessment, Decision],
    identity_of: Identify,
    when: datetime,
) -> None:
    sr = build_sr(mr_evidence, *not_assessed, identity_of(mr_evidence), content_datetime=when)
    assert values(sr, "decision") == ["not-assessed"]
    assert [one.TextValue for one in named(sr, "reason")] == ["a localiser is not assessed"]
    for absent in ("111694", "111029", "130550", "111050", "111051", "111052", "111001"):
        assert named(sr, absent) == []
    assert "Not assessed" in sr_text(sr)


def test_measures_and_findings(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    sr = build_sr(mr_evidence, *scored(mr_evidence), identity_of(mr_evidence), content_datetime=when)
    noise = named(sr, "noise_hu")[0].MeasuredValueSequence[0]
    assert (str(noise.NumericValue), noise.MeasurementUnitsCodeSequence[0].CodeValue) == (
        "16.5123",
        "[hnsf'U]",
    )
    assert named(sr, "entropy_focus") == []  # not a number
    found = values(sr, "111052")
    assert found[0] == "111210"  # the weightiest first
    assert "130578" in found and "RID11426" in found and "111215" in found
    worst = named(sr, "111052")[0].ContentSequence
    seen = [
        one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in worst if one.ValueType == "IMAGE"
    ]
    assert seen == [mr_evidence[0].SOPInstanceUID]


def test_every_artefact_has_its_codes() -> None:
    for artefact in Artefact:
        for modality in ("CT", "MR", "CR", ""):
            assert all(len(one.meaning) <= 64 for one in finding_codes(artefact, modality))
            assert rejection_reason(artefact, modality).scheme_designator == "DCM"
    assert finding_codes(Artefact.NOISE, "CT")[0].scheme_designator == "99QAGATE"
    assert [one.value for one in finding_codes(Artefact.NOISE, "MR")] == ["130578"]
    assert rejection_reason(Artefact.NOISE, "DX").value == "111211"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("noise_hu", "[hnsf'U]"),
        ("gap_mm", "mm"),
        ("sharpness_per_px", "/{pixels}"),
        ("mtf_per_mm", "/mm"),
        ("clip_percent", "%"),
        ("snr", "1"),
    ],
)
def test_units_come_from_the_name(name: str, unit: str) -> None:
    assert measure_unit(name).value == unit
    assert measure_name(name).value == name


def test_the_same_input_gives_the_same_bytes(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    result, identity = scored(mr_evidence), identity_of(mr_evidence)
    again = copy.deepcopy(mr_evidence)
    for build in (build_sr, build_kos):
        one = to_bytes(build(mr_evidence, *result, identity, content_datetime=when))
        assert one == to_bytes(build(again, *result, identity, content_datetime=when))
        assert pydicom.dcmread(BytesIO(one)).SOPInstanceUID


def test_uids_follow_revision_model_and_policy(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    assessment, decision = scored(mr_evidence)
    identity = identity_of(mr_evidence)

    def uid(a: Assessment = assessment, d: Decision = decision, i: ReportIdentity = identity) -> str:
        return str(build_sr(mr_evidence, a, d, i, content_datetime=when).SOPInstanceUID)

    others = [
        uid(a=replace(assessment, weights_sha256="cd" * 32)),
        uid(a=replace(assessment, model="other")),
        uid(d=replace(decision, policy_version="2026-04")),
        uid(i=replace(identity, revision=2)),
        str(
            build_sr(
                mr_evidence, assessment, decision, identity, content_datetime=when, sr_class="enhanced"
            ).SOPInstanceUID
        ),
        str(build_kos(mr_evidence, assessment, decision, identity, content_datetime=when).SOPInstanceUID),
    ]
    assert len({uid(), *others}) == len(others) + 1
    assert uid() == uid(d=replace(decision, reasons=("other words",)))
    assert derive_uid("a", "bc") != derive_uid("ab", "c")


def test_a_later_revision_supersedes(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    result = scored(mr_evidence)
    first = build_sr(mr_evidence, *result, identity_of(mr_evidence), content_datetime=when)
    second = build_sr(
        mr_evidence, *result, identity_of(mr_evidence, 2), content_datetime=when, previous=reference_to(first)
    )
    study = second.PredecessorDocumentsSequence[0]
    series = study.ReferencedSeriesSequence[0]
    assert study.StudyInstanceUID == first.StudyInstanceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID == second.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.InstanceNumber == 2
    assert "PredecessorDocumentsSequence" not in first


def test_frames_of_a_multi_frame_image(
    pydicom_header: Callable[[str], Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    evidence = [pydicom_header("examples_ybr_color.dcm")]
    sr = build_sr(evidence, *scored(evidence), identity_of(evidence), content_datetime=when)
    referred = [one.ReferencedSOPSequence[0].get("ReferencedFrameNumber") for one in named(sr, "121112")]
    frames = [1, 2, 3, 4, 5, 6, 7]
    assert [list(one) if not isinstance(one, int) else [one] for one in referred if one is not None] == [
        frames,
        *([n] for n in frames),
    ]


def test_kos_is_advisory_and_points_to_what_is_bad(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    identity = identity_of(mr_evidence)
    result = scored(mr_evidence, Verdict.REVIEW)
    kos = build_kos(mr_evidence, *result, identity, content_datetime=when)
    assert kos.ConceptNameCodeSequence[0].CodeValue == "113010"
    assert (kos.Modality, kos.SeriesNumber) == ("KO", 9002)
    assert values(kos, "113011") == ["111210"]
    images = [one for one in kos.ContentSequence if one.ValueType == "IMAGE"]
    assert [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in images] == [
        mr_evidence[0].SOPInstanceUID
    ]
    assert all("ConceptNameCodeSequence" not in one for one in images)
    assert "Quality Issue" in sr_text(kos)
    plain = (replace(result[0], findings=()), result[1])
    everything = build_kos(mr_evidence, *plain, identity, content_datetime=when)
    assert sum(one.ValueType == "IMAGE" for one in everything.ContentSequence) == len(mr_evidence)


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.NOT_ASSESSED])
def test_no_kos_for_a_result_that_is_not_bad(
    verdict: Verdict, mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    with pytest.raises(ReportError, match=verdict.value):
        build_kos(mr_evidence, *scored(mr_evidence, verdict), identity_of(mr_evidence), content_datetime=when)


def test_junk_in_the_header_is_left_out_quietly(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    source = mr_evidence[0]
    for keyword in ("PatientID", "StudyID", "PatientName", "AccessionNumber", "PixelSpacing"):
        if keyword in source:
            del source[keyword]
    put_raw(source, "StudyDate", "DA", b"********")
    put_raw(source, "PatientBirthDate", "DA", b"00010101")
    put_raw(source, "StudyTime", "TM", b"noon")
    put_raw(source, "PatientSex", "CS", b"unknown sex")
    put_raw(source, "SliceThickness", "DS", b"thick ")
    put_raw(source, "ImagePositionPatient", "DS", b"1\\nan\\3 ")
    put_raw(source, "Rows", "US", b"12345")
    put_raw(source, "StudyDescription", "LO", b"x" * 100)
    put_raw(source, "ReferringPhysicianName", "UN", b"A^B\0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sr = build_sr(mr_evidence, *scored(mr_evidence), identity_of(mr_evidence), content_datetime=when)
        read = pydicom.dcmread(BytesIO(to_bytes(sr)))
        for keyword in ("PatientID", "StudyID", "PatientName", "AccessionNumber", "StudyDate", "StudyTime"):
            assert not read[keyword].value
    assert not read.PatientBirthDate and not read.PatientSex
    assert read.StudyDescription == "x" * 64
    assert read.ReferringPhysicianName == "A^B"


def test_identifiers_are_taken_over_as_they_are(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    source = mr_evidence[0]
    put_raw(source, "SpecificCharacterSet", "CS", b"\\ISO 2022 IR 87")
    name = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    put_raw(source, "PatientName", "PN", name)
    put_raw(source, "PatientID", "LO", b"i" * 70)
    put_raw(source, "TimezoneOffsetFromUTC", "SH", b"+0900 ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sr = build_sr(mr_evidence, *scored(mr_evidence), identity_of(mr_evidence), content_datetime=when)
        data = to_bytes(sr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(BytesIO(data))
        assert str(read.PatientName) == "Yamada^Tarou=山田^太郎"
        assert read.PatientID == "i" * 70
    assert read.ContentTime == "120405" and read.TimezoneOffsetFromUTC == "+0900"


def test_evidence_that_cannot_be_used(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    result, identity = scored(mr_evidence), identity_of(mr_evidence)
    with pytest.raises(ReportError, match="none was given"):
        build_sr([], *result, identity, content_datetime=when)
    with pytest.raises(ReportError, match="is not in the evidence"):
        build_sr(mr_evidence[1:], *result, identity, content_datetime=when)
    with pytest.raises(ReportError, match="time zone"):
        build_sr(mr_evidence, *result, identity, content_datetime=when.replace(tzinfo=None))
    del mr_evidence[0].StudyInstanceUID
    with pytest.raises(ReportError, match="no StudyInstanceUID"):
        build_sr(mr_evidence, *result, identity, content_datetime=datetime.now(UTC))


def test_text_is_short_aligned_and_free_of_patient_data(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    for dataset in mr_evidence:
        dataset.PatientName, dataset.PatientID, dataset.StudyDescription = "DOE^JANE", "ID4711", "of DOE"
    result = scored(mr_evidence)
    sr = build_sr(mr_evidence, *result, identity_of(mr_evidence), content_datetime=when)
    text = sr_text(pydicom.dcmread(BytesIO(to_bytes(sr))))
    lines = text.splitlines()
    assert lines[0] == "Decision    Repeat suggested"
    assert "Quality     31.2 % (needs review below 60 %, repeat suggested below 40 %)" in lines
    assert any(line.endswith("16.5123 HU") for line in lines)
    assert "Finding     motion (Motion blur, severity 90 %)" in lines
    assert all(line[:12].strip() == "" or line[11] == " " for line in lines)
    kos = build_kos(mr_evidence, *result, identity_of(mr_evidence), content_datetime=when)
    for private in ("DOE", "JANE", "4711"):
        assert private not in text + sr_text(kos)


def test_text_of_something_else(pydicom_header: Callable[[str], Dataset]) -> None:
    for name in ("CT_small.dcm", "test-SR.dcm"):
        with pytest.raises(ReportError, match="not a report"):
            sr_text(pydicom_header(name))


def test_baseline_and_readers_scale_stand_in_the_report(
    mr_evidence: list[Dataset], scored: Scored, identity_of: Identify, when: datetime
) -> None:
    assessment, decision = scored(mr_evidence)
    plain = build_sr(mr_evidence, assessment, decision, identity_of(mr_evidence), content_datetime=when)
    assert (
        named(plain, "baseline-dist")
        == named(plain, "baseline-median")
        == named(plain, "expected-rating")
        == []
    )
    assessment = replace(assessment, rating=Rating(value=1.234567, low=1.0, high=1.5, worst=0.0, best=4.0))
    decision = replace(decision, baseline=Baseline(median=0.8, mad=0.03, count=120), relative=True)
    sr = build_sr(mr_evidence, assessment, decision, identity_of(mr_evidence), content_datetime=when)
    told = {
        code: str(one.MeasuredValueSequence[0].NumericValue)
        for code in ("baseline-dist", "baseline-median", "baseline-mad", "baseline-count", "expected-rating")
        for one in named(sr, code)
    }
    assert told == {
        "baseline-dist": "-16.2553", "baseline-median": "80", "baseline-mad": "3", "baseline-count": "120",
        "expected-rating": "1.23457",
    }  # fmt: skip
    text = sr_text(sr)
    assert "median 80 %, MAD 3 % of 120 series; this one 16.3 MADs below" in text
    assert "1.23457 expected (1 to 1.5), on a scale from 0 (worst) to 4 (best)" in text
    assert "baseline" not in text.partition("Measures")[2].partition("Slices")[0].lower()


def test_documents_and_associations_name_one_implementation(
    mr_evidence: list[Dataset], scored: Callable, identity_of: Callable, when: datetime
) -> None:
    arguments = (mr_evidence, *scored(mr_evidence), identity_of(mr_evidence))
    for build in (build_sr, build_kos):
        meta = build(*arguments, content_datetime=when).file_meta
        assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
