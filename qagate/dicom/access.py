"""Who may open an association, from where, and calling whom."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum

from qagate.commitment import Basis
from qagate.dicom.limits import NO_LIMITS, Limits

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Rejection(Enum):
    """Why an association is rejected: result, source and reason of the A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    CALLING_AE_TITLE = (1, 1, 3)  #: permanent, service user, calling AE title not recognised
    CALLED_AE_TITLE = (1, 1, 7)  #: permanent, service user, called AE title not recognised
    ADDRESS = (1, 1, 1)  #: permanent, service user, no reason given: PS3.8 has none for an address
    LIMIT = (2, 3, 2)  #: transient, presentation related, local limit exceeded: too many associations
    SPACE = (2, 3, 1)  #: transient, presentation related, temporary congestion: the disk is nearly full

    @property
    def code(self) -> int:
        """The three bytes as one number, such as 0x010103."""
        return int.from_bytes(bytes(self.value))

    @property
    def words(self) -> str:
        """For the pages."""
        return _WORDS[self]


_WORDS = {
    Rejection.CALLING_AE_TITLE: "no [[peer]] has its calling AE title",
    Rejection.CALLED_AE_TITLE: "it calls another AE title than the gate's",
    Rejection.ADDRESS: "its address is not among those of its [[peer]]",
    Rejection.LIMIT: "too many associations are open",
    Rejection.SPACE: "the disk is nearly full",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """One sender that may associate."""

    ae_title: str  #: its calling AE title; `*` for any
    addresses: tuple[str, ...] = ()  #: addresses or networks it may call from; empty for any
    store: bool = True  #: False: a C-STORE is answered 0x0124
    echo: bool = True  #: False: C-ECHO is not negotiated
    commitment: Basis | None = None  #: what the gate's word on its instances rests on; None: gives none
    reports: bool = False  #: an archive that reports on what the gate asked it to commit to
    limits: Limits = NO_LIMITS


class Access:
    """The allow-list. What no rule allows is rejected."""

    def __init__(
        self, rules: tuple[AccessRule, ...], *, called_ae_titles: frozenset[str] | None = None
    ) -> None:
        """Keep rules and the AE titles the gate answers to (None: any).

        Raises ValueError when an address is none.
        """
        self.called_ae_titles = called_ae_titles
        self._rules = [
            (rule, tuple(ipaddress.ip_network(address, strict=False) for address in rule.addresses))
            for rule in rules
        ]

    def check(self, calling_ae_title: str, called_ae_title: str, address: str) -> Rejection | None:
        """Return why the association must be rejected; None when it may be accepted."""
        if self.called_ae_titles is not None and called_ae_title.strip() not in self.called_ae_titles:
            return Rejection.CALLED_AE_TITLE
        if not any(rule.ae_title in ("*", calling_ae_title.strip()) for rule, _ in self._rules):
            return Rejection.CALLING_AE_TITLE
        return None if self._matching(calling_ae_title, address) else Rejection.ADDRESS

    def may_store(self, calling_ae_title: str, address: str) -> bool:
        """Tell whether a sender that may associate may also store."""
        return any(rule.store for rule in self._matching(calling_ae_title, address))

    def may_echo(self, calling_ae_title: str, address: str) -> bool:
        """Tell whether a sender that may associate may also verify (C-ECHO)."""
        return any(rule.echo for rule in self._matching(calling_ae_title, address))

    def peer(self, calling_ae_title: str, address: str) -> tuple[tuple[str, str], Limits]:
        """Return as whom a sender that may associate is counted, and its limits.

        A rule for its AE title goes before one for any; of several the first counts. Who comes under a rule
        for any AE title is counted by its address alone, as it could take another AE title each time.
        """
        rules = self._matching(calling_ae_title, address)
        rule = min(rules, key=lambda one: one.ae_title == "*")
        return (rule.ae_title, address), rule.limits

    def commitment(self, calling_ae_title: str, address: str) -> Basis | None:
        """What storage commitment to this sender rests on; None when it may not ask.

        Of several rules that allow it the stricter one counts.
        """
        allowed = {rule.commitment for rule in self._matching(calling_ae_title, address)}
        return next((basis for basis in (Basis.ARCHIVE, Basis.SPOOL) if basis in allowed), None)

    def may_report(self, calling_ae_title: str, address: str) -> bool:
        """Tell whether this is an archive whose commitment reports are taken."""
        return any(rule.reports for rule in self._matching(calling_ae_title, address))

    def _matching(self, calling_ae_title: str, address: str) -> list[AccessRule]:
        titles = ("*", calling_ae_title.strip())
        return [
            rule
            for rule, networks in self._rules
            if rule.ae_title in titles and (not networks or _within(address, networks))
        ]


def _within(address: str, networks: tuple[_Network, ...]) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any((mapped or parsed) in network for network in networks)
