"""The migration that writes verdicts beside the series."""

from __future__ import annotations

from datetime import datetime

from alembic import command
from sqlalchemy import text

from qagate.assessment import Assessment, Prompt
from qagate.store.codec import dumps
from qagate.store.engine import open_store
from qagate.store.migrate import _config, migrate

_TEXTS = (
    *("series_instance_uid", "study_instance_uid", "modality", "modalities", "body_part_examined"),
    *("protocol_name", "series_description", "station_name", "manufacturer_model_name", "calling_ae_title"),
)
_TIMES = ("first_received_at", "last_received_at", "revision_started_at", "not_before")


def test_the_last_result_stands_beside_its_series(empty_url: str) -> None:
    at = datetime(2026, 3, 1)
    config = _config()
    with open_store(empty_url) as store, store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for key in (1, 2):
            row: dict[str, object] = {**dict.fromkeys(_TEXTS, str(key)), **dict.fromkeys(_TIMES, at)}
            row |= {"id": key, "state": "DELIVERED", "revision": 2, "instance_count": 3, "attempts": 0}
            names = ", ".join(row)
            connection.execute(text(f"INSERT INTO series ({names}) VALUES (:{', :'.join(row)})"), row)
        for revision, quality, region in ((2, 0.25, "knee"), (1, float("nan"), "head")):
            prompt = Prompt(dimension="3D", modality="MR", region=region)
            row = {"series_id": 1, "revision": revision, "verdict": "REVIEW", "instance_count": 3}
            row |= {"quality": quality, "last_received_at": at, "decided_at": at, "decision": "{}"}
            row["assessment"] = dumps(Assessment(prompt=prompt, quality=quality, score=quality))
            names = ", ".join(row)
            connection.execute(text(f"INSERT INTO result ({names}) VALUES (:{', :'.join(row)})"), row)
    migrate(empty_url)
    with open_store(empty_url) as store, store.read() as connection:
        columns = "verdict, quality, judged_revision, region"
        found = connection.execute(text(f"SELECT {columns} FROM series ORDER BY id")).all()
    assert [tuple(row) for row in found] == [("REVIEW", 0.25, 2, "knee"), (None, None, None, "")]
