"""Acts of the audit trail as DICOM audit messages (PS3.15 A.5).

No message names a patient: the trail does not know any. *Participant Object* is the series, by its UID, where
an act has one, and always the row of the trail with its hash, so that the receiver can tell later that the
trail was touched.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

_SUCCESS, _MINOR_FAILURE, _SERIOUS_FAILURE = "0", "4", "8"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedAct:
    """One row of the trail."""

    number: int  #: of the row
    at: datetime  #: UTC
    actor: str  #: a user name
    act: str
    series_instance_uid: str | None
    sha256: str  #: of the row, hexadecimal


@dataclass(frozen=True, slots=True)
class _Event:
    """What kind of event an act is: *Event ID* (CID 400), *Event Type Code* (CID 401), action, outcome."""

    name: Code
    kind: Code | None
    action: str  #: C, R, U, D or E (PS3.15 A.5.2.1)
    outcome: str = _SUCCESS


_DCM = codes.DCM
_ACCOUNT = _Event(_DCM.SecurityAlert, _DCM.UserSecurityAttributesChanged, "E")
_SOFTWARE = _Event(_DCM.SecurityAlert, _DCM.SoftwareConfiguration, "E")
_EXPORT = _Event(_DCM.Export, None, "R")
_ACCESS = _Event(_DCM.DICOMInstancesAccessed, None, "R")
_EVENTS: Mapping[str, _Event] = {
    "log in": _Event(_DCM.UserAuthentication, _DCM.Login, "E"),
    "log out": _Event(_DCM.UserAuthentication, _DCM.Logout, "E"),
    "wrong password": _Event(_DCM.UserAuthentication, _DCM.Login, "E", _MINOR_FAILURE),
    "locked": _Event(_DCM.UserAuthentication, _DCM.Login, "E", _SERIOUS_FAILURE),
    "add user": _ACCOUNT,
    "change user": _ACCOUNT,
    "add token": _ACCOUNT,
    "revoke token": _ACCOUNT,
    "show patient": _ACCESS,
    "download report": _EXPORT,
    "back up": _EXPORT,
    "export audit trail": _Event(_DCM.AuditLogUsed, None, "R"),
    "export labels": _EXPORT,
    "export worklist": _EXPORT,
    "restore": _SOFTWARE,
    "mend": _SOFTWARE,
}
_OF_A_SERIES = _Event(_DCM.DICOMInstancesAccessed, None, "U")  # labels, ratings, acknowledgements, requeues


def audit_message(of: AuditedAct, *, source: str) -> bytes:
    """Return the XML of one act, UTF-8. source: *Audit Source ID*, the gate's AE title and host."""
    event = _EVENTS.get(of.act, _OF_A_SERIES if of.series_instance_uid else _SOFTWARE)
    root = Element("AuditMessage")
    identification = SubElement(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=of.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=event.outcome,
    )
    _coded(identification, "EventID", event.name)
    if event.kind is not None:
        _coded(identification, "EventTypeCode", event.kind)
    SubElement(identification, "EventOutcomeDescription").text = of.act
    SubElement(root, "ActiveParticipant", UserID=of.actor, UserIsRequestor="true")
    SubElement(root, "AuditSourceIdentification", AuditSourceID=source)
    if of.series_instance_uid:
        series = _object(root, of.series_instance_uid, role="3")  # report
        _coded(series, "ParticipantObjectIDTypeCode", _DCM.SeriesInstanceUID)
    row = _object(root, f"row {of.number}", role="13")  # security resource
    SubElement(
        row,
        "ParticipantObjectIDTypeCode",
        {"csd-code": "audit-row", "codeSystemName": "99QAGATE", "originalText": "Row of the audit trail"},
    )
    SubElement(row, "ParticipantObjectName").text = "audit trail"
    SubElement(
        row, "ParticipantObjectDetail", type="SHA-256", value=base64.b64encode(of.sha256.encode()).decode()
    )
    message: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return message


def _object(root: Element, identifier: str, *, role: str) -> Element:
    return SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode="2",  # a system object
        ParticipantObjectTypeCodeRole=role,
    )


def _coded(parent: Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme_designator}
    SubElement(parent, name, attributes | {"originalText": code.meaning})
