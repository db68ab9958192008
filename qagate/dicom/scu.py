"""The storage SCU: C-ECHO and C-STORE to an archive.

A file is sent as the bytes it holds. Only when the archive does not take its transfer syntax and the data
set is not compressed is it written anew as Implicit VR Little Endian, which every archive takes (PS3.5
section 10.1). Pixels are never decoded.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, cast

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket

from qagate.dicom import network
from qagate.dicom.part10 import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    FileMeta,
    Part10Error,
    read_file_meta,
)
from qagate.dicom.tls import Tls, TlsError, why_refused

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import DimseServiceType

_log = structlog.get_logger()
_MAX_CONTEXTS = 128  #: PS3.8 9.3.2.2: odd identifiers up to 255
_CONVERTIBLE = frozenset({ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian})
_TRANSIENT = frozenset({0x0110, 0x0210, 0x0213})  #: processing failure, duplicate invocation, resources
_DUPLICATE = 0x0111  #: the archive has this SOP instance
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


class _Answers(DIMSEServiceProvider):
    """Leaves every answer to the call that waits for it.

    pynetdicom's own thread of the association looks for requests of the peer without waiting. Interrupted at
    the wrong moment it does so while a call waits, takes its answer and drops it. Nobody sends us requests.
    """

    def get_msg(self, block: bool = False) -> tuple[int, DimseServiceType] | tuple[None, None]:
        """Wait for an answer; without waiting there is none."""
        return super().get_msg(block) if block else (None, None)


class DeliveryError(RuntimeError):
    """The archive could not be reached or would not talk; the message names it and the mend."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient  #: worth another try without anyone mending something


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One receiving application entity."""

    name: str  #: used in messages and logs
    ae_title: str
    host: str
    port: int
    calling_ae_title: str = "QAGATE"
    connect_timeout_s: float = 10.0
    timeout_s: float = 30.0  #: wait for each of its answers
    tls: Tls | None = None  #: None: plain text

    def __str__(self) -> str:
        return f"{self.name} ({self.ae_title} at {self.host}:{self.port})"


class Delivery(Enum):
    """What became of one file."""

    DELIVERED = "DELIVERED"  #: the archive has it
    RETRY = "RETRY"  #: not now; the same file may be taken later
    REJECTED = "REJECTED"  #: the archive will not take it until someone mends something


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """The archive's answer for one file."""

    path: Path
    sop_instance_uid: str  #: "" when the file could not be read
    status: int | None  #: of the C-STORE response; None when there was none
    delivery: Delivery
    message: str = ""  #: why not, or the archive's warning


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    meta: FileMeta

    @property
    def contexts(self) -> tuple[tuple[str, str], ...]:
        """The (abstract syntax, transfer syntax) pairs to propose for it."""
        own = (self.meta.sop_class_uid, self.meta.transfer_syntax_uid)
        plain = (self.meta.sop_class_uid, str(ImplicitVRLittleEndian))
        return (own, plain) if own[1] in _CONVERTIBLE else (own,)


def echo(archive: Archive) -> None:
    """Verify that the archive answers a C-ECHO. Raises DeliveryError."""
    association = _associate(archive, [build_context(Verification)])
    status = association.send_c_echo()
    answered = status.get("Status")
    association.release()
    if answered is None:
        raise DeliveryError(f"{archive} did not answer a C-ECHO in {archive.timeout_s:g} s", transient=True)
    if answered != 0x0000:
        raise DeliveryError(f"{archive} answered a C-ECHO with 0x{answered:04X}", transient=False)


def store(archive: Archive, paths: Iterable[Path]) -> Iterator[StoreResult]:
    """Send files; yield one result for each, in order of sending.

    Files that need more than 128 presentation contexts together go over several associations. When an
    association breaks, its remaining files are RETRY.

    Raises
    ------
    DeliveryError
        When an association cannot be opened. The files not yielded by then were not sent.
    """
    files: list[_File] = []
    for path in paths:
        try:
            files.append(_open(path))
        except (Part10Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            yield StoreResult(
                path=path, sop_instance_uid="", status=None, delivery=Delivery.REJECTED, message=reason
            )
    for group in _groups(files):
        yield from _send(archive, group)


def _open(path: Path) -> _File:
    with path.open("rb") as file:
        meta = read_file_meta(file)
    if not meta.sop_class_uid or not meta.sop_instance_uid:
        raise Part10Error("the file meta information names no SOP class or instance (0002,0002), (0002,0003)")
    return _File(path, meta)


def _groups(files: Sequence[_File]) -> Iterator[list[_File]]:
    """Split files so that each group needs at most 128 contexts, keeping their order."""
    group: list[_File] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        needed = contexts.union(file.contexts)
        if len(needed) > _MAX_CONTEXTS:
            yield group
            group, needed = [], set(file.contexts)
        group.append(file)
        contexts = needed
    if group:
        yield group


def _send(archive: Archive, files: Sequence[_File]) -> Iterator[StoreResult]:
    pairs = dict.fromkeys(pair for file in files for pair in file.contexts)
    contexts = [build_context(abstract, transfer) for abstract, transfer in pairs]
    association = _associate(archive, contexts)
    taken = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    broken = False
    try:
        for number, file in enumerate(files):
            if broken:
                yield _result(file, None, Delivery.RETRY, f"{archive} ended the association")
                continue
            result = _send_one(archive, association, file, taken, number % 65535 + 1)
            # pynetdicom notes the end of an association later than it returns from a request.
            broken = result.delivery is Delivery.RETRY and result.status is None
            yield result
    finally:
        if association.is_established and not broken:
            association.release()
        elif association.is_established:
            association.abort()


def _send_one(
    archive: Archive, association: Association, file: _File, taken: set[tuple[str, str]], message_id: int
) -> StoreResult:
    pair = next((pair for pair in file.contexts if pair in taken), None)
    if pair is None:
        syntax = UID(file.meta.transfer_syntax_uid).name
        kind = UID(file.meta.sop_class_uid).name
        message = f"{archive} does not take {kind} in {syntax}: enable it in the archive's configuration"
        return _result(file, None, Delivery.REJECTED, message)
    unchanged = pair[1] == file.meta.transfer_syntax_uid
    try:
        source = file.path if unchanged else _rewritten(file.path)
        answer = association.send_c_store(source, msg_id=message_id)
    except OSError as error:
        return _result(file, None, Delivery.REJECTED, error.strerror or "the file cannot be read")
    except (ValueError, AttributeError, RuntimeError) as error:
        if not association.is_established:
            return _result(file, None, Delivery.RETRY, f"{archive} ended the association")
        return _result(file, None, Delivery.REJECTED, f"it cannot be sent ({type(error).__name__})")
    return _judge(archive, file, answer)


def _rewritten(path: Path) -> Dataset:
    data_set = dcmread(path)
    # pynetdicom encodes it in the accepted context; what it starts from must not be deflated.
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data_set


def _judge(archive: Archive, file: _File, answer: Dataset) -> StoreResult:
    """Tell what a C-STORE response means (PS3.4 B.2.3, PS3.7 annex C)."""
    status: int | None = answer.get("Status")
    if status is None:
        message = f"{archive} ended the association or did not answer in {archive.timeout_s:g} s"
        return _result(file, None, Delivery.RETRY, message)
    if status == 0x0000:
        return _result(file, status, Delivery.DELIVERED, "")
    told = str(answer.get("ErrorComment") or "")
    message = f"{archive} answered 0x{status:04X}" + (f": {told}" if told else "")
    if status in _WARNINGS or 0xB000 <= status <= 0xBFFF or status == _DUPLICATE:
        _log.info(
            "note_warning", archive=archive.name, status=status, sop_instance_uid=file.meta.sop_instance_uid
        )
        return _result(file, status, Delivery.DELIVERED, message)
    if status in _TRANSIENT or 0xA700 <= status <= 0xA7FF:
        return _result(file, status, Delivery.RETRY, message)
    return _result(file, status, Delivery.REJECTED, message)


def _result(file: _File, status: int | None, delivery: Delivery, message: str) -> StoreResult:
    return StoreResult(
        path=file.path,
        sop_instance_uid=file.meta.sop_instance_uid,
        status=status,
        delivery=delivery,
        message=message,
    )


def _associate(archive: Archive, contexts: list[PresentationContext]) -> Association:
    network.configure()
    ae = AE(archive.calling_ae_title)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = archive.connect_timeout_s
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = archive.timeout_s
    try:
        association = ae.associate(
            archive.host,
            archive.port,
            contexts=contexts,
            ae_title=archive.ae_title,
            tls_args=None if archive.tls is None else (archive.tls.context(), archive.host),
            evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
        )
    except TlsError as error:
        raise DeliveryError(f"{archive.name}: {error}", transient=False) from error
    except OSError as error:
        raise _unreachable(archive, error) from error
    if not association.is_established:
        raise _refused(archive, association)
    # pynetdicom makes its provider itself and offers no other way to choose the class.
    association.dimse.__class__ = _Answers
    return association


def _no_delay(event: evt.Event) -> None:
    connection = cast(AssociationSocket, event.assoc.dul.socket).socket
    cast(socket.socket, connection).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _refused(archive: Archive, association: Association) -> DeliveryError:
    """Say why an association was not established."""
    answer = association.acceptor.primitive
    if association.is_rejected and isinstance(answer, A_ASSOCIATE):
        mend = {
            (1, 3): f"add the calling AE title {archive.calling_ae_title} to its list of peers",
            (1, 7): f"its AE title is not {archive.ae_title}: correct ae_title",
            (3, 2): "it has too many associations open",
        }.get((answer.result_source or 0, answer.diagnostic or 0), "look into its log")
        return DeliveryError(
            f"{archive} rejected the association ({answer.reason_str}): {mend}", transient=answer.result == 2
        )
    if isinstance(answer, A_ASSOCIATE) and answer.result == 0:
        wanted = {UID(str(cx.abstract_syntax)).name for cx in association.requestor.requested_contexts}
        return DeliveryError(
            f"{archive} takes none of {', '.join(sorted(wanted))}: enable them in its configuration",
            transient=False,
        )
    # pynetdicom keeps no reason of a failed connection: ask the network once more.
    try:
        with socket.create_connection((archive.host, archive.port), archive.connect_timeout_s) as plain:
            if archive.tls is not None:
                archive.tls.context().wrap_socket(plain, server_hostname=archive.host).close()
    except ssl.SSLError as error:
        return _distrusted(archive, error)
    except OSError as error:
        return _unreachable(archive, error)
    asks = "does it ask for another certificate?" if archive.tls else "is it a DICOM port, without TLS?"
    return DeliveryError(
        f"{archive} took the connection but did not answer the association request in"
        f" {archive.timeout_s:g} s: {asks}",
        transient=True,
    )


def _distrusted(archive: Archive, error: ssl.SSLError) -> DeliveryError:
    mend = "is it a TLS port?"
    if isinstance(error, ssl.SSLCertVerificationError):
        mend = {
            10: "renew the archive's certificate",
            62: "correct host, or set tls_check_host = false",
            64: "correct host, or set tls_check_host = false",
        }.get(error.verify_code, "name who signed its certificate in tls_issuers")
    return DeliveryError(f"no TLS with {archive} ({why_refused(error)}): {mend}", transient=True)


def _unreachable(archive: Archive, error: OSError) -> DeliveryError:
    where = f"{archive.host}:{archive.port}"
    if isinstance(error, ConnectionRefusedError):
        text = f"connection refused by {where}: is the archive {archive.name} running, and on this port?"
    elif isinstance(error, socket.gaierror):
        text = f"the host name {archive.host} of archive {archive.name} is unknown: correct host, or DNS"
    elif isinstance(error, TimeoutError):
        waited = f"{archive.connect_timeout_s:g} s"
        text = f"no answer from {where} in {waited}: is the archive {archive.name} behind a firewall?"
    else:
        text = f"no connection to archive {archive.name} at {where}: {error.strerror or 'network error'}"
    return DeliveryError(text, transient=True)
