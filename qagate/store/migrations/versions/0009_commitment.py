"""storage commitment

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "commitment",
        sa.Column("id", big, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("ae_title", "transaction_uid", "basis")),
        sa.Column("sop_instances", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failed", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('WAITING', 'REPORTED', 'DEAD')", name=op.f("ck_commitment_state")),
        sa.CheckConstraint("basis IN ('ARCHIVE', 'SPOOL')", name=op.f("ck_commitment_basis")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint(
            "ae_title", "transaction_uid", name=op.f("uq_commitment_ae_title_transaction_uid")
        ),
    )
    waiting = sa.text("state = 'WAITING'")
    op.create_index(
        "ix_commitment_waiting",
        "commitment",
        ["ae_title", "not_before"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_table(
        "commitment_request",
        sa.Column("id", big, nullable=False),
        sa.Column("outbox_id", big, nullable=False),
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("sop_instances", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("committed", sa.Text(), nullable=True),
        sa.Column("failed", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["outbox_id"], ["outbox.id"], name=op.f("fk_commitment_request_outbox_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_request")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitment_request_transaction_uid")),
    )
    op.create_index("ix_commitment_request_outbox_id", "commitment_request", ["outbox_id"])
    op.create_index("ix_instance_sop_instance_uid", "instance", ["sop_instance_uid"])


def downgrade() -> None:
    """Take it back."""
    op.drop_index("ix_instance_sop_instance_uid", "instance")
    op.drop_table("commitment_request")
    op.drop_table("commitment")
