"""Decides on association requests: who gets in, with which contexts, within which limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import structlog
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from qagate.dicom import network
from qagate.dicom.access import Access, Rejection
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.limits import Accounts, Bucket, Share
from qagate.dicom.spool import Spool
from qagate.reason import Reason, why
from qagate.refusal import SOP_CLASS_NOT_SUPPORTED, Refusal

_log = structlog.get_logger()
_NOTED_A_MINUTE = 60  #: rejections reported; all are logged, and a flood of them does not reach the database


class Admission:
    """Runs in the threads of the associations, several at a time."""

    def __init__(
        self,
        *,
        access: Access,
        accounts: Accounts,
        spool: Spool,
        min_free_bytes: int,
        commitment: CommitmentSCP | None,
        private_transfer_syntaxes: frozenset[str],
        on_refused: Callable[[Refusal], None],
    ) -> None:
        self._access, self._accounts, self._spool = access, accounts, spool
        self._min_free_bytes, self._commitment = min_free_bytes, commitment
        self._private_transfer_syntaxes, self._on_refused = private_transfer_syntaxes, on_refused
        self._noted = Bucket(_NOTED_A_MINUTE)

    def decide(self, association: Association) -> Share | None:
        """Reject a requested association and return None; else give it its contexts and its share."""
        request = cast(A_ASSOCIATE, association.requestor.primitive)
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        address = association.requestor.address
        found = self._found(calling, called, address)
        if isinstance(found, Share):
            self._give_contexts(association, request, calling, address)
            return found
        _log.warning(
            "reject_association",
            reason=Reason(found.name),
            calling_ae_title=calling,
            called_ae_title=called,
            address=address,
        )
        self.note(found.code, f"association rejected: {found.words}", address, calling)
        association.acse.send_reject(*found.value)
        association.kill()
        return None

    def note(self, status: int, reason: str, address: str, calling_ae_title: str = "") -> None:
        """Report that an association or a connection was turned away."""
        if self._noted.take(1) == 0:
            self._report(status, reason, address, calling_ae_title)

    def _found(self, calling: str, called: str, address: str) -> Rejection | Share:
        rejection = self._access.check(calling, called, address)
        if rejection is not None:
            return rejection
        if self._spool.free_bytes() < self._min_free_bytes:
            return Rejection.SPACE  # what is open goes on, and its C-STOREs are answered 0xA700
        peer, limits = self._access.peer(calling, address)
        may_store = self._access.may_store(calling, address)
        return self._accounts.admit(peer, limits, may_store=may_store) or Rejection.LIMIT

    def _give_contexts(
        self, association: Association, request: A_ASSOCIATE, calling: str, address: str
    ) -> None:
        contexts, refused = network.acceptable_contexts(
            request.presentation_context_definition_list,
            self._private_transfer_syntaxes,
            self._commitment.contexts(calling, address) if self._commitment else (),
            echo=self._access.may_echo(calling, address),
        )
        association.acceptor.supported_contexts = contexts
        taken = {str(context.abstract_syntax) for context in contexts}
        for abstract_syntax, transfer_syntaxes in refused:
            _log.warning(
                "refuse_context",
                calling_ae_title=calling,
                abstract_syntax=abstract_syntax,
                transfer_syntaxes=transfer_syntaxes,
            )
            # A SOP class that the sender can send nothing of: no C-STORE will ever tell.
            if abstract_syntax not in taken and network.is_storage_class(abstract_syntax):
                reason = f"transfer syntax {', '.join(transfer_syntaxes)} is not taken"
                self._report(SOP_CLASS_NOT_SUPPORTED, reason, address, calling, abstract_syntax)
            elif abstract_syntax == Verification and abstract_syntax not in taken:
                reason = "this AE title may not verify (C-ECHO)"
                self._report(SOP_CLASS_NOT_SUPPORTED, reason, address, calling, abstract_syntax)

    def _report(
        self, status: int, reason: str, address: str, calling_ae_title: str, sop_class_uid: str = ""
    ) -> None:
        refusal = Refusal(
            status=status,
            reason=reason,
            sop_class_uid=sop_class_uid,
            sop_instance_uid="",
            calling_ae_title=calling_ae_title,
            address=address,
            refused_at=datetime.now(UTC),
        )
        try:
            self._on_refused(refusal)
        except Exception as error:  # a loop edge: the association goes on
            _log.error("fail_to_report_refusal", error=why(error), exc_info=True)
