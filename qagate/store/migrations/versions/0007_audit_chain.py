"""the audit trail as a chain that only grows

Revision: 0007, after 0006
"""

import hashlib
import json
from datetime import UTC

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BATCH = 500
_REFUSAL = "rows of the audit trail are only ever added"


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("audit", sa.Column("before_sha256", sa.Text(), nullable=True))
    op.add_column("audit", sa.Column("sha256", sa.Text(), nullable=True))
    _chain()
    with op.batch_alter_table("audit") as batch:
        batch.alter_column("before_sha256", existing_type=sa.Text(), nullable=False)
        batch.alter_column("sha256", existing_type=sa.Text(), nullable=False)
        batch.create_unique_constraint("uq_audit_before_sha256", ["before_sha256"])
    for statement in _triggers():
        op.execute(statement)


def _chain() -> None:
    """Give the rows there are their hashes, in the order they were written."""
    names = ("id", "actor", "act", "series_instance_uid", "details", "before_sha256", "sha256")
    at = sa.column("at", sa.DateTime(timezone=True))
    audit = sa.table("audit", *(sa.column(name) for name in names), at)
    query = sa.select(audit).order_by(audit.c.id).limit(_BATCH)
    connection, after, before = op.get_bind(), 0, ""
    while rows := connection.execute(query.where(audit.c.id > after)).all():
        for row in rows:
            when = row.at.replace(tzinfo=UTC) if row.at.tzinfo is None else row.at.astimezone(UTC)
            content = [before, when.isoformat(timespec="microseconds"), row.actor, row.act]
            content += [row.series_instance_uid, row.details]
            own = hashlib.sha256(json.dumps(content, ensure_ascii=True).encode("ascii")).hexdigest()
            connection.execute(
                sa.update(audit).where(audit.c.id == row.id).values(before_sha256=before, sha256=own)
            )
            before, after = own, row.id


def _triggers() -> list[str]:
    if op.get_bind().dialect.name == "sqlite":
        return [
            f"CREATE TRIGGER audit_no_{act.lower()} BEFORE {act} ON audit "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            for act in ("UPDATE", "DELETE")
        ]
    return [
        "CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
        "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_only_grows()",
        "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()",
    ]


def downgrade() -> None:
    """Take it back."""
    if op.get_bind().dialect.name == "sqlite":
        for act in ("update", "delete"):
            op.execute(f"DROP TRIGGER audit_no_{act}")
    else:
        for trigger in ("audit_no_change", "audit_no_truncate"):
            op.execute(f"DROP TRIGGER {trigger} ON audit")
        op.execute("DROP FUNCTION audit_only_grows()")
    with op.batch_alter_table("audit") as batch:
        batch.drop_constraint("uq_audit_before_sha256", type_="unique")
        batch.drop_column("before_sha256")
        batch.drop_column("sha256")
