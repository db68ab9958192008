"""Settings become the parts of storage commitment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from qagate import parts
from qagate.asking import settler
from qagate.commitment import Report
from qagate.committing import CommitmentReporter, Judge
from qagate.config import Settings
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.outgoing import Archive
from qagate.dicom.spool import Spool
from qagate.dicom.tls import Credentials, Tls
from qagate.parts_hold import image_archives
from qagate.store.asked import Asked
from qagate.store.commitments import Commitments
from qagate.store.engine import Store


def peers(settings: Settings) -> dict[str, Archive]:
    """AE title -> where its commitment reports go, of the peers that have an address."""
    of = settings.receiver
    issued = Credentials(certificate=of.tls_certificate, key=of.tls_key, issuers=of.tls_issuers)
    return {
        peer.ae_title: Archive(
            name=peer.ae_title,
            ae_title=peer.ae_title,
            host=peer.report_host,
            port=peer.report_port,
            calling_ae_title=of.ae_title,
            tls=Tls(issued, server=False, check_host=peer.report_tls_check_host) if peer.report_tls else None,
            kind="peer",
        )
        for peer in settings.peer
        if peer.report_host is not None
    }


def reporter(settings: Settings, store: Store, spool: Spool, scp: CommitmentSCP) -> CommitmentReporter:
    """What tells senders which of their instances are safe."""
    commitments = Commitments(store)
    judge = Judge(
        store=store,
        commitments=commitments,
        spool=spool,
        archives=image_archives(settings),
        wait_s=settings.receiver.commitment_wait_s,
    )
    return CommitmentReporter(
        commitments=commitments,
        judge=judge,
        scp=scp,
        peers=peers(settings),
        policy=parts.retry_policy(settings),
    )


def settle(settings: Settings, asked: Asked) -> Callable[[Report, str], None]:
    """What takes the commitment reports of archives."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for of in settings.archive:
        names[of.ae_title].add(of.name)
    return settler(
        asked, {title: frozenset(those) for title, those in names.items()}, parts.retry_policy(settings)
    )
