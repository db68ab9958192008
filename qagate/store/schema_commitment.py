"""The tables of storage commitment (PS3.4 annex J)."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from qagate.commitment import Basis
from qagate.store.schema_base import BIG, UtcDateTime, metadata, one_of, only

TRANSACTION_STATES = ("WAITING", "REPORTED", "DEAD")

# What senders asked the gate to commit to.
commitment = Table(
    "commitment",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("ae_title", Text, nullable=False),  # of who asked
    Column("transaction_uid", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("sop_instances", Text, nullable=False),  # JSON: [SOP class, SOP instance]
    Column("asked_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),  # to report
    Column("not_before", UtcDateTime, nullable=False),
    Column("failed", Text),  # JSON: what was reported; SOP instance -> failure reason
    Column("last_error", Text),
    Column("reported_at", UtcDateTime),
    CheckConstraint(one_of("state", TRANSACTION_STATES), name="state"),
    CheckConstraint(one_of("basis", tuple(basis.value for basis in Basis)), name="basis"),
    UniqueConstraint("ae_title", "transaction_uid"),
    Index("ix_commitment_waiting", "ae_title", "not_before", **only(text("state = 'WAITING'"))),
)

# What the gate asked archives to commit to, for one delivery each.
commitment_request = Table(
    "commitment_request",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("outbox_id", ForeignKey("outbox.id", ondelete="CASCADE"), nullable=False),
    Column("transaction_uid", Text, nullable=False, unique=True),
    Column("sop_instances", Text, nullable=False),  # JSON list: what was not committed by then
    Column("asked_at", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime),
    Column("committed", Text),  # JSON list
    Column("failed", Text),  # JSON: SOP instance -> failure reason
    Index("ix_commitment_request_outbox_id", "outbox_id"),
)
