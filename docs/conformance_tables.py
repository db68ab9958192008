"""The tables of docs/conformance.md that say what is negotiated, answered and limited, made from the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from types import ModuleType

from pydicom.charset import python_encoding
from pydicom.uid import UID, UID_dictionary
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from qagate import __version__
from qagate.commitment import Failure
from qagate.dicom import commitment, commitment_scp, network, part10, scu, storing, tls
from qagate.dicom.access import Rejection
from qagate.dicom.audit_message import _EVENTS, _OF_A_SERIES, _SOFTWARE
from qagate.dicom.decoders import SUPPORTED_SYNTAXES
from qagate.dicom.report.kos import KIND as KEY_OBJECT
from qagate.dicom.report.sr import SR_CLASSES

_STORAGE = {str(uid): name for name, uid in network._STORAGE_CLASSES.items()}
_WHEN = {
    Rejection.CALLING_AE_TITLE: "no `[[peer]]` has this calling AE title",
    Rejection.CALLED_AE_TITLE: "another AE title than the gate's was called",
    Rejection.ADDRESS: "the calling AE title may not call from this address",
    Rejection.LIMIT: "`receiver.max_associations` are open, or `peer_associations` of this peer",
    Rejection.SPACE: "less than `receiver.min_free_mb` is free on the spool's disk",
}
_NOTED = 0x0122  #: what `qagate status` calls a refused presentation context; no C-STORE is answered so
_DELIVERIES = {
    scu.Delivery.DELIVERED: "delivered",
    scu.Delivery.RETRY: "sent again with growing pauses",
    scu.Delivery.REJECTED: "not sent again until someone mends it: a dead letter",
}


def row(*cells: object) -> str:
    """One row; a bar would end its cell."""
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def table(head: Iterable[str], rows: Iterable[str]) -> list[str]:
    """Head, rule and rows."""
    names = tuple(head)
    return [row(*names), "|" + "---|" * len(names), *rows]


def tables() -> dict[str, list[str]]:
    """Marker -> lines of the table."""
    return {
        "overview": overview(),
        "implementation": table(
            ("", ""),
            (
                row("Implementation Class UID", f"`{part10.IMPLEMENTATION_CLASS_UID}`"),
                row("Implementation Version Name", f"`{part10.IMPLEMENTATION_VERSION_NAME}`"),
                row("Software version", __version__),
                row("Largest PDU received on associations that it opens", f"{AE().maximum_pdu_size} bytes"),
            ),
        ),
        "rejections": rejections(),
        "store-statuses": store_statuses(),
        "commitment-statuses": documented(commitment_scp, commitment, {commitment.NO_SUCH_EVENT_TYPE}),
        "commitment-failures": table(
            ("reason (0008,1197)", "name"),
            (row(f"0x{one:04X}", one.name.replace("_", " ").lower()) for one in Failure),
        ),
        "answers": answers(),
        "storage-classes": storage_classes(),
        "transfer-syntaxes": transfer_syntaxes(),
        "audit": audit(),
        "character-sets": table(
            ("without code extensions", "with code extensions"),
            (
                row(
                    ", ".join(sorted(term for term in python_encoding if term and "2022" not in term)),
                    ", ".join(sorted(term for term in python_encoding if "2022" in term)),
                ),
            ),
        ),
        "tls": table(
            ("", ""),
            (
                row("least version", "TLS 1.2"),
                row("cipher suites of TLS 1.2 (OpenSSL)", f"`{tls._CIPHERS_TLS_1_2}`"),
                row("refused", "renegotiation, compression"),
            ),
        ),
    }


def overview() -> list[str]:
    """What is supported, as user and as provider."""
    documents = [*SR_CLASSES.values(), KEY_OBJECT.sop_class_uid]
    rows = [
        (UID(Verification).name, Verification, "yes", "yes"),
        (f"Storage: {len(_STORAGE)} SOP classes of annex 8.1.1, private and newer ones", "",
         "yes (`forward`: images unchanged)", "yes"),
        *((UID(uid).name, uid, "yes (results)", "yes") for uid in documents),
        (commitment.PUSH_MODEL.name, commitment.PUSH_MODEL, "yes (`delivered = \"committed\"`)", "yes"),
        (UID(StudyRootQueryRetrieveInformationModelFind).name, StudyRootQueryRetrieveInformationModelFind,
         "yes (`qagate fsck`)", "no"),
    ]  # fmt: skip
    head = ("SOP class", "UID", "user (SCU)", "provider (SCP)")
    return table(head, (row(name, uid and f"`{uid}`", scu_, scp) for name, uid, scu_, scp in rows))


def rejections() -> list[str]:
    """Every A-ASSOCIATE-RJ that the gate sends."""
    told = dict(re.findall(r"^    (\w+) = \(.*\)  #: (.*)$", inspect.getsource(Rejection), re.MULTILINE))
    rows = [row(*one.value, told[one.name], _WHEN.get(one, "")) for one in Rejection]
    return table(("result", "source", "reason", "meaning", "when"), rows)


def documented(module: ModuleType, constants: ModuleType, elsewhere: set[int]) -> list[str]:
    """The statuses that a module's docstring explains; each that its constants name must be among them."""
    found = re.findall(r"^\| (0x[0-9A-F]{4}) \| (.*) \|$", module.__doc__ or "", re.MULTILINE)
    named = {value for name, value in vars(constants).items() if name.isupper() and type(value) is int}
    statuses = {value for value in named if value > 0x00FF or value == 0} - elsewhere
    told = {int(status, 16) for status, _ in found}
    if statuses - told:
        odd = ", ".join(f"0x{one:04X}" for one in sorted(statuses - told))
        raise SystemExit(f"{module.__name__}: its docstring does not explain {odd}")
    return table(("status", "meaning"), (row(status, meaning) for status, meaning in found))


def store_statuses() -> list[str]:
    """What a C-STORE is answered."""
    return documented(storing, storing, {_NOTED})


def answers() -> list[str]:
    """What the gate makes of an archive's C-STORE responses: ranges of statuses alike."""
    rows = []
    for meaning, statuses in groupby(range(0x10000), key=scu.meaning):
        if meaning is not scu.Delivery.REJECTED:
            those = list(statuses)
            shown = " to ".join(f"0x{one:04X}" for one in dict.fromkeys((those[0], those[-1])))
            rows.append(row(shown, _DELIVERIES[meaning]))
    rows.append(row("any other", _DELIVERIES[scu.Delivery.REJECTED]))
    rows.append(row("none in time, or the association ended", _DELIVERIES[scu.Delivery.RETRY]))
    return table(("status", "the object is"), rows)


def storage_classes() -> list[str]:
    """Every storage SOP class by name."""
    named = sorted((_name(uid), uid) for uid in _STORAGE)
    return table(("SOP class", "UID"), (row(name, f"`{uid}`") for name, uid in named))


def _name(uid: str) -> str:
    """The dictionary's name, or for classes newer than it the keyword in words."""
    known = UID(uid).name
    return (
        known if known != uid else re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", _STORAGE[uid])
    )


def transfer_syntaxes() -> list[str]:
    """Every transfer syntax that is taken, and whether its pixels can be decoded."""
    rows = []
    for uid, (name, kind, *_) in sorted(UID_dictionary.items()):
        if kind == "Transfer Syntax" and network.is_transfer_syntax(uid, frozenset()):
            rows.append(row(name, f"`{uid}`", "yes" if uid in SUPPORTED_SYNTAXES else "no"))
    return table(("transfer syntax", "UID", "decoded for assessment"), rows)


def audit() -> list[str]:
    """Acts and the audit messages they become."""
    rows = []
    events: Mapping[str, object] = _EVENTS | {
        "any other of a series": _OF_A_SERIES, "any other": _SOFTWARE,
    }  # fmt: skip
    for act, event in events.items():
        name, kind = event.name, event.kind  # type: ignore[attr-defined]
        shown = f"{kind.value} {kind.meaning}" if kind else ""
        rows.append(row(act, f"{name.value} {name.meaning}", shown, event.action, event.outcome))  # type: ignore[attr-defined]
    return table(("act", "Event ID (DCM)", "Event Type Code (DCM)", "action", "outcome"), rows)


def filled(text: str, made: Mapping[str, list[str]]) -> str:
    """The page with every table in the place that its marker names. ValueError: one is missing or unknown."""
    names = re.findall(r"^<!-- table: ([a-z-]+) -->$", text, re.MULTILINE)
    if sorted(names) != sorted(made):
        raise ValueError(f"the page's tables and those made differ: {sorted(set(names) ^ set(made))}")

    def put(match: re.Match[str]) -> str:
        return "\n".join([match[1], "", *made[match[2]], "", match[3]])

    return re.sub(r"^(<!-- table: ([a-z-]+) -->)\n.*?^(<!-- end -->)$", put, text, flags=re.M | re.S)
