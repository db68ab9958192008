"""The tables of people: what they said and did, who may look. No column holds patient data."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from qagate.label import MAX_RATER, MAX_REASON, LabelKind
from qagate.store.schema_base import BIG, UtcDateTime, metadata, one_of

ROLES = ("viewer", "radiographer", "physicist", "admin")

# Rows are only ever added. No cascade: a series that people have labelled does not vanish with its labels.
label = Table(
    "label",
    metadata,
    Column("id", BIG, primary_key=True),
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
    CheckConstraint(one_of("kind", tuple(kind.value for kind in LabelKind)), name="kind"),
    CheckConstraint(
        "(kind = 'rating') = (score IS NOT NULL) AND (score IS NULL) = (scale_low IS NULL)"
        " AND (score IS NULL) = (scale_high IS NULL)",
        name="score",
    ),
    CheckConstraint(f"length(rater) BETWEEN 1 AND {MAX_RATER}", name="rater"),
    CheckConstraint(f"length(reason) <= {MAX_REASON}", name="reason"),
    Index("ix_label_series_id_rater", "series_id", "rater"),
)

# Rows are only ever added: who has seen the verdict of which revision.
acknowledged = Table(
    "acknowledged",
    metadata,
    Column("id", BIG, primary_key=True),
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
    Column("id", BIG, primary_key=True),
    Column("station", Text, nullable=False),  # StationName
    Column("at", UtcDateTime, nullable=False),
    Column("text", Text, nullable=False),
    Column("actor", Text, nullable=False),  # a user name
    Index("ix_service_event_station_at", "station", "at"),
)

# Who may look at the pages. Rows stay: labels and audit name their users.
account = Table(
    "account",
    metadata,
    Column("id", BIG, primary_key=True),
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
    CheckConstraint(one_of("role", ROLES), name="role"),
)

# One browser that is logged in. The cookie's token is not kept, only its hash.
login = Table(
    "login",
    metadata,
    Column("id", BIG, primary_key=True),
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
    Column("id", BIG, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("seen_at", UtcDateTime),
    Index("ix_api_token_account_id", "account_id"),
)

# Rows are only ever added, triggers of the database see to it: who did what, when.
audit = Table(
    "audit",
    metadata,
    Column("id", BIG, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("series_instance_uid", Text),  # no key: the trail outlives the series
    Column("details", Text, nullable=False),  # JSON
    Column(
        "before_sha256", Text, nullable=False, unique=True
    ),  # of the row before; unique: no two follow one
    Column("sha256", Text, nullable=False),  # of this row
    Index("ix_audit_actor_id", "actor", "id"),
    Index("ix_audit_act_id", "act", "id"),
    Index("ix_audit_series_instance_uid_id", "series_instance_uid", "id"),
)

# How far the trail was sent to which syslog server.
audit_export = Table(
    "audit_export",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("last_id", BIG, nullable=False),
    Column("exported_at", UtcDateTime, nullable=False),
)
