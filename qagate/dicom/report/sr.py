"""The measurement report of one revision of a series (TID 1500, PS3.16) as a structured report.

It does not decide anything: it says in standard codes what Assessment and Decision hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydicom.dataset import Dataset

from qagate.assessment import Artefact, Assessment, Decision, Finding, SliceScore, Verdict
from qagate.dicom.report import codes, document
from qagate.dicom.report import content as item
from qagate.dicom.report import source as read
from qagate.dicom.report.document import DocumentReference, ReportIdentity
from qagate.dicom.report.source import ReportError, Source

SERIES_NUMBER = 9001
SRClass = Literal["comprehensive3d", "enhanced"]
SR_CLASSES: Mapping[SRClass, str] = {
    "comprehensive3d": "1.2.840.10008.5.1.4.1.1.88.34",
    "enhanced": "1.2.840.10008.5.1.4.1.1.88.22",
}


def build_sr(
    evidence: Sequence[Dataset],
    assessment: Assessment,
    decision: Decision,
    identity: ReportIdentity,
    *,
    content_datetime: datetime,
    previous: DocumentReference | None = None,
    sr_class: SRClass = "comprehensive3d",
) -> Dataset:
    """Build the SR of one revision of a series, in the study of its evidence.

    Parameters
    ----------
    evidence
        Headers (no pixels needed) of every scored instance; of any instance of the series when none
        was scored. Patient and study attributes come from the first one; junk in them is left out.
    content_datetime
        Aware; when the decision was made. The same input gives the same bytes (`to_bytes`).
    previous
        The SR of an earlier revision, superseded by this one (0040,A360).
    sr_class
        Comprehensive 3D SR, or Enhanced SR for archives that know no other.

    Raises
    ------
    ReportError
        No evidence, an instance without UIDs, a scored instance that is not in the evidence,
        or a `content_datetime` without time zone.
    """
    found = read.sources(evidence)
    _check(found, assessment.slices)
    leading = next(iter(found.values()))
    kind = document.Kind(
        name="sr", modality="SR", series_number=SERIES_NUMBER, sop_class_uid=SR_CLASSES[sr_class]
    )
    uid = document.document_uid(f"sr {sr_class}", identity, assessment, decision)
    sr = document.start(kind, uid, leading, identity, content_datetime)
    _general(sr, found.values(), previous)
    if assessment.model:
        sr.ContributingEquipmentSequence = [document.contributing_equipment(identity, assessment, sr)]
    sr.update(item.container(None, codes.REPORT, _root(found, assessment, decision, identity), "1500"))
    return sr


def _check(found: Mapping[str, Source], slices: Iterable[SliceScore]) -> None:
    for scored in slices:
        if scored.sop_instance_uid not in found:
            uid = scored.sop_instance_uid
            raise ReportError(f"scored instance {uid} is not in the evidence; pass its header")


def _general(sr: Dataset, found: Iterable[Source], previous: DocumentReference | None) -> None:
    """SR Document General module (PS3.3 C.17.2)."""
    sr.CompletionFlag = "COMPLETE"
    sr.VerificationFlag = "UNVERIFIED"
    sr.PreliminaryFlag = "FINAL"
    sr.PerformedProcedureCodeSequence = []
    current: list[Dataset] = []
    other: list[Dataset] = []
    for study in document.evidence_items(found):
        (current if study.StudyInstanceUID == sr.StudyInstanceUID else other).append(study)
    sr.CurrentRequestedProcedureEvidenceSequence = current
    if other:
        sr.PertinentOtherEvidenceSequence = other
    if previous is not None:
        reference = Dataset()
        reference.ReferencedSOPClassUID = previous.sop_class_uid
        reference.ReferencedSOPInstanceUID = previous.sop_instance_uid
        series = {previous.series_instance_uid: [reference]}
        sr.PredecessorDocumentsSequence = [document.hierarchy(previous.study_instance_uid, series)]


def _root(
    found: Mapping[str, Source], assessment: Assessment, decision: Decision, identity: ReportIdentity
) -> Iterator[Dataset]:
    modality = next(iter(found.values())).modality
    yield item.code(item.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH)
    yield from document.observer(identity)
    yield item.code(item.HAS_CONCEPT_MOD, codes.PROCEDURE_REPORTED, codes.procedure(modality))
    library = _library(found, assessment)
    if library is not None:
        yield library
    groups = [_series_group(found, assessment, decision, identity)]
    groups += [_slice_group(found[one.sop_instance_uid], one, identity) for one in assessment.slices]
    yield item.container(item.CONTAINS, codes.MEASUREMENTS, groups)


def _library(found: Mapping[str, Source], assessment: Assessment) -> Dataset | None:
    """Image library of the scored slices (TID 1600); of the evidence when none was scored."""
    scored = {one.sop_instance_uid for one in assessment.slices}
    images = [one for uid, one in found.items() if one.is_image and (not scored or uid in scored)]
    if not images:
        return None
    entries = [item.image(item.CONTAINS, None, one.uids, children=_descriptors(one)) for one in images]
    group = item.container(item.CONTAINS, codes.IMAGE_LIBRARY_GROUP, entries)
    return item.container(item.CONTAINS, codes.IMAGE_LIBRARY, [group], "1600")


def _descriptors(instance: Source) -> Iterator[Dataset]:
    """Entry descriptors (TID 1602, 1604), as far as the header gives them."""
    header, relation = instance.dataset, item.HAS_ACQ_CONTEXT
    modality = codes.modality_code(instance.modality)
    if modality is not None:
        yield item.code(relation, codes.MODALITY, modality)
    for name, keyword in ((codes.ROWS, "Rows"), (codes.COLUMNS, "Columns")):
        size = read.unsigned(header, keyword)
        if size is not None:
            yield item.number(relation, name, size, codes.PIXELS)
    if instance.modality not in ("CT", "MR", "PT"):
        return
    vertical, horizontal = read.numbers(header, "PixelSpacing", 2) or (None, None)
    thickness = read.numbers(header, "SliceThickness", 1) or (None,)
    lengths = zip(
        (codes.HORIZONTAL_SPACING, codes.VERTICAL_SPACING, codes.SLICE_THICKNESS, *codes.POSITION),
        (horizontal, vertical, *thickness, *read.numbers(header, "ImagePositionPatient", 3)),
        strict=False,
    )
    for name, length in lengths:
        if length is not None:
            yield item.number(relation, name, length, codes.MILLIMETRE)
    cosines = read.numbers(header, "ImageOrientationPatient", 6)
    for name, cosine in zip(codes.ORIENTATION, cosines, strict=False):
        yield item.number(relation, name, cosine, codes.COSINE)


def _series_group(
    found: Mapping[str, Source], assessment: Assessment, decision: Decision, identity: ReportIdentity
) -> Dataset:
    """The measurement group of the whole series (TID 1501)."""
    modality = next(iter(found.values())).modality
    children = list(_tracking("series", identity, identity.series_instance_uid))
    children.append(item.code(item.CONTAINS, codes.FINDING_CATEGORY, codes.IMAGE_QUALITY))
    children += _algorithm(assessment, decision)
    children += _ratings(assessment, decision)
    children += _judgement(decision, assessment.findings)
    for finding in sorted(assessment.findings, key=lambda one: -one.severity):
        children += _finding(finding, modality, found)
    children += _source_images(found, assessment.slices)
    return item.container(item.CONTAINS, codes.GROUP, children, "1501")


def _slice_group(instance: Source, scored: SliceScore, identity: ReportIdentity) -> Dataset:
    frame = scored.frame_number
    label = f"slice {scored.slice_number}" + (f" (frame {frame})" if frame is not None else "")
    where = (instance.sop_instance_uid, str(frame or 1))
    rating = item.number(item.CONTAINS, codes.IMAGE_RATING, _percent(scored.quality), codes.PERCENT)
    children = [
        *_tracking(label, identity, *where),
        item.code(item.CONTAINS, codes.FINDING_CATEGORY, codes.IMAGE_QUALITY),
        rating,
    ]
    if instance.is_image:
        children.append(item.image(item.CONTAINS, codes.SOURCE, instance.uids, instance.frames([frame])))
    return item.container(item.CONTAINS, codes.GROUP, children, "1501")


def _tracking(label: str, identity: ReportIdentity, *where: str) -> Iterator[Dataset]:
    uid = document.derive_uid("tracking", identity.series_instance_uid, *where)
    yield item.text(item.HAS_OBS_CONTEXT, codes.TRACKING_ID, label)
    yield item.uid_reference(item.HAS_OBS_CONTEXT, codes.TRACKING_UID, uid)


def _algorithm(assessment: Assessment, decision: Decision) -> Iterator[Dataset]:
    """Algorithm identification (TID 4019)."""
    if not assessment.model:
        return
    parameters = [f"weights sha256 {assessment.weights_sha256}"] if assessment.weights_sha256 else []
    if decision.review_below is not None:
        parameters.append(f"review below {_percent(decision.review_below):g} %")
    if decision.repeat_below is not None:
        parameters.append(f"repeat below {_percent(decision.repeat_below):g} %")
    yield item.text(item.HAS_CONCEPT_MOD, codes.ALGORITHM_NAME, assessment.model)
    yield item.text(item.HAS_CONCEPT_MOD, codes.ALGORITHM_VERSION, assessment.model_version)
    for parameter in parameters:
        yield item.text(item.HAS_CONCEPT_MOD, codes.ALGORITHM_PARAMETERS, parameter)
    yield item.code(item.HAS_CONCEPT_MOD, codes.ALGORITHM_FAMILY, codes.ARTIFICIAL_INTELLIGENCE)


def _ratings(assessment: Assessment, decision: Decision) -> Iterator[Dataset]:
    if assessment.quality is not None and math.isfinite(assessment.quality):
        yield item.number(item.CONTAINS, codes.SET_RATING, _percent(assessment.quality), codes.PERCENT)
    if assessment.score is not None and math.isfinite(assessment.score):
        yield item.number(item.CONTAINS, codes.MODEL_SCORE, _rounded(assessment.score), codes.NO_UNITS)
    if decision.baseline is not None and assessment.quality is not None:
        distance = decision.baseline.distance(assessment.quality)
        yield item.number(item.CONTAINS, codes.BASELINE_DISTANCE, _rounded(distance), codes.NO_UNITS)
    if assessment.rating is not None:
        for concept, value in (
            (codes.EXPECTED_RATING, assessment.rating.value),
            (codes.RATING_LOW, assessment.rating.low),
            (codes.RATING_HIGH, assessment.rating.high),
            (codes.RATING_WORST, assessment.rating.worst),
            (codes.RATING_BEST, assessment.rating.best),
        ):
            yield item.number(item.CONTAINS, concept, _rounded(value), codes.NO_UNITS)
    for name, value in sorted(assessment.measures.items()):
        if math.isfinite(value):
            concept, unit = codes.measure_name(name), codes.measure_unit(name)
            yield item.number(item.CONTAINS, concept, _rounded(value), unit)


def _judgement(decision: Decision, findings: Sequence[Finding]) -> Iterator[Dataset]:
    """The verdict in three vocabularies, with what led to it below the gate's own decision."""
    verdict = decision.verdict
    if verdict is not Verdict.NOT_ASSESSED:
        yield item.code(item.CONTAINS, codes.SERIES_QUALITY, codes.DIAGNOSTIC[verdict])
        yield item.code(item.CONTAINS, codes.QUALITY_ASSESSMENT, codes.USABLE[verdict])
        yield item.code(item.CONTAINS, codes.QUALITY_STANDARD, codes.INSTITUTION_STANDARD)
    yield item.code(item.CONTAINS, codes.GATE_DECISION, codes.DECISIONS[verdict], _grounds(decision))
    worst = weightiest(findings)
    if verdict is Verdict.REPEAT and worst is not None and worst.artefact is Artefact.MOTION:
        yield item.code(item.CONTAINS, codes.REPEAT_REASON, codes.PATIENT_MOTION)


def _grounds(decision: Decision) -> Iterator[Dataset]:
    for reason in decision.reasons:
        yield item.text(item.HAS_PROPERTIES, codes.GATE_REASON, reason)
    for name, threshold in (
        (codes.REVIEW_BELOW, decision.review_below),
        (codes.REPEAT_BELOW, decision.repeat_below),
    ):
        if threshold is not None:
            yield item.number(item.HAS_PROPERTIES, name, _percent(threshold), codes.PERCENT)
    if decision.baseline is not None:
        median, mad, count = decision.baseline.median, decision.baseline.mad, decision.baseline.count
        yield item.number(item.HAS_PROPERTIES, codes.BASELINE_MEDIAN, _percent(median), codes.PERCENT)
        yield item.number(item.HAS_PROPERTIES, codes.BASELINE_MAD, _percent(mad), codes.PERCENT)
        yield item.number(item.HAS_PROPERTIES, codes.BASELINE_COUNT, count, codes.NO_UNITS)
    for name, value in ((codes.POLICY_RULE, decision.rule), (codes.POLICY_VERSION, decision.policy_version)):
        if value:
            yield item.text(item.HAS_PROPERTIES, name, value)


def _finding(finding: Finding, modality: str, found: Mapping[str, Source]) -> Iterator[Dataset]:
    """One 111052 item for each code of the artefact; its words, severity and places below the first."""
    first, *others = codes.finding_codes(finding.artefact, modality)
    below = [
        item.text(item.HAS_PROPERTIES, codes.COMMENT, finding.text),
        item.number(item.HAS_PROPERTIES, codes.SEVERITY, _percent(finding.severity), codes.PERCENT),
    ]
    seen = [found[uid] for uid in dict.fromkeys(finding.sop_instance_uids) if uid in found]
    below += [item.image(item.INFERRED_FROM, codes.SOURCE, one.uids) for one in seen if one.is_image]
    yield item.code(item.CONTAINS, codes.QUALITY_FINDING, first, below)
    for code in others:
        yield item.code(item.CONTAINS, codes.QUALITY_FINDING, code)


def _source_images(found: Mapping[str, Source], slices: Sequence[SliceScore]) -> Iterator[Dataset]:
    wanted: dict[str, list[int | None]] = {}
    for scored in slices:
        wanted.setdefault(scored.sop_instance_uid, []).append(scored.frame_number)
    for one in (found[uid] for uid in wanted or found):
        if one.is_image:
            frames = one.frames(wanted.get(one.sop_instance_uid, ()))
            yield item.image(item.CONTAINS, codes.SOURCE, one.uids, frames)


def weightiest(findings: Sequence[Finding]) -> Finding | None:
    """The most severe finding, the first of equals; None when there is none."""
    return max(findings, key=lambda finding: finding.severity, default=None)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _percent(fraction: float) -> float:
    return round(100 * fraction, 1)
