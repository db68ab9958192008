"""kill -9 of the whole daemon while a scanner sends series of 200 instances, again and again.

QAGATE_TEST_KILLS: how many kills (default 25). QAGATE_TEST_SEED: seed of their moments (default 1).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from qagate.dicom import scu
from qagate.dicom.part10 import hash_data_set
from qagate.dicom.spool import Spool
from qagate.store.engine import open_store
from qagate.store.schema import instance, outbox, result, series

KILLS, SEED = int(os.environ.get("QAGATE_TEST_KILLS", "25")), int(os.environ.get("QAGATE_TEST_SEED", "1"))
SLICES = 200
PAUSE_S = 0.01  #: between two instances, so that a series takes a few seconds, as on a scanner
LONGEST_LIFE_S = 4.0  #: of the daemon, from its first answer or from the first its worker can do
UNTIL_WORKER = 0.4  #: share of the lives that last until the worker is ready, and longer


class Scanner:
    """Sends series after series, each until every instance was answered 0x0000, whatever dies meanwhile."""

    def __init__(self, gate: Any, made: Any) -> None:
        self.gate, self.made = gate, made
        self.series: dict[str, list[Path]] = {}
        self.acknowledged: set[Path] = set()
        self._last_one = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self, limit_s: float = 120) -> bool:
        """Send the series in hand to its end, then no further one; False when that takes too long."""
        self._last_one.set()
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._last_one.is_set():
            uid, files = self.made.series(SLICES)
            self.series[uid] = files
            while waiting := [path for path in files if path not in self.acknowledged]:
                self._send(waiting)

    def _send(self, paths: list[Path]) -> None:
        try:
            for answer in scu.store(self.gate.peer(), paths):
                if answer.delivery is scu.Delivery.DELIVERED:
                    self.acknowledged.add(answer.path)
                time.sleep(PAUSE_S)
        except scu.DeliveryError:
            time.sleep(0.05)  # the gate is down


def rows(gate: Any, statement: sa.Select[Any]) -> list[Any]:
    with open_store(gate.store_url) as store, store.read() as connection:
        return list(connection.execute(statement).all())


def reclaimed(gate: Any) -> int:
    """Claims that died with their worker, of series whose last revision needed several."""
    return sum(row.attempts - 1 for row in rows(gate, sa.select(series.c.attempts)) if row.attempts > 1)


def settled(gate: Any) -> bool:
    """Nothing left to score, and nothing left to send but alerts of unknown fate."""
    states = {row.state for row in rows(gate, sa.select(series.c.state))}
    unsent = rows(gate, sa.select(outbox.c.kind).where(outbox.c.state.in_(("PENDING", "SENDING"))))
    return not states & {"RECEIVING", "COMPLETE", "SCORING"} and not unsent


@pytest.fixture(scope="module")
def survivor(make_orthanc: Callable, make_gate: Callable, webhook: Any, made: Any) -> tuple[Any, Any, Any]:
    """Gate, archive and scanner after the last kill, when all work is done."""
    orthanc = make_orthanc()
    gate = make_gate(
        start=False,
        archive=[orthanc.settings()],
        # A dead daemon costs every series it was scoring one try.
        worker={"max_attempts": 1000, "lease_s": 2.0},
        assembly={"short_quiet_s": 0.4, "long_quiet_s": 5.0},
        delivery={"lease_s": 5.0, "first_retry_s": 0.2, "max_retry_s": 1.0},
        rule=[{"name": "all", "review_below": 1.0, "repeat_below": 0.0}],
        alerts={
            "urls": [webhook.url],
            "verdicts": ["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"],
            "body": "{series_instance_uid} {revision}",
        },
    )
    rng = random.Random(SEED)
    scanner: Scanner | None = None
    for _ in range(KILLS):
        workers = len(gate.events("worker_ready")) if scanner else 0
        gate.start()
        scanner = scanner or Scanner(gate, made)
        if rng.random() < UNTIL_WORKER:
            assert gate.until(lambda: len(gate.events("worker_ready")) > workers, 120)  # noqa: B023
        time.sleep(rng.uniform(0, LONGEST_LIFE_S))
        gate.kill()
    gate.start()
    assert scanner is not None and scanner.finish(), "the scanner could not get rid of its series"
    assert gate.until(lambda: settled(gate), 180), gate.overview()
    return gate, orthanc, scanner


pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 40 * KILLS)]


def test_the_kills_hit_reception_scoring_and_delivery(survivor: tuple[Any, Any, Any]) -> None:
    gate, _, scanner = survivor
    print(
        f"{KILLS} kills, {len(scanner.series)} series, {len(scanner.acknowledged)} acknowledged, "
        f"{len(rows(gate, sa.select(result.c.id)))} results, {len(gate.events('recovered'))} recoveries, "
        f"{reclaimed(gate)} claims lost, {len(gate.events('decided'))} decisions logged"
    )
    assert KILLS < 20 or gate.events("recovered") or gate.events("delete_leftovers")
    assert len(scanner.acknowledged) == SLICES * len(scanner.series)


def test_everything_acknowledged_is_in_spool_and_database(survivor: tuple[Any, Any, Any]) -> None:
    gate, _, scanner = survivor
    spool = Spool(gate.data / "spool")
    known = {row.sop_instance_uid: row for row in rows(gate, sa.select(instance))}
    assert len(known) == len(rows(gate, sa.select(instance.c.id))) == len(scanner.acknowledged)
    assert {row.path for row in known.values()} == set(spool.paths())
    for path in scanner.acknowledged:
        row = known[str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)]
        assert row.sha256 == hash_data_set(path)[0] == hash_data_set(spool.absolute(row.path))[0]
    assert not list(spool.paths(conflicts=True)) and not list(spool.incoming.iterdir())


def test_each_revision_is_decided_once(survivor: tuple[Any, Any, Any]) -> None:
    gate, _, scanner = survivor
    logged = Counter((one["series_instance_uid"], one["revision"]) for one in gate.events("decided"))
    assert logged.most_common(1)[0][1] == 1
    found = rows(gate, sa.select(series.c.series_instance_uid, series.c.revision, series.c.state))
    assert {row.series_instance_uid for row in found} == set(scanner.series)
    assert {row.state for row in found} <= {"DECIDED", "DELIVERED"}, gate.overview().stuck
    last = sa.and_(result.c.series_id == series.c.id, result.c.revision == series.c.revision)
    counts = rows(gate, sa.select(result.c.instance_count).join(series, last))
    assert [row.instance_count for row in counts] == [SLICES] * len(scanner.series)


def test_one_report_for_each_revision_in_the_archive(survivor: tuple[Any, Any, Any]) -> None:
    gate, orthanc, _ = survivor
    columns = sa.select(series.c.series_instance_uid, result.c.revision)
    decided = rows(gate, columns.join(series, series.c.id == result.c.series_id))
    expected = {(row.series_instance_uid, row.revision) for row in decided}
    stored = orthanc.documents("SR")
    reports = [dcmread(BytesIO(orthanc.file(uid))) for uid in stored]
    paths = {dcmread(gate.report(*key)).SOPInstanceUID: key for key in expected}
    assert {report.SOPInstanceUID for report in reports} == set(paths)
    assert len(reports) == len(expected)
    for report in reports:
        revision = paths[report.SOPInstanceUID][1]
        for former in report.get("PredecessorDocumentsSequence", []):
            reference = former.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
            uid = reference.ReferencedSOPInstanceUID
            assert uid in stored, f"revision {revision} names a predecessor that was never sent"


def test_no_alert_comes_twice(survivor: tuple[Any, Any, Any], webhook: Any) -> None:
    gate, _, _ = survivor
    said = Counter(body["message"] for body in webhook.bodies)
    assert said and said.most_common(1)[0][1] == 1
    sent = rows(gate, sa.select(outbox.c.id).where(outbox.c.kind == "ALERT", outbox.c.state == "SENT"))
    assert len(sent) <= len(said)
