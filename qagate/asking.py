"""Deliveries to archives that commit: what is stored there counts as sent when the archive says it is safe.

A delivery is stored, the archive is asked to commit to it, and the row waits in the outbox until the report
comes, on the same association or on one that the archive opens to the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from pydicom.uid import generate_uid

from qagate.commitment import Reference, Report, Request
from qagate.delivery import ArchiveChannel, Sender, SendError
from qagate.dicom import commitment as wire
from qagate.dicom import scu
from qagate.dicom.part10 import Part10Error, read_file_meta
from qagate.reason import why
from qagate.store.asked import Asked
from qagate.store.outbox import Delivery, Outbox, RetryPolicy
from qagate.store.transitions import DeliveryState

log = structlog.get_logger(__name__)


class CommittedSender(Sender):
    """Sends to one archive and asks it to commit."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        asked: Asked,
        channel: ArchiveChannel,
        policy: RetryPolicy,
        lease_s: float,
        poll_s: float,
        wait_s: float,
        linger_s: float,
    ) -> None:
        """wait_s: until a request without a report is made again; linger_s: see `commitment.ask`."""
        super().__init__(outbox=outbox, channel=channel, policy=policy, lease_s=lease_s, poll_s=poll_s)
        self._asked, self._archive_channel = asked, channel
        self._wait_s, self._linger_s = wait_s, linger_s

    def _send(self, delivery: Delivery) -> None:
        channel = self._archive_channel
        paths = {path: _reference(path) for path in channel.paths(delivery.kind, delivery.payload)}
        progress = self._asked.progress(delivery.delivery_id)
        stored = progress.committed | progress.waiting
        channel.store([path for path, one in paths.items() if one.sop_instance_uid not in stored])
        wanted = tuple(one for one in paths.values() if one.sop_instance_uid not in progress.committed)
        if wanted:
            self._ask(delivery, Request(transaction_uid=generate_uid(prefix=None), references=wanted))

    def _ask(self, delivery: Delivery, request: Request) -> None:
        archive = self._archive_channel.archive
        # Kept first: the report may come before the answer. A request that the archive did not take stays as
        # well: it says what was stored, so that the next try only asks.
        self._asked.ask(delivery.delivery_id, request)
        settle = settler(self._asked, {archive.ae_title: frozenset({archive.name})}, self._policy)
        try:
            wire.ask(
                archive,
                request,
                lambda report: settle(report, archive.ae_title),
                linger_s=self._linger_s,
                settled=lambda: self._asked.progress(delivery.delivery_id).done,
            )
        except scu.DeliveryError as error:
            raise SendError(str(error)) from error

    def _acknowledge(self, delivery: Delivery, about: Mapping[str, object]) -> None:
        progress = self._asked.progress(delivery.delivery_id)
        if progress.done:
            super()._acknowledge(delivery, about)
            return
        state = self._asked.wait(delivery, self._wait_s, self._policy)
        note = log.warning if state is DeliveryState.DEAD else log.info
        note("awaits_commitment", **about, state=state.value if state else "lost")


def settler(
    asked: Asked, archives: Mapping[str, frozenset[str]], policy: RetryPolicy
) -> Callable[[Report, str], None]:
    """What takes the reports of archives. archives: AE title -> names of the archives that use it."""

    def settle(report: Report, ae_title: str) -> None:
        asked.settle(report, archives.get(ae_title, frozenset()), policy)
        log.info(
            "commitment_received",
            ae_title=ae_title,
            transaction_uid=report.transaction_uid,
            committed=len(report.committed),
            failed=len(report.failed),
            reasons=sorted({f"0x{one.reason:04X}" for one in report.failed}),
        )

    return settle


def _reference(path: Path) -> Reference:
    try:
        with path.open("rb") as file:
            meta = read_file_meta(file)
    except (OSError, Part10Error) as error:
        raise SendError(f"{path.name} cannot be read: {why(error)}", transient=False) from error
    return Reference(sop_class_uid=meta.sop_class_uid, sop_instance_uid=meta.sop_instance_uid)
