"""Storage commitment's other ends, made with pynetdicom: a sender that asks, an archive that is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association

from qagate.dicom.tls import Tls

PUSH_MODEL = "1.2.840.10008.1.20.1"
WELL_KNOWN = "1.2.840.10008.1.20.1.1"
SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}

Pairs = Iterable[tuple[str, str]]


def action(pairs: Pairs, transaction: str) -> Dataset:
    """The Action Information of a request for (SOP class, SOP instance) pairs."""
    data_set = Dataset()
    data_set.TransactionUID = transaction
    data_set.ReferencedSOPSequence = [_item(*pair) for pair in pairs]
    return data_set


def _item(sop_class: str, sop_instance: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    if reason is not None:
        item.FailureReason = reason
    return item


@dataclass(frozen=True)
class Told:
    """One report."""

    event_type: int
    transaction: str
    committed: frozenset[str]
    failed: dict[str, int]
    same: bool  #: it came on the association that asked


def _told(event: evt.Event, same: bool) -> Told:
    data_set = event.event_information
    return Told(
        event_type=event.event_type,
        transaction=str(data_set.TransactionUID),
        committed=frozenset(
            str(item.ReferencedSOPInstanceUID) for item in data_set.get("ReferencedSOPSequence", [])
        ),
        failed={
            str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
            for item in data_set.get("FailedSOPSequence", [])
        },
        same=same,
    )


class Modality:
    """A sender that asks for commitment, and listens for reports."""

    def __init__(self, ae_title: str = "CT1", *, answers: Iterable[int] = (), tls: Tls | None = None) -> None:
        self.told: list[Told] = []
        self._answers = list(answers)
        self._ae = AE(ae_title)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = 20
        self._ae.add_supported_context(PUSH_MODEL, [ImplicitVRLittleEndian], scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._note, [False])]
        self._server = self._ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls.context() if tls else None
        )
        self.port: int = self._server.server_address[1]

    def _note(self, event: evt.Event, same: bool) -> tuple[int, None]:
        self.told.append(_told(event, same))
        return (self._answers.pop(0) if self._answers else 0x0000), None

    @contextmanager
    def association(
        self, port: int, syntax: str = "explicit", *, storage: bool = False
    ) -> Iterator[Association]:
        """An association that proposes commitment, and takes reports."""
        contexts = [build_context(PUSH_MODEL, SYNTAXES[syntax])]
        if storage:
            contexts.append(build_context(CTImageStorage, ExplicitVRLittleEndian))
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._note, [True])]
        link = self._ae.associate(
            "127.0.0.1", port, contexts=contexts, ae_title="QAGATE", evt_handlers=handlers
        )
        try:
            yield link
        finally:
            if link.is_established:
                link.release()

    def ask(self, link: Association, pairs: Pairs, transaction: str | None = None) -> tuple[int, str]:
        """Send an N-ACTION; its status and the transaction UID."""
        transaction = transaction or generate_uid()
        status, _ = link.send_n_action(action(pairs, transaction), 1, PUSH_MODEL, WELL_KNOWN)
        return int(status.Status), transaction

    def close(self) -> None:
        self._server.shutdown()


class CommittingArchive:
    """A storage SCP that commits as it is told: `decide` gets the UIDs asked for and returns the failed ones.

    where: "same", "new" (to the gate's port) or "never".
    """

    def __init__(
        self,
        *,
        gate_port: int = 0,
        where: str = "new",
        decide: Callable[[frozenset[str]], dict[str, int]] = lambda uids: {},
        answer: int = 0x0000,
        before_answer: bool = False,
        commits: bool = True,
    ) -> None:
        self.stored: list[str] = []
        self.asked: list[frozenset[str]] = []
        self.transactions: list[str] = []
        self.answers: list[int] = []
        self.gate_port, self.where, self.decide, self.answer = gate_port, where, decide, answer
        self._before = before_answer
        self._ae = AE("PACS")
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = 20
        self._ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        if commits:
            self._ae.add_supported_context(PUSH_MODEL, list(SYNTAXES.values()))
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        self._server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port: int = self._server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _action(self, event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        pairs = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.ReferencedSOPSequence
        ]
        self.asked.append(frozenset(uid for _, uid in pairs))
        self.transactions.append(str(information.TransactionUID))
        if self.answer == 0x0000 and self.where != "never":
            arguments = (str(information.TransactionUID), pairs)
            target, link = (self.report, None) if self.where == "new" else (self._report_on, event.assoc)
            thread = threading.Thread(target=target, args=(*arguments, *([link] if link else [])))
            thread.start()
            if self._before:
                thread.join()
        return self.answer, None

    def report(self, transaction: str, pairs: Pairs, calling: str = "PACS") -> None:
        """Report on a new association to the gate, as SCP by role selection."""
        ae = AE(calling)
        ae.acse_timeout = ae.dimse_timeout = 20
        ae.add_requested_context(PUSH_MODEL, ImplicitVRLittleEndian)
        role = build_role(PUSH_MODEL, scu_role=False, scp_role=True)
        link = ae.associate("127.0.0.1", self.gate_port, ae_title="QAGATE", ext_neg=[role])
        if not link.is_established:
            self.answers.append(-1)
            return
        self._report_on(transaction, pairs, link)
        link.release()

    def _report_on(self, transaction: str, pairs: Pairs, link: Association) -> None:
        pairs = list(pairs)
        failed = self.decide(frozenset(uid for _, uid in pairs))
        data_set = Dataset()
        data_set.TransactionUID = transaction
        good = [_item(*pair) for pair in pairs if pair[1] not in failed]
        bad = [_item(one, uid, failed[uid]) for one, uid in pairs if uid in failed]
        if good:
            data_set.ReferencedSOPSequence = good
        if bad:
            data_set.FailedSOPSequence = bad
        status, _ = link.send_n_event_report(data_set, 2 if bad else 1, PUSH_MODEL, WELL_KNOWN)
        self.answers.append(int(status.get("Status", -2)))

    def close(self) -> None:
        self._server.shutdown()
