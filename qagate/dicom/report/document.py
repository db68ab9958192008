"""What SR and KOS have in common: identity, patient and study, equipment, evidence, encoding."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from io import BytesIO

from pydicom import dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from qagate.assessment import Assessment, Decision
from qagate.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from qagate.dicom.report import codes
from qagate.dicom.report import content as item
from qagate.dicom.report import source as read
from qagate.dicom.report.source import ReportError, Source

_NAMESPACE = uuid.UUID("6d1b7f3a-52c4-5c0e-9a0e-7f6b1d2c9e41")
_IGNORE = 0  # pydicom.config.IGNORE: identifiers are taken over as they are, and never quoted in a warning


def derive_uid(*parts: str) -> str:
    """A UUID-derived UID (PS3.5 B.2) that is always the same for the same parts."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportIdentity:
    """Which revision is reported, and the gate that reports it."""

    series_instance_uid: str  #: of the assessed series
    revision: int  #: of the assessed series, from 1
    device_uid: str  #: of this gate; `derive_uid("device", ...)` makes a lasting one
    ae_title: str
    manufacturer: str = "qagate"
    model_name: str = "qagate"
    serial_number: str = ""
    software_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentReference:
    """Where a document that was sent before is found."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


def reference_to(document: Dataset) -> DocumentReference:
    """The reference by which a later revision supersedes `document`."""
    return DocumentReference(
        sop_class_uid=str(document.SOPClassUID),
        sop_instance_uid=str(document.SOPInstanceUID),
        series_instance_uid=str(document.SeriesInstanceUID),
        study_instance_uid=str(document.StudyInstanceUID),
    )


def to_bytes(document: Dataset) -> bytes:
    """The Part 10 file of a report; the same bytes for the same report."""
    buffer = BytesIO()
    dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()


def document_uid(kind: str, identity: ReportIdentity, assessment: Assessment, decision: Decision) -> str:
    """SOP instance UID of one kind of document for one revision, model and policy."""
    model = (assessment.model, assessment.model_version, assessment.weights_sha256)
    return derive_uid(
        kind, identity.series_instance_uid, str(identity.revision), *model, decision.policy_version
    )


def model_uid(assessment: Assessment) -> str:
    """The model's UID as (0018,1002) *Device UID*: it changes when the weights do."""
    return derive_uid("model", assessment.model, assessment.model_version, assessment.weights_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What sets one kind of document apart from the others."""

    name: str
    modality: str
    series_number: int
    sop_class_uid: str


def start(
    kind: Kind, sop_instance_uid: str, leading: Source, identity: ReportIdentity, content_datetime: datetime
) -> Dataset:
    """A document with all modules but its content: patient, study, series, equipment, SOP common."""
    if content_datetime.tzinfo is None:
        raise ReportError("content_datetime has no time zone; pass an aware datetime")
    document = Dataset()
    document.SpecificCharacterSet = "ISO_IR 192"
    document.SOPClassUID = kind.sop_class_uid
    document.SOPInstanceUID = sop_instance_uid
    _patient_and_study(document, leading)
    document.Modality = kind.modality
    document.SeriesInstanceUID = derive_uid("series", kind.name, identity.series_instance_uid)
    document.SeriesNumber = kind.series_number
    document.SeriesDescription = "Image quality"
    document.ReferencedPerformedProcedureStepSequence = []
    document.InstanceNumber = identity.revision
    _equipment(document, identity)
    _content_time(document, leading.dataset, content_datetime)
    document.CodingSchemeIdentificationSequence = [_coding_scheme()]
    document.file_meta = _file_meta(kind.sop_class_uid, sop_instance_uid)
    return document


def _verbatim(document: Dataset, keyword: str, value: str) -> None:
    element = DataElement(Tag(keyword), dictionary_VR(keyword), value, validation_mode=_IGNORE)
    document.add(element)


def _patient_and_study(document: Dataset, leading: Source) -> None:
    header = leading.dataset
    document.StudyInstanceUID = leading.study_instance_uid
    document.StudyDate = read.date(header, "StudyDate")
    document.StudyTime = read.time(header, "StudyTime")
    document.PatientBirthDate = read.date(header, "PatientBirthDate")
    sex = read.first(header, "PatientSex").upper()
    document.PatientSex = sex if sex in ("M", "F", "O") else ""
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
        _verbatim(document, keyword, read.first(header, keyword))
    for keyword in ("IssuerOfPatientID", "StudyDescription"):
        value = read.first(header, keyword)
        if value:
            _verbatim(document, keyword, value[:64])
    removed = read.first(header, "PatientIdentityRemoved")
    method = read.first(header, "DeidentificationMethod")
    if removed == "NO" or (removed == "YES" and method):
        document.PatientIdentityRemoved = removed
        if method:
            document.DeidentificationMethod = method[:64]


def _equipment(document: Dataset, identity: ReportIdentity) -> None:
    document.Manufacturer = item.plain(identity.manufacturer, 64)
    for keyword, value in (
        ("ManufacturerModelName", identity.model_name),
        ("DeviceSerialNumber", identity.serial_number),
        ("SoftwareVersions", identity.software_version),
    ):
        if value:
            document[keyword] = DataElement(Tag(keyword), "LO", item.plain(value, 64))


def _content_time(document: Dataset, header: Dataset, content_datetime: datetime) -> None:
    # (0008,0201) holds for every date and time of the data set, those of the study too.
    offset = read.offset_from_utc(header)
    if offset is not None:
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
        content_datetime = content_datetime.astimezone(zone)
    document.ContentDate = content_datetime.strftime("%Y%m%d")
    document.ContentTime = content_datetime.strftime("%H%M%S")
    document.InstanceCreationDate = document.ContentDate
    document.InstanceCreationTime = document.ContentTime
    document.TimezoneOffsetFromUTC = re.sub(r"[:.].*", "", content_datetime.strftime("%z"))[:5]


def _coding_scheme() -> Dataset:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    scheme.CodingSchemeName = codes.PRIVATE_SCHEME_NAME
    scheme.CodingSchemeResponsibleOrganization = "qagate"
    return scheme


def _file_meta(sop_class_uid: str, sop_instance_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def contributing_equipment(identity: ReportIdentity, assessment: Assessment, content: Dataset) -> Dataset:
    """The model as processing equipment (PS3.3 C.12.1.1.5)."""
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [item.coded(codes.PROCESSING_EQUIPMENT)]
    equipment.Manufacturer = item.plain(identity.manufacturer, 64)
    equipment.ManufacturerModelName = item.plain(assessment.model.replace("\\", "/"), 64)
    equipment.SoftwareVersions = item.plain(assessment.model_version.replace("\\", "/"), 64)
    equipment.DeviceUID = model_uid(assessment)
    equipment.ContributionDateTime = content.ContentDate + content.ContentTime + content.TimezoneOffsetFromUTC
    equipment.ContributionDescription = "Image quality assessment"
    return equipment


def observer(identity: ReportIdentity) -> Iterable[Dataset]:
    """Observer context of a device (TID 1002, 1004)."""
    yield item.code(item.HAS_OBS_CONTEXT, codes.OBSERVER_TYPE, codes.DEVICE)
    yield item.uid_reference(item.HAS_OBS_CONTEXT, codes.DEVICE_UID, identity.device_uid)
    for name, value in (
        (codes.DEVICE_NAME, identity.ae_title),
        (codes.DEVICE_MANUFACTURER, identity.manufacturer),
        (codes.DEVICE_MODEL, identity.model_name),
        (codes.DEVICE_SERIAL, identity.serial_number),
    ):
        if value:
            yield item.text(item.HAS_OBS_CONTEXT, name, value)


def evidence_items(instances: Iterable[Source]) -> list[Dataset]:
    """Items of (0040,A375) and its like: instances by study and series (PS3.3 10.4 hierarchical macro)."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for instance in instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID = instance.sop_class_uid
        reference.ReferencedSOPInstanceUID = instance.sop_instance_uid
        series = studies.setdefault(instance.study_instance_uid, {})
        series.setdefault(instance.series_instance_uid, []).append(reference)
    return [hierarchy(study, series) for study, series in studies.items()]


def hierarchy(study_instance_uid: str, series: dict[str, list[Dataset]]) -> Dataset:
    """One item of the hierarchical SOP instance reference macro (PS3.3 Table C.17-3)."""
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = []
    for series_instance_uid, references in series.items():
        below = Dataset()
        below.SeriesInstanceUID = series_instance_uid
        below.ReferencedSOPSequence = references
        study.ReferencedSeriesSequence.append(below)
    return study
