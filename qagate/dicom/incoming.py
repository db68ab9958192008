"""Streams the data set of a C-STORE request to a temporary file of the spool while it arrives.

Data sets of other requests, such as of storage commitment, stay in memory, up to a limit.

pynetdicom collects a data set in a BytesIO. The one given to it here writes each fragment to disk and
hashes it, so memory stays flat for objects of any size. It never raises: a full disk in the middle of a
message is remembered, the rest is discarded, and the handler answers with a status.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, cast

import structlog
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from qagate.dicom.headers import is_uid
from qagate.dicom.limits import OverLimit, Share
from qagate.dicom.part10 import FileMeta
from qagate.dicom.spool import Spool
from qagate.reason import Reason
from qagate.refusal import OUT_OF_RESOURCES

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from pynetdicom.association import Association
    from pynetdicom.dimse_primitives import DimsePrimitiveType, DimseServiceType
    from pynetdicom.pdu_primitives import P_DATA

_log = structlog.get_logger()
NO_UID = "0.0"  #: stands for a SOP Instance UID that the request lacks; no data set matches it
_C_STORE_RQ = 0x0001
_MOST_IN_MEMORY = 8 << 20  #: bytes; a commitment request of 50,000 instances
_MOST_COMMAND = 1 << 16  #: bytes of a command set; that of a C-STORE has a few hundred
_CHECK_EVERY = 16 << 20  #: bytes between two looks at the free space
_MOST_WAITING = 16  #: requests; each holds a file open until it is answered
_SLOWEST = 1024  #: bytes a second, over the time a message part is waited for


class Incoming(BytesIO):
    """The data set of one message on its way to the disk."""

    def __init__(
        self, spool: Spool, association: Association, message: DIMSEMessage, min_free: int, share: Share
    ) -> None:
        super().__init__()
        self._spool, self._share = spool, share
        self._association = association
        self._message = message
        self._min_free = min_free
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._unchecked = 0
        self.path = spool.temporary()
        self.meta: FileMeta | None = None
        self.size = 0  #: bytes of the encoded data set
        self.failure = ""  #: why nothing more is written
        self.status = OUT_OF_RESOURCES  #: what a C-STORE that failed is answered

    @property
    def sha256(self) -> str:
        """Of the encoded data set, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: ReadableBuffer, /) -> int:
        """Take one fragment (called by pynetdicom in the association's network thread)."""
        length = memoryview(data).nbytes
        self._share.pace(length)
        if self.failure:
            return length
        if self._message.command_set.CommandField != _C_STORE_RQ:
            return self._keep(data, length)
        try:
            file = self._file or self._open()
            self._share.take(length, self.size + length)
            self._check_space(length)
            file.write(data)
        except OverLimit as error:
            self.status = error.status
            self._fail(error)
            return length
        except (OSError, KeyError) as error:
            self._fail(error)
            return length
        self._digest.update(data)
        self.size += length
        return length

    def _keep(self, data: ReadableBuffer, length: int) -> int:
        if self.size + length > _MOST_IN_MEMORY:
            self.failure = f"the request has more than {_MOST_IN_MEMORY >> 20} MB"
            return length
        self.size += length
        return super().write(data)

    def complete(self) -> bool:
        """Flush what was received; False when it could not be written (see `failure`)."""
        if self._file and not self.failure:
            try:
                self._file.close()
            except OSError as error:
                self._fail(error)
        return not self.failure

    def discard(self) -> None:
        """Close and delete the temporary file; without effect on what was placed."""
        if self._file:
            # A full disk shows again when the buffer is flushed; the bytes are not wanted.
            with suppress(OSError):
                self._file.close()
            self.path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        command = self._message.command_set
        if not is_uid(str(command.get("AffectedSOPInstanceUID") or "")):
            # pynetdicom does not answer such a request; with this it reaches the handler.
            command.AffectedSOPInstanceUID = NO_UID
        self._share.begin()
        context = self._association._accepted_cx[cast(int, self._message.context_id)]
        self.meta = FileMeta(
            sop_class_uid=str(command.get("AffectedSOPClassUID") or ""),
            sop_instance_uid=str(command.get("AffectedSOPInstanceUID") or ""),
            transfer_syntax_uid=str(context.transfer_syntax[0]),
            sending_ae_title=self._association.requestor.ae_title.strip(),
            receiving_ae_title=self._association.acceptor.ae_title.strip(),
        )
        self._unchecked = _CHECK_EVERY
        self._file = self.path.open("xb", buffering=1 << 18)
        self._file.write(self.meta.encode())
        return self._file

    def _check_space(self, length: int) -> None:
        self._unchecked += length
        if self._unchecked >= _CHECK_EVERY:
            self._unchecked = 0
            if self._spool.free_bytes() < self._min_free:
                raise OSError("free space is below the watermark")

    def _fail(self, error: Exception) -> None:
        self.failure = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self.discard()


class StreamingProvider(DIMSEServiceProvider):
    """pynetdicom's DIMSE provider, with every data set streamed to the spool.

    `share` is set when the association is admitted, before anything can be sent on it.
    """

    share: Share

    def __init__(self, association: Association, spool: Spool, min_free: int) -> None:
        super().__init__(association)
        self._spool = spool
        self._min_free = min_free
        self._open: set[Incoming] = set()
        self._current: Incoming
        self._sending = threading.Lock()
        self.on_response: Callable[[N_EVENT_REPORT], None] | None = None  #: takes the answers to our reports
        self.trace = secrets.token_hex(4)  #: names the association in log and database
        self._owing = False  #: a request was taken and not yet answered
        self._quiet_since = time.monotonic()
        self._busy = False  #: it is we who keep the peer waiting
        self._window = (time.monotonic(), 0)  #: since when its speed is measured, and the bytes since then

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Process one P-DATA primitive."""
        self._busy, (since, got), began = True, self._window, time.monotonic()
        if self.message is None:
            self.message = DIMSEMessage()
            incoming = Incoming(self._spool, self.assoc, self.message, self._min_free, self.share)
            self.message.data_set = incoming
            self._current = incoming
            self._open.add(incoming)
            since, got = began, 0
        super().receive_primitive(primitive)
        if self.message is not None and self.message.encoded_command_set.tell() > _MOST_COMMAND:
            self._let_go("its command set has no end")
        self._wait_for_handler()
        if self.message is None and self._current.meta is None:
            self._open.discard(self._current)  # a message without a data set
        self._quiet_since = now = time.monotonic()
        got += sum(len(data) for _, data in primitive.presentation_data_value_list)
        self._window, self._busy = (since + now - began, got), False

    def _wait_for_handler(self) -> None:
        """Read on only when few requests wait: a peer may not ask on without an answer (PS3.7 D.3.3.3)."""
        while self.msg_queue.qsize() > _MOST_WAITING and not self.assoc._kill:
            time.sleep(0.01)

    def get_msg(self, block: bool = False) -> tuple[int, DimseServiceType] | tuple[None, None]:
        """Take the next request; an answer to a report of ours goes to `on_response`."""
        context_id, message = super().get_msg(block)
        if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo is not None:
            if self.on_response is not None:
                self.on_response(message)
            return None, None
        self._owing = self._owing or message is not None
        if message is None:
            self._judge()
        return context_id, message  # type: ignore[return-value]

    def _judge(self) -> None:
        """Let go of a peer that stops, or trickles, in the middle of a message."""
        since, got = self._window
        if self.message is None or self._busy:
            return
        took_s = time.monotonic() - since
        if took_s < (self.assoc.dimse_timeout or float("inf")):
            return
        if got < _SLOWEST * took_s:
            self._let_go(f"it sent {got} bytes of a message in {took_s:.0f} s")
        self._window = (time.monotonic(), 0)

    def _let_go(self, reason: str) -> None:
        if self.assoc.is_established:
            requestor = self.assoc.requestor
            _log.warning(
                "abort_association",
                calling_ae_title=requestor.ae_title.strip(), address=requestor.address, reason=Reason(reason),
            )  # fmt: skip
            self.assoc.abort(block=False)

    def send_msg(self, primitive: DimsePrimitiveType, context_id: int) -> None:
        """Send a message whole: our reports come from other threads than our answers (PS3.8 annex E)."""
        with self._sending:
            super().send_msg(primitive, context_id)
        if primitive.MessageIDBeingRespondedTo is not None:
            self._owing, self._quiet_since = False, time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last message; 0 while the peer sends one or waits for an answer."""
        if self._owing or self.message is not None or not self.msg_queue.empty():
            return 0.0
        return time.monotonic() - self._quiet_since

    def done(self, incoming: Incoming) -> None:
        """Forget a message that was answered; its temporary file is deleted unless it was placed."""
        self._open.discard(incoming)
        incoming.discard()

    def close(self) -> None:
        """Delete what an association that ended half-way left behind."""
        for incoming in tuple(self._open):
            self.done(incoming)
