"""labels

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "label",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=True),
        sa.Column("rater", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("scale_low", sa.Float(), nullable=True),
        sa.Column("scale_high", sa.Float(), nullable=True),
        sa.Column("artefacts", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('rating', 'agree', 'disagree', 'repeating', 'cannot_repeat')",
            name=op.f("ck_label_kind"),
        ),
        sa.CheckConstraint(
            "(kind = 'rating') = (score IS NOT NULL) AND (score IS NULL) = (scale_low IS NULL)"
            " AND (score IS NULL) = (scale_high IS NULL)",
            name=op.f("ck_label_score"),
        ),
        sa.CheckConstraint("length(rater) BETWEEN 1 AND 64", name=op.f("ck_label_rater")),
        sa.CheckConstraint("length(reason) <= 1000", name=op.f("ck_label_reason")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_label_series_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
    )
    with op.batch_alter_table("label", schema=None) as batch_op:
        batch_op.create_index("ix_label_series_id_rater", ["series_id", "rater"], unique=False)


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("label", schema=None) as batch_op:
        batch_op.drop_index("ix_label_series_id_rater")

    op.drop_table("label")
