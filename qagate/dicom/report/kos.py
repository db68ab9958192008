"""The advisory key object that flags a bad result to the archive's viewers (TID 2010, PS3.16)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pydicom.dataset import Dataset

from qagate.assessment import BAD, Assessment, Decision, Finding
from qagate.dicom.report import codes, document
from qagate.dicom.report import content as item
from qagate.dicom.report import source as read
from qagate.dicom.report.document import ReportIdentity
from qagate.dicom.report.source import ReportError, Source
from qagate.dicom.report.sr import weightiest

KIND = document.Kind(
    name="kos", modality="KO", series_number=9002, sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59"
)


def build_kos(
    evidence: Sequence[Dataset],
    assessment: Assessment,
    decision: Decision,
    identity: ReportIdentity,
    *,
    content_datetime: datetime,
) -> Dataset:
    """Build the key object selection 113010 *Quality Issue* of a bad result (REVIEW or REPEAT).

    It points to the instances where the weightiest finding was seen, else to the scored ones.
    Evidence and `content_datetime` are those of `build_sr`. It is advisory: no archive hides anything for it.

    Raises
    ------
    ReportError
        The verdict is neither REVIEW nor REPEAT, or the evidence cannot be used (see `build_sr`)
        or holds no image.
    """
    if decision.verdict not in BAD:
        raise ReportError(f"no key object for {decision.verdict.value}; build it for REVIEW and REPEAT only")
    found = read.sources(evidence)
    worst = weightiest(assessment.findings)
    affected = _affected(found, assessment, worst)
    if not affected:
        raise ReportError("a key object must point to an image, and the evidence holds none")
    title = codes.QUALITY_ISSUE
    uid = document.document_uid(f"kos {title.value}", identity, assessment, decision)
    leading = next(iter(found.values()))
    kos = document.start(KIND, uid, leading, identity, content_datetime)
    kos.CurrentRequestedProcedureEvidenceSequence = document.evidence_items(affected)
    if assessment.model:
        kos.ContributingEquipmentSequence = [document.contributing_equipment(identity, assessment, kos)]
    reason = codes.rejection_reason(worst.artefact if worst else None, leading.modality)
    children = [item.code(item.HAS_CONCEPT_MOD, codes.TITLE_MODIFIER, reason)]
    children += _content(affected, decision, identity)
    kos.update(item.container(None, title, children, "2010"))
    return kos


def _affected(found: Mapping[str, Source], assessment: Assessment, worst: Finding | None) -> list[Source]:
    scored = [one.sop_instance_uid for one in assessment.slices]
    for uids in (worst.sop_instance_uids if worst else (), scored, found):
        images = [found[uid] for uid in dict.fromkeys(uids) if uid in found and found[uid].is_image]
        if images:
            return images
    return []


def _content(affected: Sequence[Source], decision: Decision, identity: ReportIdentity) -> Iterator[Dataset]:
    yield item.code(item.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH)
    yield from document.observer(identity)
    description = f"{codes.DECISIONS[decision.verdict].meaning}: {'; '.join(decision.reasons)}"
    yield item.text(item.CONTAINS, codes.KEY_OBJECT_DESCRIPTION, description)
    for one in affected:
        yield item.image(item.CONTAINS, None, one.uids)
