"""Settings become the rules of who may associate, for what, and within which limits."""

from __future__ import annotations

from ipaddress import ip_address

from qagate.commitment import Basis
from qagate.config import Settings
from qagate.config_network import ArchiveSettings, Peer
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.limits import Limits
from qagate.parts_hold import image_archives

_LOOPBACK = ("127.0.0.0/8", "::1/128")


def access(settings: Settings) -> Access:
    """Who may associate: the peers of the settings, or this machine alone; and archives, to report."""
    rules = [
        AccessRule(
            ae_title=peer.ae_title,
            addresses=peer.addresses,
            store=peer.store,
            echo=peer.echo,
            commitment=_basis(settings, peer),
            limits=_limits(settings, peer),
        )
        for peer in settings.peer or (Peer(ae_title="*", addresses=_LOOPBACK),)
    ]
    called = {settings.receiver.ae_title}
    for of in settings.archive:
        if of.delivered == "committed":
            called.add(of.calling_ae_title or settings.receiver.ae_title)
            rules.append(
                AccessRule(
                    ae_title=of.ae_title,
                    addresses=_report_addresses(of),
                    store=False,
                    reports=True,
                    limits=_limits(settings),
                )
            )
    any_called = settings.receiver.any_called_ae_title
    return Access(tuple(rules), called_ae_titles=None if any_called else frozenset(called))


def _limits(settings: Settings, peer: Peer | None = None) -> Limits:
    """A peer's own limits, the receiver's where it has none."""

    def of(name: str) -> int:
        own = getattr(peer, name, None)
        return int(getattr(settings.receiver, name) if own is None else own)

    return Limits(
        associations=of("peer_associations"),
        dataset_bytes=of("max_dataset_mb") << 20,
        association_instances=of("association_instances"),
        association_bytes=of("association_mb") << 20,
        instances_per_minute=of("instances_per_minute"),
        bytes_per_minute=of("mb_per_minute") << 20,
    )


def _basis(settings: Settings, peer: Peer) -> Basis | None:
    """What commitment to a peer rests on; none where only an archive could tell and none gets images."""
    if peer.commitment == "archive":
        return Basis.ARCHIVE if image_archives(settings) else None
    return Basis.SPOOL if peer.commitment == "spool" else None


def _report_addresses(of: ArchiveSettings) -> tuple[str, ...]:
    if of.report_addresses:
        return of.report_addresses
    try:
        return (str(ip_address(of.host)),)
    except ValueError:  # a name: the transaction UID, which nobody can guess, must do
        return ()
