"""worklist, acknowledgements and service events

Revision: 0005, after 0004
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BATCH = 500
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_INDEXES = {
    "ix_series_worklist": [
        *("last_received_at", "id", "state", "verdict", "quality"),
        *("station_name", "modality", "region", "protocol_name"),
    ],
    "ix_series_station_last_received_at_id": ["station_name", "last_received_at", "id"],
    "ix_series_modality": ["modality"],
    "ix_series_region": ["region"],
    "ix_series_study_instance_uid": ["study_instance_uid"],
}
_PARTIAL = {
    "ix_series_unfinished": ("series", ["state", "closed_at"], "state NOT IN ('DECIDED', 'DELIVERED')"),
    "ix_outbox_unsent": ("outbox", ["series_id"], "state <> 'SENT'"),
}


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "acknowledged",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("series_id", _BIG, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_acknowledged_series_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acknowledged")),
        sa.UniqueConstraint(
            "series_id", "revision", "actor", name=op.f("uq_acknowledged_series_id_revision_actor")
        ),
    )
    op.create_table(
        "service_event",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_event")),
    )
    op.create_index("ix_service_event_station_at", "service_event", ["station", "at"])
    for column in (
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("quality", sa.Float(), nullable=True),
        sa.Column("judged_revision", sa.Integer(), nullable=True),
        sa.Column("region", sa.Text(), server_default="", nullable=False),
    ):
        op.add_column("series", column)
    _fill_in_verdicts()
    op.drop_index("ix_series_last_received_at_id", "series")
    for name, columns in _INDEXES.items():
        op.create_index(name, "series", columns)
    for name, (table, columns, where) in _PARTIAL.items():
        rows = sa.text(where)
        op.create_index(name, table, columns, sqlite_where=rows, postgresql_where=rows)


def _fill_in_verdicts() -> None:
    """From each series' last result; the region stands in its JSON, whose NaN Postgres cannot read."""
    result = sa.table(
        "result",
        sa.column("id", sa.BigInteger),
        sa.column("series_id", sa.BigInteger),
        sa.column("revision", sa.Integer),
        sa.column("verdict", sa.Text),
        sa.column("quality", sa.Float),
        sa.column("assessment", sa.Text),
    )
    series = sa.table(
        "series",
        sa.column("id", sa.BigInteger),
        sa.column("verdict", sa.Text),
        sa.column("quality", sa.Float),
        sa.column("judged_revision", sa.Integer),
        sa.column("region", sa.Text),
    )
    older = sa.func.coalesce(series.c.judged_revision, 0)
    connection, after = op.get_bind(), 0
    while rows := connection.execute(
        sa.select(result).where(result.c.id > after).order_by(result.c.id).limit(_BATCH)
    ).all():
        for row in rows:
            connection.execute(
                sa.update(series)
                .where(series.c.id == row.series_id, older < row.revision)
                .values(
                    verdict=row.verdict,
                    quality=row.quality,
                    judged_revision=row.revision,
                    region=json.loads(row.assessment)["prompt"]["region"],
                )
            )
        after = rows[-1].id


def downgrade() -> None:
    """Take it back."""
    for name, (table, _, _) in _PARTIAL.items():
        op.drop_index(name, table)
    for name in _INDEXES:
        op.drop_index(name, "series")
    op.create_index("ix_series_last_received_at_id", "series", ["last_received_at", "id"])
    with op.batch_alter_table("series", schema=None) as batch_op:
        for column in ("region", "judged_revision", "quality", "verdict"):
            batch_op.drop_column(column)
    op.drop_index("ix_service_event_station_at", "service_event")
    op.drop_table("service_event")
    op.drop_table("acknowledged")
