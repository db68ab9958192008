"""The tables of models: who decides, what is normal, what is watched. No column holds patient data."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from qagate.store.schema_base import BIG, UtcDateTime, metadata

# Rows are only ever added: who made which model champion or challenger, when and why.
model_role = Table(
    "model_role",
    metadata,
    Column("id", BIG, primary_key=True),
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
    Column("id", BIG, primary_key=True),
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
    Column("id", BIG, primary_key=True),
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
    Column("id", BIG, primary_key=True),
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
    Column("id", BIG, primary_key=True),
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
    Column("id", BIG, primary_key=True),
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
