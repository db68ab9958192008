"""The audit trail: a chain whatever happens at once, and every later touch of it shows."""

from __future__ import annotations

import json
import multiprocessing
import threading

import pytest
import sqlalchemy as sa
from alembic import command

from qagate.store.accounts import Accounts
from qagate.store.audit import FIRST, BrokenTrail, Head, Trail
from qagate.store.engine import Store, open_store
from qagate.store.errors import StoreError
from qagate.store.migrate import _config, migrate
from qagate.store.schema import audit

TRIGGERS = {
    "sqlite": ("DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"),
    "postgresql": ("DROP TRIGGER audit_no_change ON audit",),
}


@pytest.fixture
def trail(store: Store) -> Trail:
    """Five acts."""
    trail = Trail(store)
    for number in range(5):
        trail.add(actor="ünal\x00", act="agree", series_instance_uid="1.2.3", details={"number": number})
    return trail


def _tamper(store: Store, statement: sa.Executable) -> None:
    """What someone does who owns the database."""
    with store.write() as connection:
        for drop in TRIGGERS[connection.dialect.name]:
            connection.exec_driver_sql(drop)
        connection.execute(statement)


def test_an_empty_trail_is_whole(store: Store) -> None:
    assert Trail(store).verify() == Head(rows=0, entry_id=0, sha256=FIRST)


def test_each_row_holds_the_hash_of_the_one_before(store: Store, trail: Trail) -> None:
    with store.read() as connection:
        rows = connection.execute(sa.select(audit).order_by(audit.c.id)).all()
    assert [row.before_sha256 for row in rows] == [FIRST, *(row.sha256 for row in rows[:-1])]
    assert trail.verify() == Head(rows=5, entry_id=rows[-1].id, sha256=rows[-1].sha256)
    assert trail.verify(rows[2].sha256).rows == 5, "a former end is still in it"
    assert [one.entry_id for one in trail.after(rows[2].id)] == [row.id for row in rows[3:]]


@pytest.mark.parametrize(
    "statement", [sa.update(audit).values(actor="eve"), sa.delete(audit), sa.text("TRUNCATE audit")]
)
def test_the_database_refuses_to_touch_a_row(store: Store, trail: Trail, statement: sa.Executable) -> None:
    with store.read() as connection:
        if isinstance(statement, sa.TextClause) and connection.dialect.name == "sqlite":
            pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(StoreError, match="rows of the audit trail are only ever added"), store.write() as to:
        to.execute(statement)
    assert trail.verify().rows == 5


@pytest.mark.parametrize(
    "values", [{"actor": "eve"}, {"act": "disagree"}, {"details": "{}"}, {"series_instance_uid": None}]
)
def test_a_changed_row_shows(store: Store, trail: Trail, values: dict[str, str]) -> None:
    third = trail.after(0)[2].entry_id
    _tamper(store, sa.update(audit).where(audit.c.id == third).values(values))
    with pytest.raises(BrokenTrail, match=rf"row {third} .*was changed after it was written"):
        trail.verify()


@pytest.mark.parametrize("place", [0, 2])
def test_a_removed_row_shows(store: Store, trail: Trail, place: int) -> None:
    entries = trail.after(0)
    _tamper(store, sa.delete(audit).where(audit.c.id == entries[place].entry_id))
    with pytest.raises(BrokenTrail, match=rf"row {entries[place + 1].entry_id} .*does not follow"):
        trail.verify()


def test_a_removed_end_shows_against_a_head_kept_elsewhere(store: Store, trail: Trail) -> None:
    head = trail.verify()
    _tamper(store, sa.delete(audit).where(audit.c.id == head.entry_id))
    assert trail.verify().rows == 4, "by itself it looks whole"
    with pytest.raises(BrokenTrail, match=f"no row of the audit trail has the hash {head.sha256}"):
        trail.verify(head.sha256)


def _write(url: str, name: str, count: int) -> None:
    with open_store(url) as store:
        trail = Trail(store)
        for number in range(count):
            trail.add(actor=name, act="agree", details={"number": number})


def test_writers_at_once_stay_one_chain(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(url, f"w{n}", 40)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with open_store(url) as store:
        assert Trail(store).verify().rows == 120


def test_acts_inside_other_transactions_stay_in_the_chain(store: Store) -> None:
    accounts, trail = Accounts(store), Trail(store)

    def add(start: int) -> None:
        for number in range(start, start + 10):
            accounts.add(f"user{number}", role="viewer", actor="admin")
            trail.add(actor="admin", act="agree")

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trail.verify().rows == 40


def test_an_act_and_its_line_are_kept_together_or_not_at_all(store: Store, trail: Trail) -> None:
    accounts = Accounts(store)
    with pytest.raises(ZeroDivisionError), store.together():
        accounts.add("eva", role="radiographer", actor="root")
        assert [one.name for one in accounts.all()] == ["eva"], "seen by the one who acts"
        trail.add(actor="root", act="welcome")
        raise ZeroDivisionError
    assert accounts.all() == () and trail.verify().rows == 5
    with store.together():
        accounts.add("eva", role="radiographer", actor="root")
        trail.add(actor="root", act="welcome")
    assert [one.name for one in accounts.all()] == ["eva"] and trail.verify().rows == 7


def test_rows_of_an_older_schema_become_a_chain(empty_url: str) -> None:
    config = _config()
    with open_store(empty_url) as store, store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        at = "2026-03-01 08:00:00.25{}".format("" if connection.dialect.name == "sqlite" else "+00")
        details = json.dumps({"name": "é"})
        statement = sa.text("INSERT INTO audit (at, actor, act, details) VALUES (:at, 'ünal', 'log in', :it)")
        for _ in range(3):
            connection.execute(statement, {"at": at, "it": details})
    migrate(empty_url)
    with open_store(empty_url) as store:
        trail = Trail(store)
        assert trail.verify().rows == 3
        trail.add(actor="ünal", act="log out")
        assert trail.verify().rows == 4
