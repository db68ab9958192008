"""The note by which a person rejects a series: key object selection 113001 (TID 2010, PS3.16).

An archive that follows IHE's Imaging Object Change Management (RAD TF-2, RAD-66) hides every instance that
it names. Nothing in the gate builds one but at a person's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from qagate.assessment import Assessment
from qagate.dicom.report import codes, document
from qagate.dicom.report import content as item
from qagate.dicom.report.document import ReportIdentity
from qagate.dicom.report.source import ReportError, Source
from qagate.dicom.report.sr import weightiest
from qagate.series import Instance

KIND = document.Kind(
    name="rejection", modality="KO", series_number=9003, sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59"
)
REASONS: Mapping[str, Code] = MappingProxyType(
    {
        value: codes.dcm(value, meaning)
        for value, meaning in (
            ("111207", "Image artifact(s)"),
            ("111208", "Grid artifact(s)"),
            ("111209", "Positioning"),
            ("111210", "Motion blur"),
            ("111211", "Under exposed"),
            ("111212", "Over exposed"),
            ("111213", "No image"),
            ("111214", "Detector artifact(s)"),
            ("111215", "Artifact(s) other than grid or detector artifact"),
            ("111216", "Mechanical failure"),
            ("111217", "Electrical failure"),
            ("111218", "Software failure"),
            ("111219", "Inappropriate image processing"),
            ("111220", "Other failure"),
            ("111221", "Unknown failure"),
            ("113026", "Double exposure"),
        )
    }
)  #: code value of CID 7011 *Rejected for Quality Reasons* -> code


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """What a person confirmed."""

    person: str  #: user name
    reason: str  #: a key of REASONS
    words: str = ""  #: the person's own


def build_rejection(
    header: Dataset,
    instances: Sequence[Instance],
    rejection: Rejection,
    identity: ReportIdentity,
    *,
    content_datetime: datetime,
) -> Dataset:
    """Build the key object selection 113001 *Rejected for Quality Reasons* over every instance.

    Parameters
    ----------
    header
        Of one instance: patient and study are taken over from it.
    instances
        All that is rejected; images become IMAGE items, all else COMPOSITE.
    content_datetime
        When it was confirmed, with a time zone.

    Raises
    ------
    ReportError
        No instance is given, or the reason is none of CID 7011.
    """
    if not instances:
        raise ReportError("a rejection must name an instance, and the series has none")
    if rejection.reason not in REASONS:
        raise ReportError(f"{rejection.reason!r} is no reason of CID 7011, such as 111210 (motion blur)")
    rejected = [
        Source(
            dataset=header,
            sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid,
            study_instance_uid=one.study_instance_uid,
            series_instance_uid=one.series_instance_uid,
        )
        for one in instances
    ]
    uid = document.derive_uid("rejection", identity.series_instance_uid, str(identity.revision))
    note = document.start(KIND, uid, rejected[0], identity, content_datetime)
    note.CurrentRequestedProcedureEvidenceSequence = document.evidence_items(rejected)
    note.update(item.container(None, codes.REJECTED, _content(rejected, rejection, identity), "2010"))
    return note


def _content(rejected: Sequence[Source], rejection: Rejection, identity: ReportIdentity) -> Iterator[Dataset]:
    yield item.code(item.HAS_CONCEPT_MOD, codes.TITLE_MODIFIER, REASONS[rejection.reason])
    yield item.code(item.HAS_CONCEPT_MOD, codes.LANGUAGE, codes.ENGLISH)
    yield item.code(item.HAS_OBS_CONTEXT, codes.OBSERVER_TYPE, codes.PERSON)
    yield item.person(item.HAS_OBS_CONTEXT, codes.PERSON_NAME, rejection.person)
    yield from document.observer(identity)
    told = ": ".join(filter(None, (f"Rejected by {rejection.person}", rejection.words)))
    yield item.text(item.CONTAINS, codes.KEY_OBJECT_DESCRIPTION, told)
    for one in rejected:
        yield (item.image if one.is_image else item.composite)(item.CONTAINS, None, one.uids)


def suggested_reason(assessment: Assessment, modality: str) -> str:
    """The reason of CID 7011 that the weightiest finding suggests; "" where there is none."""
    worst = weightiest(assessment.findings)
    return "" if worst is None else codes.rejection_reason(worst.artefact, modality).value
