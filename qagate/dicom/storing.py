"""Answers one C-STORE. Success is answered only for what is durable in the spool.

Statuses (PS3.4 B.2.3, PS3.7 annex C):

| status | meaning here |
|---|---|
| 0x0000 | durable: new, identical to what lies there, or kept beside other bytes of the same UID |
| 0xA700 | out of resources: free space below the watermark, or the file system refused the bytes |
| 0xA701 | the same: the data set is larger than this peer's may be |
| 0xA702 | the same: more instances or bytes than one association may carry |
| 0xA900 | does not match: SOP Class or Instance UID of data set, request and presentation context differ |
| 0xC000 | cannot understand: no data set, not walkable, a UID missing or malformed |
| 0x0124 | not authorised: the sender may associate but not store |
| 0x0110 | processing failure: the instance was not recorded; sent again it is recorded |

A conflict is answered 0x0000: PS3.4 leaves it to the SCP which of two instances with one UID it keeps, and
a failure would make the sender repeat what is already safe. It is reported through `on_conflict`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event

from qagate.dicom.access import Access
from qagate.dicom.headers import HeaderError, InstanceHeader, is_uid, read_header
from qagate.dicom.incoming import NO_UID, Incoming, StreamingProvider
from qagate.dicom.spool import Outcome, Spool, received
from qagate.reason import Reason, why
from qagate.refusal import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH,
    NOT_AUTHORIZED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    Refusal,
)
from qagate.series import Received

_log = structlog.get_logger()

SUCCESS = 0x0000


class _Refused(Exception):
    """Ends the handling of one C-STORE with a status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """What answering needs; `handle` runs in the thread of each association, several at a time."""

    spool: Spool
    access: Access
    on_series: Callable[[Event, str], None]  #: an instance of this series was placed
    on_received: Callable[[Received], None]
    on_conflict: Callable[[Received], None]
    on_refused: Callable[[Refusal], None]

    def handle(self, event: Event) -> Dataset:
        """Return the response. A loop edge: whatever goes wrong ends in a named status and a log line."""
        incoming = cast(Incoming, cast(C_STORE, event.request).DataSet)
        try:
            self._accept(event, incoming)
            return _answer(SUCCESS)
        except _Refused as refused:
            status, reason = refused.status, refused.reason
        except Exception as error:
            _log.error("fail_to_record", error=why(error), exc_info=True)
            status, reason = PROCESSING_FAILURE, f"the instance was not recorded ({type(error).__name__})"
        finally:
            provider = cast(StreamingProvider, event.assoc.dimse)
            provider.done(incoming)
            provider.share.answer()
        try:
            self._refuse(event, status, reason)
        except Exception as error:
            _log.error("fail_to_report_refusal", error=why(error), exc_info=True)
        return _answer(status, reason)

    def _accept(self, event: Event, incoming: Incoming) -> None:
        header = self._understand(event, incoming)
        try:
            placed = self.spool.place(incoming.path, header, sha256=incoming.sha256, size=incoming.size)
        except OSError as error:
            reason = f"the spool took no file: {error.strerror or 'input/output error'}"
            raise _Refused(OUT_OF_RESOURCES, reason) from error
        assert incoming.meta is not None
        provider = cast(StreamingProvider, event.assoc.dimse)
        record = replace(received(header, incoming.meta, placed), association=provider.trace)
        self.on_series(event, header.series_instance_uid)
        if placed.outcome is not Outcome.CONFLICT:
            self.on_received(record)
            return
        _log.warning(
            "keep_conflicting_instance",
            sop_instance_uid=header.sop_instance_uid,
            series_instance_uid=header.series_instance_uid,
            path=placed.path,
            calling_ae_title=record.instance.calling_ae_title,
        )
        self.on_conflict(record)

    def _understand(self, event: Event, incoming: Incoming) -> InstanceHeader:
        requestor = event.assoc.requestor
        if not self.access.may_store(requestor.ae_title, requestor.address):
            raise _Refused(NOT_AUTHORIZED, "this AE title may not store")
        if not incoming.complete():
            raise _Refused(incoming.status, incoming.failure)
        if not incoming.size:
            raise _Refused(CANNOT_UNDERSTAND, "the data set is empty")
        try:
            header = read_header(incoming.path)
        except HeaderError as error:
            raise _Refused(CANNOT_UNDERSTAND, str(error)) from error
        request = cast(C_STORE, event.request)
        if header.sop_class_uid != request.AffectedSOPClassUID:
            raise _Refused(DOES_NOT_MATCH, "SOPClassUID of request and data set differ")
        if header.sop_instance_uid != request.AffectedSOPInstanceUID:
            raise _Refused(DOES_NOT_MATCH, "SOPInstanceUID of request and data set differ")
        if header.sop_class_uid != event.context.abstract_syntax:
            raise _Refused(DOES_NOT_MATCH, "SOPClassUID and presentation context differ")
        return header

    def _refuse(self, event: Event, status: int, reason: str) -> None:
        request = cast(C_STORE, event.request)
        sop_class_uid, sop_instance_uid = (
            str(uid) if uid and uid != NO_UID and is_uid(uid) else ""
            for uid in (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
        )
        refusal = Refusal(
            status=status,
            reason=reason,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            calling_ae_title=event.assoc.requestor.ae_title.strip(),
            address=event.assoc.requestor.address,
            refused_at=datetime.now(UTC),
        )
        _log.warning(
            "refuse_instance",
            status=f"0x{status:04X}",
            reason=Reason(reason),
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            calling_ae_title=refusal.calling_ae_title,
            address=refusal.address,
        )
        self.on_refused(refusal)


def _answer(status: int, reason: str = "") -> Dataset:
    answer = Dataset()
    answer.Status = status
    if reason:
        answer.ErrorComment = reason[:64]
    return answer
