"""observations of the trends

Revision: 0006, after 0005
"""

import json
import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = 500
_TEXTS = (
    *("station", "protocol_name", "modality", "region", "type"),
    *("coil", "kernel", "weights_sha256", "verdict"),
)


def upgrade() -> None:
    """Bring the schema to this revision."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "observation",
        sa.Column("series_id", big, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        sa.Column("quality", sa.Float(), nullable=True),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("baseline_median", sa.Float(), nullable=True),
        sa.Column("baseline_mad", sa.Float(), nullable=True),
        sa.Column("baseline_count", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_observation_series_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_observation")),
    )
    op.create_index("ix_observation_station_decided_at", "observation", ["station", "decided_at"])
    op.create_index("ix_observation_decided_at", "observation", ["decided_at", "station", "verdict"])
    _fill()


def _fill() -> None:
    """From the last result of each series, a batch of series at a time."""
    series = _table("series", "id", "station_name", "calling_ae_title", "protocol_name", "modality")
    result = _table(
        *("result", "id", "series_id", "revision", "decided_at", "verdict", "quality"),
        *("weights_sha256", "assessment", "decision"),
    )
    observation = sa.table(
        "observation",
        *(sa.column(name) for name in ("series_id", "decided_at", *_TEXTS, "quality")),
        *(sa.column(name, sa.JSON) for name in ("figures", "findings")),
        *(sa.column(f"baseline_{name}") for name in ("median", "mad", "count")),
    )
    last = (
        sa.select(result.c.series_id, sa.func.max(result.c.revision).label("revision"))
        .group_by(result.c.series_id)
        .subquery()
    )
    query = (
        sa.select(
            result,
            *(series.c[name] for name in ("station_name", "calling_ae_title", "protocol_name", "modality")),
        )
        .join(last, sa.and_(last.c.series_id == result.c.series_id, last.c.revision == result.c.revision))
        .join(series, series.c.id == result.c.series_id)
        .order_by(result.c.id)
        .limit(_BATCH)
    )
    connection, after = op.get_bind(), 0
    while rows := connection.execute(query.where(result.c.id > after)).all():
        connection.execute(sa.insert(observation), [_row(row) for row in rows])
        after = rows[-1].id


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns))


def _row(row: sa.Row[Any]) -> dict[str, object]:
    assessment, decision = json.loads(row.assessment), json.loads(row.decision)
    baseline = decision.get("baseline") or {}
    figures = assessment.get("measures", {})
    return {
        "series_id": row.series_id,
        "decided_at": row.decided_at,
        "station": row.station_name or row.calling_ae_title,
        "protocol_name": row.protocol_name,
        "modality": row.modality,
        "region": assessment["prompt"]["region"],
        "type": assessment["prompt"]["type"],
        "coil": "",
        "kernel": "",
        "weights_sha256": row.weights_sha256,
        "verdict": row.verdict,
        "quality": row.quality,
        "figures": {name: value for name, value in figures.items() if math.isfinite(value)},
        "findings": [[one["artefact"], one["severity"]] for one in assessment.get("findings", [])],
        "baseline_median": baseline.get("median"),
        "baseline_mad": baseline.get("mad"),
        "baseline_count": baseline.get("count"),
    }


def downgrade() -> None:
    """Take it back."""
    op.drop_table("observation")
