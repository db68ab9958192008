"""Tells senders which of their instances are safe: transactions are kept, judged and reported.

Success is said of nothing that is not true: a sender may delete its images on the gate's word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

import structlog

from qagate.commitment import Basis, Failed, Failure, Reference, Report, Request
from qagate.dicom import commitment as wire
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.outgoing import Archive, DeliveryError
from qagate.dicom.part10 import Part10Error, hash_data_set
from qagate.dicom.spool import Spool
from qagate.reason import Reason, why
from qagate.receiver import Indexer
from qagate.store.commitments import Commitments, Holding, Transaction
from qagate.store.engine import Store
from qagate.store.outbox import RetryPolicy

log = structlog.get_logger(__name__)

_ANSWER_S = 30.0  #: a report not acknowledged by then is sent again
_RECORD_S = 10.0  #: what was received before a request is recorded by then, or the request is refused
_STAY_S = 3.0  #: a sender that stays on its association for so long wants the report there
_STORE_AWAY_S = 2.0
_DRAIN_S = 5.0


def keeper(commitments: Commitments, indexer: Indexer) -> Callable[[Request, str, Basis], None]:
    """What keeps a request, after everything that was received before it."""

    def keep(request: Request, ae_title: str, basis: Basis) -> None:
        if not indexer.settled(_RECORD_S):
            raise TimeoutError(f"the database did not record what was received within {_RECORD_S:g} s")
        commitments.keep(request, ae_title, basis)

    return keep


class Judge:
    """Tells what is safe."""

    def __init__(
        self,
        *,
        store: Store,
        commitments: Commitments,
        spool: Spool,
        archives: Collection[str],
        wait_s: float,
    ) -> None:
        """archives: names of all that must hold an image. wait_s: how long one may take to get there."""
        self._store, self._commitments, self._spool = store, commitments, spool
        self._archives, self._wait_s = frozenset(archives), wait_s

    def report(self, transaction: Transaction) -> Report | None:
        """What to say of a transaction; None while instances are still on their way."""
        references = transaction.request.references
        holdings = self._commitments.holdings([one.sop_instance_uid for one in references], self._archives)
        late = self.age_s(transaction) >= self._wait_s
        committed, failed = [], []
        for reference in references:
            holding = holdings.get(reference.sop_instance_uid)
            reason = self._failure(reference, holding)
            if reason is None and holding is not None:
                safe = self._safe(transaction.basis, holding)
                if safe is None and not late:
                    return None
                reason = None if safe else Failure.PROCESSING_FAILURE
            if reason is None:
                committed.append(reference)
            else:
                failed.append(Failed(reference=reference, reason=reason))
        return Report(
            transaction_uid=transaction.request.transaction_uid,
            committed=tuple(committed),
            failed=tuple(failed),
        )

    def age_s(self, transaction: Transaction) -> float:
        """Seconds since it was asked."""
        return (self._store.now() - transaction.asked_at).total_seconds()

    def _failure(self, reference: Reference, holding: Holding | None) -> Failure | None:
        if holding is None:
            return Failure.NO_SUCH_INSTANCE
        if holding.sop_class_uid != reference.sop_class_uid:
            return Failure.CLASS_INSTANCE_CONFLICT
        # Which of them the sender means cannot be told.
        return Failure.PROCESSING_FAILURE if holding.ambiguous else None

    def _safe(self, basis: Basis, holding: Holding) -> bool | None:
        """True: safe; False: never will be; None: not yet."""
        if basis is Basis.SPOOL:
            return self._intact(holding)
        return True if self._archives and self._archives <= holding.archives else None

    def _intact(self, holding: Holding) -> bool:
        try:
            return hash_data_set(self._spool.absolute(holding.path))[0] == holding.sha256
        except (OSError, Part10Error) as error:
            log.error("spool_damaged", path=holding.path, error=why(error))
            return False


class CommitmentReporter:
    """Reports to senders until told to stop: one thread each that has an address, one for all others."""

    def __init__(
        self,
        *,
        commitments: Commitments,
        judge: Judge,
        scp: CommitmentSCP,
        peers: Mapping[str, Archive],
        policy: RetryPolicy,
        poll_s: float = 0.5,
    ) -> None:
        """peers: AE title -> where an association can be opened to report."""
        self._commitments, self._judge, self._scp = commitments, judge, scp
        self._peers, self._policy, self._poll_s = peers, policy, poll_s

    def run(self, stop: threading.Event) -> None:
        """Report until `stop`."""
        threads = [
            threading.Thread(target=self._loop, args=(_only(title), stop), daemon=True)
            for title in self._peers
        ]
        for thread in threads:
            thread.start()
        # Nothing can be told to the others but on an association of theirs.
        self._loop(lambda: self._scp.partners() - self._peers.keys(), stop)
        for thread in threads:
            thread.join(_DRAIN_S)

    def _loop(self, titles: Callable[[], frozenset[str]], stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                for transaction in self._commitments.due(titles()):
                    if stop.is_set():
                        return
                    self._handle(transaction)
            except Exception as error:  # loop edge: a store that is away comes back
                log.error("commitment_report_failed", error=why(error))
                stop.wait(_STORE_AWAY_S)
            stop.wait(self._poll_s)

    def _handle(self, transaction: Transaction) -> None:
        report = self._judge.report(transaction)
        if report is None:
            # Looked at often while young, rarely when it has waited for long.
            self._commitments.postpone(transaction, min(60.0, 0.5 + self._judge.age_s(transaction) / 10))
            return
        # Before it is sent, so that the answer finds what it answers.
        self._commitments.postpone(transaction, _ANSWER_S)
        if self._scp.report(
            transaction.ae_title, report, lambda status: self._note(transaction, report, status)
        ):
            return
        peer = self._peers.get(transaction.ae_title)
        staying = self._judge.age_s(transaction) < _STAY_S and self._scp.present(transaction.ae_title)
        if peer is None or staying:
            self._commitments.postpone(transaction, self._poll_s)
            return
        try:
            self._note(transaction, report, wire.tell(peer, report))
        except DeliveryError as error:
            self._retry(transaction, why(error))

    def _note(self, transaction: Transaction, report: Report, status: int) -> None:
        if status != wire.SUCCESS:
            self._retry(
                transaction, Reason(f"{transaction.ae_title} answered its report with 0x{status:04X}")
            )
            return
        self._commitments.mark_reported(transaction, report)
        log.info(
            "commitment_reported",
            ae_title=transaction.ae_title,
            transaction_uid=report.transaction_uid,
            committed=len(report.committed),
            failed=len(report.failed),
        )

    def _retry(self, transaction: Transaction, reason: Reason) -> None:
        self._commitments.mark_retry(transaction, reason, self._policy)
        log.warning("commitment_not_reported", ae_title=transaction.ae_title, reason=reason)


def _only(title: str) -> Callable[[], frozenset[str]]:
    return lambda: frozenset({title})
