"""One cell of the crash matrix: a gate in three processes, its neighbours, and four promises."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from crash_neighbours import Archive, Webhook
from crash_roles import Process
from ledger import record
from neighbours import free_port, until
from pydicom import dcmread
from steps import HELD_BY_ARCHIVE, HELD_BY_WEBHOOK, Step

from qagate.dicom import scu
from qagate.dicom.part10 import hash_data_set
from qagate.dicom.spool import Spool
from qagate.store.engine import Store, open_store
from qagate.store.outbox import Outbox
from qagate.store.schema import instance, outbox, result, series

ROLES = ("receiver", "services", "worker")
LIMIT_S = 60.0
LEASE_S = 2.0
UNKNOWN_FATE = "whether the alert arrived is unknown"


class Cell:
    """A gate, what stands round it, and what the scanner was told."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.url = folder, url
        self.archive, self.webhook = Archive(), Webhook()
        self.running: dict[str, Process] = {}
        self.others: list[Process] = []  #: second processes of a role
        self.accepted: dict[Path, str] = {}  #: answered 0x0000 -> SHA-256 of its data set
        self._log = itertools.count(1)
        sections: dict[str, Any] = {
            "mode": "forward",
            "data_dir": str(folder / "data"),
            "database_url": url,
            "receiver": {"port": free_port(), "min_free_mb": 1},
            "assembly": {"short_quiet_s": 0.2, "long_quiet_s": 1.0, "poll_s": 0.05},
            "worker": {"threads": 1, "device": "cpu", "lease_s": LEASE_S, "max_attempts": 50},
            "delivery": {"first_retry_s": 0.2, "max_retry_s": 0.4, "lease_s": LEASE_S},
            "alerts": {
                "urls": [self.webhook.url],
                "verdicts": ["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"],
                "body": "{series_instance_uid} {revision}",
            },
            "archive": [self.archive.settings()],
            # Everything is to be looked at, so that there is a key object as well.
            "rule": [{"name": "all", "review_below": 1.0, "repeat_below": 0.0}],
        }
        for key, value in settings.items():
            sections[key] = sections[key] | value if isinstance(value, dict) else value
        self.settings, self.port = sections, sections["receiver"]["port"]

    @property
    def reports(self) -> Path:
        return self.folder / "data" / "reports"

    # the gate

    def start(self, role: str, step: Step | None = None, number: int = signal.SIGKILL) -> Process:
        """Start a role, in place of the one before; it sends itself `number` at `step`."""
        log = self.folder / f"{next(self._log)}-{role}.jsonl"
        process = Process(role, self.settings, log, step, number)
        self.running[role] = process
        return process

    def start_all(self, step: Step | None = None, number: int = signal.SIGKILL) -> Process | None:
        """Start every role; return the one that is armed."""
        started = {role: self.start(role, self._mine(step, role), number) for role in ROLES}
        assert until(self.answers, LIMIT_S, 0.02), self.logs()
        armed = started[step.role] if step else None
        if step is HELD_BY_ARCHIVE:
            self.archive.on_report = functools.partial(_signal, armed, number)
        elif step is HELD_BY_WEBHOOK:
            self.webhook.on_alert = functools.partial(_signal, armed, number)
        return armed

    @staticmethod
    def _mine(step: Step | None, role: str) -> Step | None:
        return step if step is not None and step.role == role else None

    def close(self) -> None:
        for process in (*self.running.values(), *self.others):
            process.kill()
        self.archive.close()
        self.webhook.close()

    def answers(self) -> bool:
        try:
            scu.echo(self._peer)
        except scu.DeliveryError:
            return False
        return True

    @property
    def _peer(self) -> scu.Archive:
        return scu.Archive(
            name="gate", ae_title="QAGATE", host="127.0.0.1", port=self.port, calling_ae_title="CT1",
            timeout_s=10,
        )  # fmt: skip

    def send(self, paths: Sequence[Path]) -> bool:
        """Send what was not accepted yet; True when everything is."""
        waiting = [path for path in paths if path not in self.accepted]
        try:
            for answer in scu.store(self._peer, waiting):
                if answer.delivery is scu.Delivery.DELIVERED:
                    self.accepted[answer.path] = hash_data_set(answer.path)[0]
        except scu.DeliveryError:
            pass  # the receiver is dead
        return all(path in self.accepted for path in paths)

    def events(self, name: str, of: Process | None = None) -> list[dict[str, Any]]:
        """Log lines of one event, of one process or of every one there was."""
        found = []
        for log in [of.log] if of else sorted(self.folder.glob("*.jsonl")):
            for line in log.read_text().splitlines():
                if line.startswith("{") and line.endswith("}") and json.loads(line)["event"] == name:
                    found.append(json.loads(line))
        return found

    def logs(self) -> str:
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in self.folder.glob("*.jsonl"))

    # the books

    @functools.cached_property
    def store(self) -> Store:
        return open_store(self.url)

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(statement).all())

    def locked(self) -> bool:
        """A transaction that writes stays open: a halted process keeps everybody else out."""
        return not until(self._writable, 1.0, 0.05)

    def _writable(self) -> bool:
        if not self.url.startswith("sqlite"):
            writing = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
            with self.store.read() as connection:
                return connection.exec_driver_sql(writing).scalar_one() == 0
        with contextlib.closing(
            sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=0)
        ) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
        return True

    def settled(self) -> bool:
        """Everything is decided and sent, or given up."""
        # Asked in the order of the path: what comes in between shows in a later answer.
        known = len(self.rows(sa.select(instance.c.id)))
        states = {row.state for row in self.rows(sa.select(series.c.state))}
        waits = self.rows(sa.select(outbox.c.id).where(outbox.c.state.in_(("PENDING", "SENDING"))))
        return known >= len(self.accepted) > 0 and states <= {"DECIDED", "DELIVERED", "FAILED"} and not waits

    def settle(self) -> None:
        assert until(self.settled, LIMIT_S, 0.05), f"{self.rows(sa.select(outbox))}\n{self.logs()}"

    def books(self) -> dict[str, list[Any]]:
        """Every row that a decision or a delivery writes."""
        tables = (series, instance, result, outbox)
        return {
            one.name: [tuple(row) for row in self.rows(sa.select(one).order_by(one.c.id))] for one in tables
        }

    def documents(self) -> dict[str, str]:
        """Name -> SHA-256 of every report file."""
        return {
            str(path.relative_to(self.reports)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.reports.rglob("*.dcm"))
        }

    # the promises

    def keeps_its_promises(self, fault: str, step: Step, database: Any, *, revived: bool = False) -> None:
        """Check all four, and write the outcome down."""
        lost = self.lost()
        twice = self.decided_twice() + self.reports_too_many() + self.alerts_too_many()
        heard = sum(self.webhook.heard.values())
        outcome = "all decided once and reported once, one alert"
        if revived:
            outcome = "all decided and reported once; the alert was a dead letter until it was requeued"
        elif any(UNKNOWN_FATE in (row.last_error or "") for row in self.dead()):
            outcome = "all decided and reported once; the alert arrived, and is shown as of unknown fate"
        record(
            fault=fault, where=f"{step.role}: {step.name}", database=database, accepted=len(self.accepted),
            lost=len(lost), duplicated=twice, outcome=outcome,
        )  # fmt: skip
        assert not lost, f"{lost}\n{self.logs()}"
        assert twice == 0, self.logs()
        assert self.accepted and heard == len(self.rows(sa.select(result.c.id))), self.webhook.heard
        self.archive_holds_everything()

    def lost(self) -> list[str]:
        """Accepted instances that spool, database or archive lacks."""
        spool = Spool(self.folder / "data" / "spool")
        known = {row.sop_instance_uid: row for row in self.rows(sa.select(instance))}
        lost = []
        for path, sha256 in self.accepted.items():
            uid = str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
            row = known.get(uid)
            there = row is not None and row.sha256 == sha256 == hash_data_set(spool.absolute(row.path))[0]
            if not there or self.archive.copies.get(uid, [""])[-1] != sha256:
                lost.append(uid)
        return lost

    def decided_twice(self) -> int:
        logged = Counter((one["series_instance_uid"], one["revision"]) for one in self.events("decided"))
        rows = self.rows(sa.select(result.c.series_id, result.c.revision))
        return sum(logged.values()) - len(logged) + len(rows) - len(set(rows))

    def reports_too_many(self) -> int:
        decided = len(self.rows(sa.select(result.c.id)))
        return max(0, len(self.archive.of("SR")) - decided) + max(0, len(self.archive.of("KOS")) - decided)

    def alerts_too_many(self) -> int:
        return sum(self.webhook.heard.values()) - len(self.webhook.heard)

    def archive_holds_everything(self) -> None:
        """One SR and one KOS of each revision, in every copy the bytes that were decided."""
        columns = sa.select(series.c.series_instance_uid, result.c.revision, result.c.instance_count)
        decided = self.rows(columns.join(series, series.c.id == result.c.series_id))
        latest = {row.series_instance_uid: row.instance_count for row in decided}
        assert sum(latest.values()) == len(self.accepted), "the last revision saw everything"
        wanted = {}
        for row in decided:
            for kind in ("comprehensive3d", "kos"):
                path = (
                    self.folder / "data" / "reports" / row.series_instance_uid / f"{row.revision}-{kind}.dcm"
                )
                wanted[str(dcmread(path).SOPInstanceUID)] = hash_data_set(path)[0]
        stored = {uid: self.archive.copies[uid] for uid in (*self.archive.of("SR"), *self.archive.of("KOS"))}
        assert stored.keys() == wanted.keys()
        for uid, copies in stored.items():
            assert set(copies) == {wanted[uid]}, "what is sent again is the same file"
            assert len(copies) <= 2

    def dead(self) -> list[Any]:
        return self.rows(sa.select(outbox).where(outbox.c.state == "DEAD"))

    def revive(self) -> bool:
        """What `qagate requeue --dead` does with an alert that nobody heard; False when all were heard."""
        dead = self.dead()
        assert all(row.kind == "ALERT" and UNKNOWN_FATE in row.last_error for row in dead), dead
        if sum(self.webhook.heard.values()) == len(self.rows(sa.select(result.c.id))):
            return False
        assert dead
        Outbox(self.store).requeue_dead()
        self.settle()
        return True


def _signal(process: Process, number: int) -> None:
    os.kill(process.pid, number)
    until(lambda: process.stopped or process.gone, LIMIT_S, 0.01)


@contextmanager
def cell(folder: Path, url: str, **settings: Any) -> Iterator[Cell]:
    """A cell that ends with the block, whatever happened in it."""
    made = Cell(folder, url, **settings)
    try:
        yield made
    finally:
        made.close()
