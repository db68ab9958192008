"""From every released schema to the present one, with a row in every table, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from qagate.assessment import Assessment, Decision
from qagate.series import Received
from qagate.store.audit import FIRST, Trail, digest
from qagate.store.codec import dumps
from qagate.store.engine import open_store
from qagate.store.ledger import Ledger
from qagate.store.migrate import _config, check_revision, migrate
from qagate.store.queue import Queue
from qagate.store.schema import metadata
from qagate.store.views import Views

AT, UID = datetime(2026, 3, 1, 8, tzinfo=UTC), "1.2.3"
ACT = {"at": AT, "actor": UID, "act": UID, "series_instance_uid": UID, "details": "{}"}
SCHEMAS = sorted(one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions())
WORDS = {
    ("series", "state"): "DECIDED", ("outbox", "state"): "PENDING", ("outbox", "kind"): "SR",
    ("label", "kind"): "agree", ("label", "artefacts"): "[]", ("account", "role"): "viewer",
    ("audit", "details"): "{}", ("audit", "before_sha256"): FIRST,
    ("audit", "sha256"): digest(before_sha256=FIRST, **ACT),
    ("model_role", "act"): "promote", ("model_role", "evidence"): "{}",
    ("result", "verdict"): "PASS", ("baseline", "sample"): "[]", ("baseline", "recent"): "[]",
    ("commitment", "basis"): "SPOOL", ("commitment", "state"): "WAITING",
}  # fmt: skip
LEFT_OUT = {"id", "score", "scale_low", "scale_high", "series_number", "expected_instances"}


def _value(table: str, column: dict[str, Any], texts: dict[str, str]) -> object:
    name, kind = column["name"], column["type"]
    if (table, name) in WORDS:
        return WORDS[table, name]
    if name in texts:
        return texts[name]
    values = ((sa.DateTime, AT), (sa.Boolean, False), (sa.JSON, {}), ((sa.Integer, sa.Float), 1))
    return next((value for kinds, value in values if isinstance(kind, kinds)), UID)


def _fill(connection: sa.Connection, texts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """One row in every table there is; what was written, by table. Each is number 1, so they fit."""
    there = sa.MetaData()
    there.reflect(connection)
    written: dict[str, dict[str, Any]] = {}
    for table in there.sorted_tables:
        if table.name == "alembic_version":
            continue
        columns = [
            one for one in sa.inspect(connection).get_columns(table.name) if one["name"] not in LEFT_OUT
        ]
        row = {one["name"]: _value(table.name, one, texts) for one in columns}
        connection.execute(sa.insert(table).values(row))
        found = connection.execute(sa.select(table)).one()._mapping
        written[table.name] = dict(found)
    return written


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_row_survives(
    empty_url: str, schema: str, full_result: tuple[Assessment, Decision], arrive: Any
) -> None:
    texts = {"assessment": dumps(full_result[0]), "decision": dumps(full_result[1])}
    config = _config()
    with open_store(empty_url) as store, store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, schema)
    with open_store(empty_url) as store, store.write() as connection:
        before = _fill(connection, texts)
        connection.exec_driver_sql("UPDATE series SET series_instance_uid = '1.2.1'")
    migrate(empty_url)
    check_revision(empty_url)
    with open_store(empty_url) as store, store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        now = sa.MetaData()
        now.reflect(connection)
        for name, row in before.items():
            after = connection.execute(sa.select(now.tables[name])).one()._mapping
            changed = {key for key in row if after[key] != row[key]}
            assert changed <= ({"series_instance_uid"} if name == "series" else set()) | MADE_ANEW, name
    _works(empty_url, arrive("1.2.1", 7), acts=int("audit" in before))


#: columns that a migration computes from others
MADE_ANEW = {"verdict", "quality", "judged_revision", "region", "before_sha256", "sha256"}


def _works(url: str, late: Received, acts: int) -> None:
    """The gate of today works on what it found."""
    with open_store(url) as store:
        found = Views(store).history("1.2.1")
        assert found is not None and found.results[0].decision.reasons == ("a", "b")
        assert [one.kind for one in found.deliveries] == ["SR"]
        assert len(list(Ledger(store).held())) == 1
        (reopened,) = Queue(store).record([late])
        assert reopened.revision == 2
        trail = Trail(store)
        trail.add(actor="anna", act="agree")
        assert trail.verify().rows == acts + 1
