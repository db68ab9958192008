"""models in service

Revision: 0003, after 0002
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BATCH = 500


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "baseline",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("protocol_name", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("sample", sa.Text(), nullable=False),
        sa.Column("recent", sa.Text(), nullable=False),
        sa.Column("median", sa.Float(), nullable=True),
        sa.Column("mad", sa.Float(), nullable=True),
        sa.Column("anchor_median", sa.Float(), nullable=True),
        sa.Column("anchor_mad", sa.Float(), nullable=True),
        sa.Column("evidence", sa.Integer(), nullable=False),
        sa.Column("alarm", sa.Text(), nullable=True),
        sa.Column("alarmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_baseline")),
        sa.UniqueConstraint("digest", name=op.f("uq_baseline_digest")),
    )
    with op.batch_alter_table("baseline", schema=None) as batch_op:
        batch_op.create_index("ix_baseline_weights_sha256_alarm", ["weights_sha256", "alarm"], unique=False)

    op.create_table(
        "calibration",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("scale", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration")),
    )
    with op.batch_alter_table("calibration", schema=None) as batch_op:
        batch_op.create_index("ix_calibration_weights_sha256_id", ["weights_sha256", "id"], unique=False)

    op.create_table(
        "model_role",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_role")),
    )
    op.create_table(
        "baseline_accept",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("baseline_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("median_before", sa.Float(), nullable=True),
        sa.Column("median_after", sa.Float(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["baseline_id"], ["baseline.id"], name=op.f("fk_baseline_accept_baseline_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_baseline_accept")),
    )
    op.create_table(
        "model_load",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("act_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["act_id"], ["model_role.id"], name=op.f("fk_model_load_act_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_load")),
        sa.UniqueConstraint("act_id", "worker", name=op.f("uq_model_load_act_id_worker")),
    )
    op.create_table(
        "shadow_result",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("act_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.Column("champion_sha256", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("field_strength_t", sa.Float(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("quality", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("assessment", sa.Text(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["act_id"], ["model_role.id"], name=op.f("fk_shadow_result_act_id")),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_shadow_result_series_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow_result")),
        sa.UniqueConstraint(
            "series_id",
            "revision",
            "weights_sha256",
            name=op.f("uq_shadow_result_series_id_revision_weights_sha256"),
        ),
    )
    with op.batch_alter_table("shadow_result", schema=None) as batch_op:
        batch_op.create_index("ix_shadow_result_weights_sha256_id", ["weights_sha256", "id"], unique=False)

    with op.batch_alter_table("result", schema=None) as batch_op:
        batch_op.add_column(sa.Column("weights_sha256", sa.Text(), server_default="", nullable=False))
        batch_op.create_index("ix_result_weights_sha256_id", ["weights_sha256", "id"], unique=False)

    _fill_in_results()


def _fill_in_results() -> None:
    """Which model made the old results stands in their JSON, whose NaN Postgres cannot read."""
    result = sa.table(
        "result",
        sa.column("id", sa.BigInteger),
        sa.column("assessment", sa.Text),
        sa.column("weights_sha256", sa.Text),
    )
    connection, after = op.get_bind(), 0
    while rows := connection.execute(
        sa.select(result.c.id, result.c.assessment)
        .where(result.c.id > after)
        .order_by(result.c.id)
        .limit(_BATCH)
    ).all():
        for row in rows:
            found = json.loads(row.assessment).get("weights_sha256") or ""
            connection.execute(sa.update(result).where(result.c.id == row.id).values(weights_sha256=found))
        after = rows[-1].id


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("result", schema=None) as batch_op:
        batch_op.drop_index("ix_result_weights_sha256_id")
        batch_op.drop_column("weights_sha256")

    with op.batch_alter_table("shadow_result", schema=None) as batch_op:
        batch_op.drop_index("ix_shadow_result_weights_sha256_id")

    op.drop_table("shadow_result")
    op.drop_table("model_load")
    op.drop_table("baseline_accept")
    op.drop_table("model_role")
    with op.batch_alter_table("calibration", schema=None) as batch_op:
        batch_op.drop_index("ix_calibration_weights_sha256_id")

    op.drop_table("calibration")
    with op.batch_alter_table("baseline", schema=None) as batch_op:
        batch_op.drop_index("ix_baseline_weights_sha256_alarm")

    op.drop_table("baseline")
