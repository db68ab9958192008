"""The tables. No column holds patient data: UIDs, technique and results only.

Texts have no length limit, because what scanners send does not keep to the standard's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from qagate.label import MAX_RATER, MAX_REASON, LabelKind
from qagate.series import State

DELIVERY_STATES = ("PENDING", "SENDING", "SENT", "DEAD")
KINDS = ("SR", "KOS", "FORWARD", "ALERT")
ROLES = ("viewer", "radiographer", "physicist", "admin")


class UtcDateTime(TypeDecorator[datetime]):
    """A time with zone on both databases: UTC in, UTC out. SQLite keeps sortable text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without zone: it would be guessed."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; pass UTC")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UNFINISHED = text("state NOT IN ('DECIDED', 'DELIVERED')")  # word for word in index and query, for SQLite
UNSENT = text("state <> 'SENT'")
_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys by itself


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _only(rows: TextClause) -> dict[str, Any]:
    """Arguments of an index that holds only these rows."""
    return {"sqlite_where": rows, "postgresql_where": rows}


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

series = Table(
    "series",
    metadata,
    Column("id", _BIG, primary_key=True),
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
    CheckConstraint(_one_of("state", tuple(state.value for state in State)), name="state"),
    Index("ix_series_state_not_before_id", "state", "not_before", "id"),
    Index(
        "ix_series_worklist",
        *("last_received_at", "id", "state", "verdict", "quality"),
        *("station_name", "modality", "region", "protocol_name"),
    ),
    Index("ix_series_station_last_received_at_id", "station_name", "last_received_at", "id"),
    # "What needs a person?" is asked all the time, and few of many rows are the answer.
    Index("ix_series_unfinished", "state", "closed_at", **_only(UNFINISHED)),
    Index("ix_series_modality", "modality"),
    Index("ix_series_region", "region"),
    Index("ix_series_study_instance_uid", "study_instance_uid"),
    Index("ix_series_station_protocol_decided", "station_name", "protocol_name", "decided_at"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", _BIG, primary_key=True),
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
)

conflict = Table(
    "conflict",
    metadata,
    Column("id", _BIG, primary_key=True),
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
    Column("id", _BIG, primary_key=True),
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
    Column("id", _BIG, primary_key=True),
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
    CheckConstraint(_one_of("state", DELIVERY_STATES), name="state"),
    CheckConstraint(_one_of("kind", KINDS), name="kind"),
    UniqueConstraint("series_id", "revision", "kind", "destination", "payload_key", name="uq_outbox_item"),
    Index("ix_outbox_state_not_before_id", "state", "not_before", "id"),
    Index("ix_outbox_unsent", "series_id", **_only(UNSENT)),
    Index("ix_outbox_destination_state_not_before", "destination", "state", "not_before"),
)

# Rows are only ever added. No cascade: a series that people have labelled does not vanish with its labels.
label = Table(
    "label",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("revision", Integer, nullable=False),  # of the series, when it was labelled
    Column("sop_instance_uid", Text),  # NULL: the whole series
    Column("rater", Text, nullable=False),  # a user name
    Column("kind", Text, nullable=False),
    Column("score", Float),  # of ratings only, as are the ends of its scale
    Column("scale_low", Float),  # the worst quality; may be the larger number
    Column("scale_high", Float),  # the best quality
    Column("artefacts", Text, nullable=False),  # JSON list
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint(_one_of("kind", tuple(kind.value for kind in LabelKind)), name="kind"),
    CheckConstraint(
        "(kind = 'rating') = (score IS NOT NULL) AND (score IS NULL) = (scale_low IS NULL)"
        " AND (score IS NULL) = (scale_high IS NULL)",
        name="score",
    ),
    CheckConstraint(f"length(rater) BETWEEN 1 AND {MAX_RATER}", name="rater"),
    CheckConstraint(f"length(reason) <= {MAX_REASON}", name="reason"),
    Index("ix_label_series_id_rater", "series_id", "rater"),
)

# Rows are only ever added: who made which model champion or challenger, when and why.
model_role = Table(
    "model_role",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("act", Text, nullable=False),
    Column("name", Text),  # NULL: the settings' model, or no challenger
    Column("weights_sha256", Text, nullable=False),  # of `name`; "" without one
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("evidence", Text, nullable=False),  # JSON: what was known then
    Column("acted_at", UtcDateTime, nullable=False),
)

# What became of an act at each worker that noticed it.
model_load = Table(
    "model_load",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("act_id", ForeignKey("model_role.id"), nullable=False),
    Column("worker", Text, nullable=False),
    Column("error", Text),  # NULL: loaded; else the worker goes on with what it had
    Column("tried_at", UtcDateTime, nullable=False),
    UniqueConstraint("act_id", "worker"),
)

# What a challenger said of series that the champion decided. Nothing of it leaves the gate.
shadow_result = Table(
    "shadow_result",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("act_id", ForeignKey("model_role.id"), nullable=False),  # that made it the challenger
    Column("weights_sha256", Text, nullable=False),
    Column("champion_sha256", Text, nullable=False),
    Column("region", Text, nullable=False),  # of the prompt, as is the next
    Column("type", Text, nullable=False),
    Column("field_strength_t", Float),  # MR only
    Column("verdict", Text),  # what the policy would have made of it; NULL: failed
    Column("quality", Float),
    Column("error", Text),
    Column("assessment", Text),  # JSON
    Column("decision", Text),  # JSON
    Column("scored_at", UtcDateTime, nullable=False),
    UniqueConstraint("series_id", "revision", "weights_sha256"),
    Index("ix_shadow_result_weights_sha256_id", "weights_sha256", "id"),
)

# How series of one station, protocol, region and type usually score under one model.
baseline = Table(
    "baseline",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),  # of the key: texts may be too long for an index
    Column("station", Text, nullable=False),
    Column("protocol_name", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("weights_sha256", Text, nullable=False),
    Column("sample", Text, nullable=False),  # JSON: [series_id, quality, repeat], oldest first
    Column("recent", Text, nullable=False),  # likewise
    Column("median", Float),
    Column("mad", Float),
    Column("anchor_median", Float),
    Column("anchor_mad", Float),
    Column("evidence", Integer, nullable=False),
    Column("alarm", Text),
    Column("alarmed_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_baseline_weights_sha256_alarm", "weights_sha256", "alarm"),
)

# Rows are only ever added: who called which level normal, when and why.
baseline_accept = Table(
    "baseline_accept",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("baseline_id", ForeignKey("baseline.id"), nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("median_before", Float),
    Column("median_after", Float),
    Column("accepted_at", UtcDateTime, nullable=False),
)

# Rows are only ever added; the newest of a model counts.
calibration = Table(
    "calibration",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("weights_sha256", Text, nullable=False),
    Column("scale", Text, nullable=False),  # JSON
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("acted_at", UtcDateTime, nullable=False),
    Index("ix_calibration_weights_sha256_id", "weights_sha256", "id"),
)

# What trends and previews need of each series' last result, without its long JSON.
observation = Table(
    "observation",
    metadata,
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("station", Text, nullable=False),  # StationName, or the calling AE title where there is none
    Column("protocol_name", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("region", Text, nullable=False),  # of the prompt, as is the next
    Column("type", Text, nullable=False),
    Column("coil", Text, nullable=False),  # "" when the header names none, as the next
    Column("kernel", Text, nullable=False),
    Column("weights_sha256", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("quality", Float),
    Column("figures", JSON, nullable=False),  # measures and doses: name -> finite number
    Column("findings", JSON, nullable=False),  # [artefact, severity], the weightiest first
    Column("baseline_median", Float),  # that decided; NULL: none was warm
    Column("baseline_mad", Float),
    Column("baseline_count", Integer),
    Index("ix_observation_station_decided_at", "station", "decided_at"),
    Index("ix_observation_decided_at", "decided_at", "station", "verdict"),
)

# Rows are only ever added: who has seen the verdict of which revision.
acknowledged = Table(
    "acknowledged",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("series_id", ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("actor", Text, nullable=False),  # a user name
    Column("at", UtcDateTime, nullable=False),
    UniqueConstraint("series_id", "revision", "actor"),
)

# What was done to a scanner: the trends mark it.
service_event = Table(
    "service_event",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("station", Text, nullable=False),  # StationName
    Column("at", UtcDateTime, nullable=False),
    Column("text", Text, nullable=False),
    Column("actor", Text, nullable=False),  # a user name
    Index("ix_service_event_station_at", "station", "at"),
)

refused = Table(
    "refused",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("status", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("calling_ae_title", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("refused_at", UtcDateTime, nullable=False),
)

# Who may look at the pages. Rows stay: labels and audit name their users.
account = Table(
    "account",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("name", Text, nullable=False, unique=True),  # lower case, as labels name raters
    Column("role", Text, nullable=False),
    Column("source", Text, nullable=False),  # who vouches: "local", "oidc" or "proxy"
    Column("password_hash", Text),  # argon2; NULL: cannot log in by password
    Column("disabled", Boolean, nullable=False),
    Column("wall", Boolean, nullable=False),  # a display on the wall: no idle limit
    Column("wrong_passwords", Integer, nullable=False),  # in a row
    Column("locked_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime),  # last login
    CheckConstraint(_one_of("role", ROLES), name="role"),
)

# One browser that is logged in. The cookie's token is not kept, only its hash.
login = Table(
    "login",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Index("ix_login_account_id", "account_id"),
)

# One program that may use the API in its account's name. The token is not kept, only its hash.
api_token = Table(
    "api_token",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("seen_at", UtcDateTime),
    Index("ix_api_token_account_id", "account_id"),
)

# Rows are only ever added: who did what, when.
audit = Table(
    "audit",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("series_instance_uid", Text),  # no key: the trail outlives the series
    Column("details", Text, nullable=False),  # JSON
    Index("ix_audit_actor_id", "actor", "id"),
    Index("ix_audit_act_id", "act", "id"),
    Index("ix_audit_series_instance_uid_id", "series_instance_uid", "id"),
)
