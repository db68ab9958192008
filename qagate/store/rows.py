"""Rows become the floor-1 types here, and header texts become storable."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Insert, Row, Select, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from qagate.assessment import Assessment, Decision
from qagate.series import Instance, Series, SeriesHeader, State
from qagate.store.schema import instance, series

_INT64 = 2**63


def text(value: str) -> str:
    """Return what both databases can hold: no NUL, no half of a surrogate pair."""
    return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def integer(value: int | None) -> int | None:
    """Return None for a number that fits no 64-bit column."""
    return value if value is not None and -_INT64 <= value < _INT64 else None


def insert_new(connection: Connection, table: Table) -> Insert:
    """Return an INSERT that passes over rows that break a unique constraint."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def judged(revision: int, assessment: Assessment, decision: Decision) -> dict[str, object]:
    """Return what a row of `series` repeats of its last result."""
    return {
        "verdict": decision.verdict.value,
        "quality": None if assessment.quality is None else float(assessment.quality),
        "judged_revision": revision,
        "region": assessment.prompt.region,
    }


def associations_of(joined: str) -> tuple[str, ...]:
    """Return what a column `associations` holds."""
    return tuple(filter(None, joined.split(",")))


def series_of(row: Row[Any], instances: tuple[Instance, ...] = ()) -> Series:
    """Return the series of a row of table `series`."""
    return Series(
        series_id=row.id,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        revision=row.revision,
        state=State(row.state),
        attempts=row.attempts,
        header=SeriesHeader(
            modality=row.modality,
            body_part_examined=row.body_part_examined,
            protocol_name=row.protocol_name,
            series_description=row.series_description,
            station_name=row.station_name,
            manufacturer_model_name=row.manufacturer_model_name,
            series_number=row.series_number,
            expected_instances=row.expected_instances,
        ),
        calling_ae_title=row.calling_ae_title,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        instances=instances,
        lease_token=row.lease_token,
        modalities=tuple(filter(None, row.modalities.split(","))),
        associations=associations_of(row.associations),
        purged=row.purged_revision is not None,
    )


def instances_of(
    connection: Connection,
    series_id: int,
    series_instance_uid: str,
    revision: int | None = None,
    *,
    after: int = 0,
) -> tuple[Instance, ...]:
    """Return the instances of a series in order of receipt.

    revision: only those it brought. after: only those that later revisions brought.
    """
    query = select(instance).where(instance.c.series_id == series_id).order_by(instance.c.id)
    query = query.where(instance.c.revision > after)
    if revision is not None:
        query = query.where(instance.c.revision == revision)
    return _instances(connection, query, series_instance_uid)


def instances_there(connection: Connection, row: Row[Any]) -> tuple[Instance, ...]:
    """Return the instances of a series' row whose files were not purged, in order of receipt."""
    return instances_of(connection, row.id, row.series_instance_uid, after=row.purged_revision or 0)


def instances_at(
    connection: Connection, series_id: int, series_instance_uid: str, revision: int
) -> tuple[Instance, ...]:
    """Return what a series held at a revision, in order of receipt."""
    query = select(instance).where(instance.c.series_id == series_id, instance.c.revision <= revision)
    return _instances(connection, query.order_by(instance.c.revision, instance.c.id), series_instance_uid)


def _instances(connection: Connection, query: Select[Any], series_instance_uid: str) -> tuple[Instance, ...]:
    return tuple(
        Instance(
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            series_instance_uid=series_instance_uid,
            study_instance_uid=row.study_instance_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            calling_ae_title=row.calling_ae_title,
            path=row.path,
            sha256=row.sha256,
            size=row.size,
            received_at=row.received_at,
        )
        for row in connection.execute(query)
    )


def series_by_state(connection: Connection) -> dict[str, int]:
    """Return how many series are in each state that some are in."""
    counts = select(series.c.state, func.count().label("number")).group_by(series.c.state)
    return {row.state: row.number for row in connection.execute(counts)}
