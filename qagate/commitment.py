"""What storage commitment speaks of: transactions, what they ask for, what is answered (PS3.4 annex J)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Failure(IntEnum):
    """Why an instance is not committed: (0008,1197) Failure Reason (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112  #: there is none of this SOP Instance UID
    CLASS_INSTANCE_CONFLICT = 0x0119  #: there is one, of another SOP class


class Basis(Enum):
    """What must have happened before the gate tells a sender that an instance is safe."""

    ARCHIVE = "ARCHIVE"  #: every archive that takes images holds it, by that archive's delivery rule
    SPOOL = "SPOOL"  #: the gate's own spool holds it, unharmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One SOP instance."""

    sop_class_uid: str  #: (0008,1150)
    sop_instance_uid: str  #: (0008,1155)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One N-ACTION: commit to these."""

    transaction_uid: str  #: (0008,1195), the asking side's
    references: tuple[Reference, ...]  #: at least one


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One instance that is not committed."""

    reference: Reference
    reason: int  #: a `Failure`, or another value of PS3.3 C.14.1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One N-EVENT-REPORT: what became of a request."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[Failed, ...] = ()


class CommitmentError(ValueError):
    """A request or report breaks PS3.4 annex J; the message says where."""


class TooManyRequests(RuntimeError):
    """Too many transactions of one sender wait; the message says how many."""
