"""Storage commitment: its data sets, and how the gate asks an archive (PS3.4 annex J).

The push model alone; PS3.4 has retired the pull model. How the gate answers is in `commitment_scp`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.presentation import PresentationContext, build_context

from qagate.commitment import CommitmentError, Failed, Reference, Report, Request
from qagate.dicom.headers import is_uid
from qagate.dicom.outgoing import Archive, DeliveryError, associate

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")  #: well known; every request and report names it
REQUEST_COMMITMENT = 1  #: Action Type ID (PS3.4 table J.3-1)
COMPLETE, FAILURES_EXIST = 1, 2  #: Event Type ID (PS3.4 table J.3-2)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
RESOURCE_LIMITATION = 0x0213

_LOOK_S = 0.1  #: how often `ask` looks whether the report came another way
_TRANSIENT = frozenset({PROCESSING_FAILURE, RESOURCE_LIMITATION})


def context() -> PresentationContext:
    """The presentation context, in the transfer syntaxes that every implementation has one of."""
    return build_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])


def request_data_set(request: Request) -> Dataset:
    """The Action Information of an N-ACTION."""
    data_set = Dataset()
    data_set.TransactionUID = request.transaction_uid
    data_set.ReferencedSOPSequence = [_item(reference) for reference in request.references]
    return data_set


def read_request(data_set: Dataset) -> Request:
    """Read an Action Information. Raises CommitmentError."""
    references = _references(data_set, "ReferencedSOPSequence")
    if not references:
        raise CommitmentError("ReferencedSOPSequence (0008,1199) is missing or empty")
    return Request(transaction_uid=_transaction(data_set), references=references)


def event_type(report: Report) -> int:
    """The Event Type ID of a report."""
    return FAILURES_EXIST if report.failed else COMPLETE


def report_data_set(report: Report) -> Dataset:
    """The Event Information of an N-EVENT-REPORT."""
    data_set = Dataset()
    data_set.TransactionUID = report.transaction_uid
    # With event type 2 the sequence is left out when nothing was committed (PS3.4 table J.3-2).
    if report.committed:
        data_set.ReferencedSOPSequence = [_item(reference) for reference in report.committed]
    if report.failed:
        data_set.FailedSOPSequence = [_item(one.reference, one.reason) for one in report.failed]
    return data_set


def read_report(data_set: Dataset) -> Report:
    """Read an Event Information. Raises CommitmentError."""
    committed = _references(data_set, "ReferencedSOPSequence")
    references = _references(data_set, "FailedSOPSequence")
    reasons = [item.get("FailureReason") for item in _items(data_set, "FailedSOPSequence")]
    failed = tuple(
        Failed(reference=reference, reason=reason if isinstance(reason, int) else PROCESSING_FAILURE)
        for reference, reason in zip(references, reasons, strict=True)
    )
    if not committed and not failed:
        raise CommitmentError("ReferencedSOPSequence (0008,1199) and FailedSOPSequence (0008,1198) are empty")
    return Report(transaction_uid=_transaction(data_set), committed=committed, failed=failed)


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def _transaction(data_set: Dataset) -> str:
    return _uid(data_set, "TransactionUID", "(0008,1195)")


def _items(data_set: Dataset, keyword: str) -> Sequence[Dataset]:
    items = data_set.get(keyword) or ()
    if items and not isinstance(items, pydicom.Sequence):
        raise CommitmentError(f"{keyword} is no sequence")
    return items


def _references(data_set: Dataset, keyword: str) -> tuple[Reference, ...]:
    return tuple(
        Reference(
            sop_class_uid=_uid(item, "ReferencedSOPClassUID", "(0008,1150)"),
            sop_instance_uid=_uid(item, "ReferencedSOPInstanceUID", "(0008,1155)"),
        )
        for item in _items(data_set, keyword)
    )


def _uid(data_set: Dataset, keyword: str, tag: str) -> str:
    uid = str(data_set.get(keyword) or "")
    if not is_uid(uid):
        raise CommitmentError(f"{keyword} {tag} is missing or no UID")
    return uid


def ask(
    archive: Archive,
    request: Request,
    on_report: Callable[[Report], None],
    *,
    linger_s: float = 1.0,
    settled: Callable[[], bool] = lambda: False,
) -> None:
    """Send an N-ACTION on an association of its own, and stay `linger_s` seconds for the report.

    settled: tells that the report has come another way, so that nothing needs to be waited for.

    on_report: called in another thread for each report that comes on this association. When it raises,
    the archive is answered 0x0110, so that it reports again. A report that comes later comes on an
    association that the archive opens; nothing waits for that one here.

    Raises
    ------
    DeliveryError
        When the archive cannot be reached, takes no storage commitment, refuses this request or does not
        answer.
    """
    reported = threading.Event()
    serving: list[threading.Thread] = []

    def report(event: evt.Event) -> tuple[int, None]:
        serving.append(threading.current_thread())
        try:
            return answer(event, on_report), None
        finally:
            reported.set()

    association = associate(archive, [context()], handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    try:
        status, _ = association.send_n_action(
            request_data_set(request), REQUEST_COMMITMENT, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        _judge(archive, status)
        deadline = time.monotonic() + linger_s
        while not reported.wait(max(0.0, min(_LOOK_S, deadline - time.monotonic()))):
            if time.monotonic() >= deadline or settled():
                break
        # pynetdicom answers each report in a thread of its own, after the handler has returned.
        for thread in serving:
            thread.join(archive.timeout_s)
    finally:
        if association.is_established:
            association.release()


def answer(event: evt.Event, on_report: Callable[[Report], None]) -> int:
    """Take an N-EVENT-REPORT; return its status. on_report raises CommitmentError for what it did not ask."""
    if event.event_type not in (COMPLETE, FAILURES_EXIST):
        return NO_SUCH_EVENT_TYPE
    try:
        on_report(read_report(event.event_information))
    except CommitmentError:
        return INVALID_ARGUMENT
    return SUCCESS


def tell(peer: Archive, report: Report) -> int:
    """Report on a new association, as SCP by role selection; return the peer's status.

    Raises DeliveryError when the peer cannot be reached, takes no reports or does not answer.
    """
    association = associate(peer, [context()], roles=[build_role(PUSH_MODEL, scu_role=False, scp_role=True)])
    try:
        status, _ = association.send_n_event_report(
            report_data_set(report), event_type(report), PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
        answered: int | None = status.get("Status")
        if answered is None:
            raise DeliveryError(f"{peer} did not answer a commitment report", transient=True)
        return answered
    finally:
        if association.is_established:
            association.release()


def _judge(archive: Archive, status: Dataset) -> None:
    answered: int | None = status.get("Status")
    if answered is None:
        raise DeliveryError(
            f"{archive} ended the association or did not answer the commitment request in"
            f" {archive.timeout_s:g} s",
            transient=True,
        )
    if answered != SUCCESS:
        raise DeliveryError(
            f"{archive} answered the commitment request with 0x{answered:04X}",
            transient=answered in _TRANSIENT,
        )
