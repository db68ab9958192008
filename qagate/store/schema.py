"""The tables. No column holds patient data: UIDs, technique and results only.

Texts have no length limit, because what scanners send does not keep to the standard's.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from qagate.series import State
from qagate.store.schema_base import BIG, UtcDateTime, metadata, one_of, only
from qagate.store.schema_commitment import commitment, commitment_request
from qagate.store.schema_models import (
    baseline,
    baseline_accept,
    calibration,
    model_load,
    model_role,
    observation,
    shadow_result,
)
from qagate.store.schema_people import (
    account,
    acknowledged,
    api_token,
    audit,
    audit_export,
    label,
    login,
    service_event,
)

__all__ = [
    "DELIVERY_STATES",
    "KINDS",
    "UNFINISHED",
    "UNPURGED",
    "UNSENT",
    "account",
    "acknowledged",
    "api_token",
    "audit",
    "audit_export",
    "baseline",
    "baseline_accept",
    "calibration",
    "commitment",
    "commitment_request",
    "conflict",
    "instance",
    "label",
    "login",
    "metadata",
    "model_load",
    "model_role",
    "observation",
    "outbox",
    "reconciliation",
    "refused",
    "result",
    "series",
    "service_event",
    "shadow_result",
]

DELIVERY_STATES = ("HELD", "PENDING", "SENDING", "SENT", "DEAD")
KINDS = ("SR", "KOS", "FORWARD", "REJECTION", "ALERT")
UNFINISHED = text("state NOT IN ('DECIDED', 'DELIVERED')")  # word for word in index and query, for SQLite
UNSENT = text("state <> 'SENT'")
UNPURGED = text("(purged_revision IS NULL OR purged_revision < revision)")

series = Table(
    "series",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("series_instance_uid", Text, nullable=False, unique=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", Text, nullable=False),
    # header
    Column("modality", Text, nullable=False),
    Column("modalities", Text, nullable=False),  # every one seen, joined by commas
    Column("body_part_examined", Text, nullable=False),
    Column("protocol_name", Text, nullable=False),
    Column("series_description", Text, nullable=False),
    Column("station_name", Text, nullable=False),
    Column("manufacturer_model_name", Text, nullable=False),
    Column("series_number", BigInteger),
    Column("expected_instances", BigInteger),
    Column("calling_ae_title", Text, nullable=False),
    # reception
    Column("associations", Text, nullable=False, server_default=""),  # of the revision, joined by commas
    Column("instance_count", Integer, nullable=False),
    Column("first_received_at", UtcDateTime, nullable=False),
    Column("last_received_at", UtcDateTime, nullable=False),
    Column("revision_started_at", UtcDateTime, nullable=False),
    Column("released_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    Column("closed_because", Text),
    # scoring
    Column("attempts", Integer, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("worker", Text),
    Column("lease_token", Text),
    Column("lease_expires_at", UtcDateTime),
    Column("last_error", Text),
    Column("decided_at", UtcDateTime),  # of the last decision, whatever its revision
    # of the last result, so that one index filters and sorts a list of 100,000 series
    Column("verdict", Text),
    Column("quality", Float),
    Column("judged_revision", Integer),  # less than `revision`: the verdict is provisional
    Column("region", Text, nullable=False, server_default=""),  # of the prompt
    # retention
    Column("purged_revision", Integer),  # images that came for it or before are deleted, or are about to be
    Column("purged_at", UtcDateTime),  # when their files were gone
    CheckConstraint(one_of("state", tuple(state.value for state in State)), name="state"),
    Index("ix_series_state_not_before_id", "state", "not_before", "id"),
    Index(
        "ix_series_worklist",
        *("last_received_at", "id", "state", "verdict", "quality"),
        *("station_name", "modality", "region", "protocol_name"),
    ),
    Index("ix_series_station_last_received_at_id", "station_name", "last_received_at", "id"),
    Index("ix_series_purgeable", "state", "last_received_at", **only(UNPURGED)),
    # "What needs a person?" is asked all the time, and few of many rows are the answer.
    Index("ix_series_unfinished", "state", "closed_at", **only(UNFINISHED)),
    Index("ix_series_modality", "modality"),
    Index("ix_series_region", "region"),
    Index("ix_series_study_instance_uid", "study_instance_uid"),
    Index("ix_series_station_protocol_decided", "station_name", "protocol_name", "decided_at"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),  # the revision it arrived for
    Column("sop_instance_uid", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("calling_ae_title", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    UniqueConstraint("series_id", "sop_instance_uid"),
    Index("ix_instance_sop_instance_uid", "sop_instance_uid"),
)

conflict = Table(
    "conflict",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("calling_ae_title", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    UniqueConstraint("series_id", "sop_instance_uid", "sha256"),
)

result = Table(
    "result",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("quality", Float),
    Column("instance_count", Integer, nullable=False),
    Column("last_received_at", UtcDateTime, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("worker", Text),
    Column("assessment", Text, nullable=False),  # JSON
    Column("decision", Text, nullable=False),  # JSON
    Column("weights_sha256", Text, nullable=False, server_default=""),  # of the assessment's model
    UniqueConstraint("series_id", "revision"),
    Index("ix_result_weights_sha256_id", "weights_sha256", "id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("payload_key", Text, nullable=False),  # of alerts their topic: one a revision and destination
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("lease_token", Text),
    Column("lease_expires_at", UtcDateTime),
    Column("last_error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),
    Column("released_at", UtcDateTime),  # of one that was held
    CheckConstraint(one_of("state", DELIVERY_STATES), name="state"),
    CheckConstraint(one_of("kind", KINDS), name="kind"),
    UniqueConstraint("series_id", "revision", "kind", "destination", "payload_key", name="uq_outbox_item"),
    Index("ix_outbox_state_not_before_id", "state", "not_before", "id"),
    Index("ix_outbox_unsent", "series_id", **only(UNSENT)),
    Index("ix_outbox_destination_state_not_before", "destination", "state", "not_before"),
)

refused = Table(
    "refused",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("status", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("calling_ae_title", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("refused_at", UtcDateTime, nullable=False),
)

# Received = decided = delivered? One row a day (UTC) that was looked at.
reconciliation = Table(
    "reconciliation",
    metadata,
    Column("day", Text, primary_key=True),  # 2026-03-01
    Column("instances", Integer, nullable=False),  # of the series below
    Column("received", Integer, nullable=False),  # series whose last instance came that day
    Column("decided", Integer, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("failed", Integer, nullable=False),  # given up, visible as FAILED
    Column("held", Integer, nullable=False, server_default="0"),  # waiting for a release
    Column("differences", Text, nullable=False),  # JSON list of sentences
    Column("reconciled_at", UtcDateTime, nullable=False),
    Column("alerted_at", UtcDateTime),  # NULL: nobody was told, or nothing is to be told
)
