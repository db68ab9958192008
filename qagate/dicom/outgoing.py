"""Opens associations to archives and peers, and says in words why one cannot be opened."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from qagate.dicom import network
from qagate.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from qagate.dicom.tls import Tls, TlsError, why_refused

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import DimseServiceType


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
    kind: str = "archive"  #: what messages call it

    def __str__(self) -> str:
        return f"{self.name} ({self.ae_title} at {self.host}:{self.port})"


def associate(
    archive: Archive,
    contexts: list[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[evt.EventHandlerType] = (),
) -> Association:
    """Open an association. Raises DeliveryError.

    roles: what the gate wants to be, where it is not the usual SCU (PS3.7 D.3.3.4).
    """
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
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay), *handlers],
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
            9: f"set the clocks of this machine and of the {archive.kind} right",
            10: f"renew the {archive.kind}'s certificate",
            62: "correct host, or set tls_check_host = false",
            64: "correct host, or set tls_check_host = false",
        }.get(error.verify_code, "name who signed its certificate in tls_issuers")
    return DeliveryError(f"no TLS with {archive} ({why_refused(error)}): {mend}", transient=True)


def _unreachable(archive: Archive, error: OSError) -> DeliveryError:
    where, named = f"{archive.host}:{archive.port}", f"{archive.kind} {archive.name}"
    if isinstance(error, ConnectionRefusedError):
        text = f"connection refused by {where}: is the {named} running, and on this port?"
    elif isinstance(error, socket.gaierror):
        text = f"the host name {archive.host} of {named} is unknown: correct host, or DNS"
    elif isinstance(error, TimeoutError):
        waited = f"{archive.connect_timeout_s:g} s"
        text = f"no answer from {where} in {waited}: is the {named} behind a firewall?"
    else:
        text = f"no connection to {named} at {where}: {error.strerror or 'network error'}"
    return DeliveryError(text, transient=True)
