"""Storage commitment on the associations that others open: requests are taken, reports given and taken.

A report to a sender whose association is still open goes out there without waiting: the sender may store,
ask or release meanwhile, and its answer is noted when it comes.

Statuses of the N-ACTION (PS3.7 10.1.4.1.10):

| status | meaning here |
|---|---|
| 0x0000 | the request is kept durably; a report will follow |
| 0x0110 | processing failure: the request could not be kept |
| 0x0112 | no such SOP instance: not the well-known one of the push model |
| 0x0115 | invalid argument: UIDs or sequence missing, or the transaction UID was used for other instances |
| 0x0123 | no such action |
| 0x0124 | not authorised: this sender may not ask |
| 0x0213 | resource limitation: the request is too large, or too many of this sender wait |
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext

from qagate.commitment import Basis, CommitmentError, Report, Request, TooManyRequests
from qagate.dicom import commitment
from qagate.dicom.access import Access
from qagate.dicom.incoming import Incoming, StreamingProvider
from qagate.reason import why

_log = structlog.get_logger()
_IDLE_S = 0.5  #: a sender that is quiet for this long is not about to release, or to send the next image

Answered = Callable[[int], None]


@dataclass(slots=True)
class _Open:
    """One open association with a context of storage commitment."""

    ae_title: str
    context: PresentationContext
    message_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    waiting: dict[int, Answered] = field(default_factory=dict)


class CommitmentSCP:
    """What `StorageSCP` needs for storage commitment. Callbacks run in the associations' threads.

    - `on_request(request, calling_ae_title, basis)`: keep it durably. Raises CommitmentError for what can
      not be meant, TooManyRequests; whatever else it raises is answered 0x0110.
    - `on_report(report, calling_ae_title)`: an archive's report. Raises CommitmentError when nothing asked
      for it; whatever else it raises is answered 0x0110, so that the archive reports again.
    """

    def __init__(
        self,
        *,
        access: Access,
        on_request: Callable[[Request, str, Basis], None],
        on_report: Callable[[Report, str], None],
    ) -> None:
        self._access, self._on_request, self._on_report = access, on_request, on_report
        self._lock = threading.Lock()
        self._open: dict[Association, _Open] = {}

    def present(self, ae_title: str) -> bool:
        """Tell whether an association of this sender, idle or not, is open."""
        with self._lock:
            return any(one.ae_title == ae_title for one in self._open.values())

    @property
    def handlers(self) -> list[evt.EventHandlerType]:
        """What to bind to the associations."""
        return [
            (evt.EVT_N_ACTION, self._requested),
            (evt.EVT_N_EVENT_REPORT, self._reported),
            (evt.EVT_ESTABLISHED, self._established),
        ]

    def contexts(self, calling_ae_title: str, address: str) -> list[PresentationContext]:
        """What a peer may have: the push model, in the roles that are its own; nothing for most."""
        asks = self._access.commitment(calling_ae_title, address) is not None
        reports = self._access.may_report(calling_ae_title, address)
        if not asks and not reports:
            return []
        context = commitment.context()
        context.scu_role, context.scp_role = asks, reports
        return [context]

    def closed(self, association: Association) -> None:
        """Forget an association."""
        with self._lock:
            self._open.pop(association, None)

    def partners(self) -> frozenset[str]:
        """The AE titles of open, idle associations that can take a report."""
        with self._lock:
            return frozenset(one.ae_title for link, one in self._open.items() if _idle(link))

    def report(self, ae_title: str, report: Report, answered: Answered) -> bool:
        """Send a report on an idle association that this sender opened; False when there is none.

        answered: called with the status of the sender's answer, in its association's thread; never when
        the association ends before.
        """
        with self._lock:
            found = next(
                (link for link, one in self._open.items() if one.ae_title == ae_title and _idle(link)), None
            )
            if found is None:
                return False
            one = self._open[found]
            message_id = next(one.message_ids)
            one.waiting[message_id] = answered
        found.dimse.send_msg(_primitive(report, one.context, message_id), one.context.context_id or 1)
        return True

    def _established(self, event: evt.Event) -> None:
        association: Association = event.assoc
        context = next(
            (one for one in association.accepted_contexts if one.abstract_syntax == commitment.PUSH_MODEL),
            None,
        )
        requestor = association.requestor
        if context is None or self._access.commitment(requestor.ae_title, requestor.address) is None:
            return
        one = _Open(ae_title=requestor.ae_title.strip(), context=context)
        with self._lock:
            self._open[association] = one
        cast(StreamingProvider, association.dimse).on_response = lambda answer: self._answered(one, answer)

    def _answered(self, one: _Open, answer: N_EVENT_REPORT) -> None:
        with self._lock:
            answered = one.waiting.pop(answer.MessageIDBeingRespondedTo or 0, None)
        if answered is None:
            return
        status = answer.Status
        try:
            answered(commitment.PROCESSING_FAILURE if status is None else status)
        except Exception as error:  # a loop edge: the report is sent again
            _log.error("fail_to_note_answer", error=why(error), exc_info=True)

    def _requested(self, event: evt.Event) -> tuple[Dataset, None]:
        """Answer an N-ACTION. A loop edge: whatever goes wrong ends in a named status and a log line."""
        calling, address = event.assoc.requestor.ae_title.strip(), event.assoc.requestor.address
        count = 0
        try:
            status, reason = self._check(event, calling, address)
            if status == commitment.SUCCESS:
                basis = self._access.commitment(calling, address)
                assert basis is not None
                request = commitment.read_request(event.action_information)
                count = len(request.references)
                self._on_request(request, calling, basis)
        except CommitmentError as error:
            status, reason = commitment.INVALID_ARGUMENT, str(error)
        except TooManyRequests as error:
            status, reason = commitment.RESOURCE_LIMITATION, str(error)
        except Exception as error:
            _log.error("fail_to_keep_request", error=why(error), exc_info=True)
            status, reason = commitment.PROCESSING_FAILURE, "the request could not be kept"
        note = _log.info if status == commitment.SUCCESS else _log.warning
        note(
            "commitment_requested", calling_ae_title=calling, address=address, instances=count,
            status=f"0x{status:04X}", reason=reason,
        )  # fmt: skip
        return _answer(status, reason), None

    def _check(self, event: evt.Event, calling: str, address: str) -> tuple[int, str]:
        request = cast(N_ACTION, event.request)
        if self._access.commitment(calling, address) is None:
            return commitment.NOT_AUTHORIZED, "this AE title may not ask for commitment"
        if request.RequestedSOPInstanceUID != commitment.PUSH_MODEL_INSTANCE:
            return commitment.NO_SUCH_INSTANCE, f"only {commitment.PUSH_MODEL_INSTANCE} can be asked"
        if request.ActionTypeID != commitment.REQUEST_COMMITMENT:
            return commitment.NO_SUCH_ACTION, "only action type 1 is known"
        information = request.ActionInformation
        if isinstance(information, Incoming) and information.failure:
            return commitment.RESOURCE_LIMITATION, information.failure
        return commitment.SUCCESS, ""

    def _reported(self, event: evt.Event) -> tuple[int, None]:
        """Answer an archive's N-EVENT-REPORT. A loop edge, as for requests."""
        calling, address = event.assoc.requestor.ae_title.strip(), event.assoc.requestor.address
        try:
            information = cast(N_EVENT_REPORT, event.request).EventInformation
            if not self._access.may_report(calling, address):
                status = commitment.INVALID_ARGUMENT
            elif isinstance(information, Incoming) and information.failure:
                status = commitment.RESOURCE_LIMITATION
            else:
                status = commitment.answer(event, lambda report: self._on_report(report, calling))
        except Exception as error:
            _log.error("fail_to_keep_report", error=why(error), exc_info=True)
            status = commitment.PROCESSING_FAILURE
        if status != commitment.SUCCESS:
            _log.warning("refuse_report", calling_ae_title=calling, address=address, status=f"0x{status:04X}")
        return status, None


def _idle(association: Association) -> bool:
    provider = cast(StreamingProvider, association.dimse)
    return association.is_established and provider.idle_s >= _IDLE_S


def _primitive(report: Report, context: PresentationContext, message_id: int) -> N_EVENT_REPORT:
    syntax = context.transfer_syntax[0]
    encoded = encode(commitment.report_data_set(report), syntax.is_implicit_VR, syntax.is_little_endian)
    assert encoded is not None
    primitive = N_EVENT_REPORT()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = UID(commitment.PUSH_MODEL)
    primitive.AffectedSOPInstanceUID = UID(commitment.PUSH_MODEL_INSTANCE)
    primitive.EventTypeID = commitment.event_type(report)
    primitive.EventInformation = BytesIO(encoded)
    return primitive


def _answer(status: int, reason: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    if reason:
        answer.ErrorComment = reason[:64]
    return answer
