"""The schema: migrations lead to what schema.py says, on both databases."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from qagate.label import Label, LabelKind
from qagate.store.engine import open_store
from qagate.store.errors import StoreError
from qagate.store.labels import Labels
from qagate.store.migrate import _config, check_revision, current_revision, head_revision, migrate
from qagate.store.queue import Queue
from qagate.store.schema import metadata

PATIENT = ("patient", "birth", "referring", "accession", "person")


def test_migrated_schema_equals_the_tables(empty_url: str) -> None:
    assert current_revision(empty_url) is None
    with pytest.raises(StoreError, match=r"schema \(none\).*qagate migrate"):
        check_revision(empty_url)
    assert migrate(empty_url) == head_revision() == current_revision(empty_url)
    check_revision(empty_url)
    assert migrate(empty_url) == head_revision(), "again is nothing"
    with open_store(empty_url) as store, store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        names = {
            (table.name, check["name"])
            for table in metadata.sorted_tables
            for check in inspect(connection).get_check_constraints(table.name)
        }
    assert names == {
        ("account", "ck_account_role"),
        ("series", "ck_series_state"),
        ("commitment", "ck_commitment_state"),
        ("commitment", "ck_commitment_basis"),
        ("outbox", "ck_outbox_state"),
        ("outbox", "ck_outbox_kind"),
        *(("label", f"ck_label_{name}") for name in ("kind", "score", "rater", "reason")),
    }


def test_up_and_down(empty_url: str) -> None:
    migrate(empty_url)
    config = _config()
    with open_store(empty_url) as store, store.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with open_store(empty_url) as store, store.read() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    migrate(empty_url)
    check_revision(empty_url)


def test_the_first_schemas_data_survive(empty_url: str) -> None:
    times = dict.fromkeys(
        ("first_received_at", "last_received_at", "revision_started_at", "not_before"), datetime(2026, 3, 1)
    )
    texts = (
        *("series_instance_uid", "study_instance_uid", "modality", "modalities", "body_part_examined"),
        *(
            "protocol_name",
            "series_description",
            "station_name",
            "manufacturer_model_name",
            "calling_ae_title",
        ),
    )
    old = {**dict.fromkeys(texts, "1.2"), **times, "state": "COMPLETE"} | {"id": 7, "revision": 2}
    old |= {"instance_count": 3, "attempts": 0}
    config = _config()
    with open_store(empty_url) as store, store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        names = ", ".join(old)
        connection.execute(text(f"INSERT INTO series ({names}) VALUES (:{', :'.join(old)})"), old)
    with pytest.raises(StoreError, match=r"schema 0001.*qagate migrate"):
        check_revision(empty_url)
    migrate(empty_url)
    with open_store(empty_url) as store:
        said = Label(series_instance_uid="1.2", rater="anna", kind=LabelKind.DISAGREE)
        Labels(store).add([said])
        (stored,) = Labels(store).of_series("1.2")
    assert (stored.label.revision, stored.modality) == (2, "1.2")


def test_several_migrate_at_once(empty_url: str) -> None:
    done: list[str] = []
    threads = [threading.Thread(target=lambda: done.append(migrate(empty_url))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [head_revision()] * 3


def test_no_schema_names_the_mend(empty_url: str) -> None:
    with open_store(empty_url) as store, pytest.raises(StoreError, match="qagate migrate"):
        Queue(store).receiving()


def test_a_newer_schema_is_refused(url: str) -> None:
    with open_store(url) as store, store.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for act in (check_revision, migrate):
        with pytest.raises(StoreError, match=r"9999.*newer qagate"):
            act(url)


def test_no_column_for_patient_data() -> None:
    columns = [column.name for table in metadata.sorted_tables for column in table.columns]
    assert not [name for name in columns for word in PATIENT if word in name]
