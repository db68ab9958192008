"""DICOM objects that carry the gate's results: structured report and key object selection."""

from qagate.dicom.report.document import (
    DocumentReference,
    ReportIdentity,
    derive_uid,
    reference_to,
    to_bytes,
)
from qagate.dicom.report.kos import build_kos
from qagate.dicom.report.rejection import REASONS, Rejection, build_rejection, suggested_reason
from qagate.dicom.report.source import EVIDENCE_KEYWORDS, ReportError
from qagate.dicom.report.sr import SRClass, build_sr
from qagate.dicom.report.text import sr_text

__all__ = [
    "EVIDENCE_KEYWORDS",
    "REASONS",
    "DocumentReference",
    "Rejection",
    "ReportError",
    "ReportIdentity",
    "SRClass",
    "build_kos",
    "build_rejection",
    "build_sr",
    "derive_uid",
    "reference_to",
    "sr_text",
    "suggested_reason",
    "to_bytes",
]
