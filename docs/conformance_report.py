"""The tables of docs/conformance.md about SR and KOS, read off documents that the report builder made.

What is in a document that says as little as possible is mandatory; what only a full one has is conditional.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from conformance_tables import row, table
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage

from qagate.assessment import (
    Artefact,
    Assessment,
    Baseline,
    Decision,
    Finding,
    Prompt,
    Rating,
    SliceScore,
    Verdict,
)
from qagate.dicom.report import (
    REASONS,
    Rejection,
    ReportIdentity,
    build_kos,
    build_rejection,
    build_sr,
    codes,
)
from qagate.dicom.report.document import DocumentReference
from qagate.dicom.report.sr import SR_CLASSES
from qagate.series import Instance

_WHEN = datetime(2026, 3, 1, 8, tzinfo=UTC)
_MEASURE = "noise_hu"
_CONTENT = ("ContentSequence", "ContentTemplateSequence", "ConceptNameCodeSequence")
_IDENTITY = ReportIdentity(
    series_instance_uid="1.2.3.4", revision=2, device_uid="2.25.1", ae_title="QAGATE",
    software_version="1",
)  # fmt: skip
_FORMER = DocumentReference(
    sop_class_uid=SR_CLASSES["comprehensive3d"], sop_instance_uid="1.2.3.9.1",
    series_instance_uid="1.2.3.9", study_instance_uid="1.2.3",
)  # fmt: skip
Path = tuple[str, ...]


@dataclass(slots=True)
class _Row:
    """One content item and its likes."""

    depth: int
    relationship: str
    value_type: str
    concept: str
    values: dict[str, None] = field(default_factory=dict)
    most: int = 0  #: of it below one parent
    always: bool = False


def tables() -> dict[str, list[str]]:
    """Marker -> lines of the table."""
    reports, notes = _documents()
    return {
        "sr-content": _content(*reports),
        "kos-content": _content(*notes),
        "rejection-content": _content(*_rejections()),
        "attributes": _attributes(reports[-1], notes[-1]),
        "findings": _findings(),
        "private-codes": _private_codes(),
    }


def _documents() -> tuple[list[Dataset], list[Dataset]]:
    """SR and KOS, the one that says least first."""
    bare, full = [_header(1, bare=True)], [_header(1), _header(2)]
    nothing = Assessment(
        prompt=Prompt(dimension="3D", modality="CT"), quality=None, score=None, not_assessed="unlike any"
    )
    little = Decision(verdict=Verdict.NOT_ASSESSED, reasons=("unlike any",))
    reports = [build_sr(bare, nothing, little, _IDENTITY, content_datetime=_WHEN)]
    notes = [
        build_kos(bare, nothing, _decision(Verdict.REVIEW, bare=True), _IDENTITY, content_datetime=_WHEN)
    ]
    for verdict in (Verdict.PASS, Verdict.REVIEW, Verdict.REPEAT):
        reports.append(
            build_sr(
                full, _assessment(), _decision(verdict), _IDENTITY, content_datetime=_WHEN, previous=_FORMER
            )
        )
    for artefact in Artefact:
        assessment = _assessment(artefact)
        notes.append(
            build_kos(full, assessment, _decision(Verdict.REPEAT), _IDENTITY, content_datetime=_WHEN)
        )
    return reports, notes


def _rejections() -> list[Dataset]:
    """The note of rejection, for every reason there is."""
    when = {"received_at": _WHEN, "calling_ae_title": "CT1", "transfer_syntax_uid": "1.2.840.10008.1.2.1"}
    instances = [
        Instance(
            study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", sop_class_uid=uid, path="", sha256="",
            size=1, sop_instance_uid=f"1.2.3.4.{number}", **when,
        )
        for number, uid in enumerate((str(CTImageStorage),) * 2 + (SR_CLASSES["enhanced"],), start=1)
    ]  # fmt: skip
    return [
        build_rejection(
            _header(1), instances, Rejection(person="anna", reason=reason), _IDENTITY, content_datetime=_WHEN
        )
        for reason in REASONS
    ]


def _header(number: int, *, bare: bool = False) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"1.2.3.4.{number}"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = "1.2.3", "1.2.3.4", "CT"
    header.Rows = header.Columns = 512
    if bare:
        return header
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = (
        "A",
        "B",
        "20000101",
        "O",
    )
    header.AccessionNumber, header.StudyID, header.ReferringPhysicianName = "C", "D", "E"
    header.StudyDate, header.StudyTime, header.StudyDescription, header.IssuerOfPatientID = (
        "20260301", "070000", "F", "G",
    )  # fmt: skip
    header.PatientIdentityRemoved, header.DeidentificationMethod = "YES", "H"
    header.PixelSpacing, header.SliceThickness = [0.5, 0.5], 1
    header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    return header


def _assessment(artefact: Artefact = Artefact.MOTION) -> Assessment:
    slices = tuple(
        SliceScore(sop_instance_uid=f"1.2.3.4.{number}", slice_number=number, score=0.3, quality=0.3)
        for number in (1, 2)
    )
    findings = tuple(
        Finding(artefact=one, severity=severity, text=one.value, sop_instance_uids=("1.2.3.4.1", "1.2.3.4.2"))
        for one, severity in ((artefact, 0.9), (Artefact.NOISE, 0.1))
    )
    return Assessment(
        prompt=Prompt(dimension="3D", modality="CT"), quality=0.3, score=0.3, slices=slices,
        measures={_MEASURE: 20.0}, findings=findings, slice_count=2, model="default", model_version="3",
        weights_sha256="0" * 64, rating=Rating(value=2, low=1, high=3, worst=1, best=5),
    )  # fmt: skip


def _decision(verdict: Verdict, *, bare: bool = False) -> Decision:
    if bare:
        return Decision(verdict=verdict, reasons=("quality",))
    return Decision(
        verdict=verdict, reasons=("quality", "noise"), review_below=0.5, repeat_below=0.3, rule="all",
        policy_version="1", baseline=Baseline(median=0.8, mad=0.1, count=30),
    )  # fmt: skip


def _content(least: Dataset, *others: Dataset) -> list[str]:
    rows: dict[Path, _Row] = {}
    for number, document in enumerate((least, *others)):
        _walk(document, (), rows, always=number == 0)
    made = []
    for one in _in_order(rows):
        count = "1" if one.most == 1 else "1-n"
        need = "M" if one.always else "C"
        values = "; ".join(one.values)
        made.append(row(">" * one.depth, one.relationship, one.value_type, one.concept, count, need, values))
    return table(("level", "relationship", "type", "concept name", "VM", "need", "value"), made)


def _in_order(rows: dict[Path, _Row]) -> Iterator[_Row]:
    """Each item before what is below it, siblings as they were first seen."""

    def below(parent: Path) -> Iterator[_Row]:
        for path, one in rows.items():
            if path[:-1] == parent:
                yield one
                yield from below(path)

    return below(())


def _walk(item: Dataset, parent: Path, rows: dict[Path, _Row], *, always: bool) -> None:
    concept, value_type = _concept(item), str(item.ValueType)
    relationship = str(item.get("RelationshipType", ""))
    path = (*parent, f"{relationship} {value_type} {concept}")
    one = rows.setdefault(path, _Row(len(parent), relationship, value_type, concept))
    one.always |= always
    one.values.update(dict.fromkeys(_values(item)))
    below: dict[Path, int] = {}
    for child in item.get("ContentSequence", ()):
        name = (*path, f"{child.RelationshipType} {child.ValueType} {_concept(child)}")
        below[name] = below.get(name, 0) + 1
        _walk(child, path, rows, always=always)
    one.most = max(one.most, 1)
    for name, count in below.items():
        rows[name].most = max(rows[name].most, count)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return ""
    if names[0].get("CodeValue") == codes.GROUP.value:
        label = next(
            one
            for one in item.ContentSequence
            if one.ConceptNameCodeSequence[0].CodeValue == codes.TRACKING_ID.value
        )
        return f"{_coded(names[0])} of {'the series' if label.TextValue == 'series' else 'a scored slice'}"
    if names[0].get("CodeValue") == _MEASURE:
        return f"a measure of [measures.md](measures.md) ({codes.PRIVATE_SCHEME})"
    return _coded(names[0])


def _coded(item: Dataset) -> str:
    value = item.get("CodeValue") or item.get("LongCodeValue")
    return f"({value}, {item.CodingSchemeDesignator}, “{item.CodeMeaning}”)"


def _values(item: Dataset) -> Iterator[str]:
    if "ConceptCodeSequence" in item:
        yield _coded(item.ConceptCodeSequence[0])
    if "MeasuredValueSequence" in item:
        measured = _concept(item).startswith("a measure")
        unit = item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
        yield "the measure's unit" if measured else f"unit {unit.CodeValue} (UCUM)"
    if "ContentTemplateSequence" in item:
        yield f"TID {item.ContentTemplateSequence[0].TemplateIdentifier}"


def _attributes(sr: Dataset, kos: Dataset) -> list[str]:
    header, made = _header(1), []
    for tag in sorted({element.tag for document in (sr, kos) for element in document}):
        of = sr if tag in sr else kos
        element = of[tag]
        if element.keyword in _CONTENT:
            continue
        copied = element.tag in header and element.value == header[tag].value
        where = ", ".join(name for name, one in (("SR", sr), ("KOS", kos)) if tag in one)
        source = "the image's" if copied else "the gate's"
        made.append(
            row(f"({tag.group:04X},{tag.elem:04X})", dictionary_description(tag), element.VR, where, source)
        )
    return table(("tag", "attribute", "VR", "in", "value"), made)


def _findings() -> list[str]:
    made = []
    for artefact in Artefact:
        by_modality = {name: codes.finding_codes(artefact, name) for name in ("CT", "MR")}
        same = by_modality["CT"] == by_modality["MR"]
        shown = {"": by_modality["CT"]} if same else by_modality
        for modality, found in shown.items():
            reason = codes.rejection_reason(artefact, modality or "CT")
            made.append(
                row(f"{artefact.value} {modality and f'({modality})'}".strip(), _list(found), _list([reason]))
            )
    made.append(row("none", "", _list([codes.rejection_reason(None, "CT")])))
    return table(("artefact", "111052 DCM Quality Finding", "113011 DCM Document Title Modifier"), made)


def _list(found: Iterable[Code]) -> str:
    return "; ".join(f"({one.value}, {one.scheme_designator}, “{one.meaning}”)" for one in found)


def _private_codes() -> list[str]:
    values = [*vars(codes).values(), *codes.DECISIONS.values()]
    values += [one for artefact in Artefact for one in codes.finding_codes(artefact, "CT")]
    ours = {
        one.value: one.meaning
        for one in values
        if isinstance(one, Code) and one.scheme_designator == codes.PRIVATE_SCHEME
    }
    return table(("code", "meaning"), (row(f"`{value}`", ours[value]) for value in sorted(ours)))
