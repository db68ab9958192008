"""held deliveries, rejections

Revision: 0010, after 0009
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_STATES = ("PENDING", "SENDING", "SENT", "DEAD")
_KINDS = ("SR", "KOS", "FORWARD", "ALERT")
_ASKED = (
    *("id", "outbox_id", "transaction_uid", "sop_instances"),
    *("asked_at", "answered_at", "committed", "failed"),
)


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("outbox", sa.Column("released_at", sa.DateTime(timezone=True), nullable=True))
    _allow(("HELD", *_STATES), (*_KINDS, "REJECTION"))
    op.add_column("reconciliation", sa.Column("held", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    """Take it back: nothing is kept from an archive, and a note of rejection waits as a key object."""
    op.drop_column("reconciliation", "held")
    op.execute("UPDATE outbox SET state = 'PENDING' WHERE state = 'HELD'")
    op.execute("UPDATE outbox SET kind = 'KOS' WHERE kind = 'REJECTION'")
    _allow(_STATES, _KINDS)
    op.drop_column("outbox", "released_at")


def _allow(states: Sequence[str], kinds: Sequence[str]) -> None:
    # SQLite makes the table anew, and what refers to the rows of the old one is deleted with them.
    sqlite, names = op.get_bind().dialect.name == "sqlite", ", ".join(_ASKED)
    if sqlite:
        op.execute(f"CREATE TEMPORARY TABLE asked AS SELECT {names} FROM commitment_request")
    with op.batch_alter_table("outbox") as batch:
        for name, words in (("state", states), ("kind", kinds)):
            batch.drop_constraint(op.f(f"ck_outbox_{name}"), type_="check")
            batch.create_check_constraint(
                op.f(f"ck_outbox_{name}"), f"{name} IN ({', '.join(map(repr, words))})"
            )
    if sqlite:
        op.execute(f"INSERT OR IGNORE INTO commitment_request ({names}) SELECT {names} FROM asked")
        op.execute("DROP TABLE asked")
