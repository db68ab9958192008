"""What the gate refuses, and the codes that say why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

PROCESSING_FAILURE = 0x0110
SOP_CLASS_NOT_SUPPORTED = 0x0122  #: reported for a presentation context that was refused
NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700  #: this and the next two are "out of resources" (A7xx of PS3.4 table B.2-1)
DATA_SET_TOO_LARGE = 0xA701
ASSOCIATION_FULL = 0xA702
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
LAST_STATUS = 0xFFFF  #: above it an A-ASSOCIATE-RJ: its result, source and reason as three bytes
TLS_REFUSED = 0x1000000  #: no DICOM answer is possible before TLS; code of our own
NO_PLACE = 0x1000001  #: nor to a connection that there is no thread for

#: code -> word in metrics and on pages
WORDS = {
    PROCESSING_FAILURE: "not_recorded",
    SOP_CLASS_NOT_SUPPORTED: "not_supported",
    NOT_AUTHORIZED: "not_authorised",
    OUT_OF_RESOURCES: "no_space",
    DATA_SET_TOO_LARGE: "data_set_too_large",
    ASSOCIATION_FULL: "association_full",
    DOES_NOT_MATCH: "does_not_match",
    CANNOT_UNDERSTAND: "cannot_understand",
    0x010103: "calling_ae_title",
    0x010107: "called_ae_title",
    0x010101: "address",
    0x020302: "too_many_associations",
    0x020301: "disk_nearly_full",
    TLS_REFUSED: "tls",
    NO_PLACE: "too_many_connections",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What was not accepted: an instance, an association or a connection. Carries no patient data."""

    status: int  #: as answered, or one of the codes above
    reason: str
    sop_class_uid: str  #: of the request; "" when it is no UID, or there is none
    sop_instance_uid: str  #: of the request; "" when it is no UID, or there is none
    calling_ae_title: str  #: "" when none was said
    address: str
    refused_at: datetime  #: UTC
