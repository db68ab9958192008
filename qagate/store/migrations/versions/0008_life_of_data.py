"""series whose images were purged, the daily reconciliation, the audit trail's export

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_COUNTS = ("instances", "received", "decided", "delivered", "failed")


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("series", sa.Column("purged_revision", sa.Integer(), nullable=True))
    op.add_column("series", sa.Column("purged_at", _TIME, nullable=True))
    unpurged = sa.text("(purged_revision IS NULL OR purged_revision < revision)")
    op.create_index(
        "ix_series_purgeable", "series", ["state", "last_received_at"],
        sqlite_where=unpurged, postgresql_where=unpurged,
    )  # fmt: skip
    op.create_table(
        "reconciliation",
        sa.Column("day", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _COUNTS),
        sa.Column("differences", sa.Text(), nullable=False),
        sa.Column("reconciled_at", _TIME, nullable=False),
        sa.Column("alerted_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_reconciliation")),
    )
    op.create_table(
        "audit_export",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("last_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("exported_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_audit_export")),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("audit_export")
    op.drop_table("reconciliation")
    op.drop_index("ix_series_purgeable", "series")
    op.drop_column("series", "purged_at")
    op.drop_column("series", "purged_revision")
