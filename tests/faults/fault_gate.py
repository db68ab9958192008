"""A whole gate in processes of its own, and the books of a fault: what was accepted, what came out of it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from ledger import record
from neighbours import until
from pydicom import dcmread

from qagate.dicom import scu
from qagate.dicom.part10 import hash_data_set
from qagate.dicom.spool import Spool
from qagate.store.engine import open_store
from qagate.store.errors import StoreError
from qagate.store.schema import instance, outbox, result, series

Database = Literal["sqlite", "postgres"]
QAGATE_TESTS = Path(__file__).parents[1] / "qagate"
LIMIT_S = 90.0
EVERYTHING = {
    "mode": "forward",
    "assembly": {"short_quiet_s": 0.2, "long_quiet_s": 1.0, "poll_s": 0.05},
    "worker": {"threads": 1, "device": "cpu", "lease_s": 4.0},
    "delivery": {"first_retry_s": 0.2, "max_retry_s": 0.5, "lease_s": 4.0},
    "rule": [{"name": "all", "review_below": 1.0, "repeat_below": 0.0}],
}


@functools.cache
def whole() -> ModuleType:
    """The fixtures of tests/qagate: `Gate`, `Made`."""
    spec = importlib.util.spec_from_file_location("gate_fixtures", QAGATE_TESTS / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Books:
    """What a gate accepted, and what became of it."""

    def __init__(self, gate: Any, url: str, archives: Sequence[Any] = (), database: Database = "sqlite"):
        self.gate, self.url, self.archives, self.database = gate, url, archives, database
        self.accepted: dict[Path, str] = {}  #: file -> its Series Instance UID

    def send(self, paths: Sequence[Path]) -> int:
        """Send files as a scanner does; how many were answered 0x0000."""
        before = len(self.accepted)
        for answer in scu.store(self.gate.peer(), [path for path in paths if path not in self.accepted]):
            if answer.delivery is scu.Delivery.DELIVERED:
                found = dcmread(answer.path, specific_tags=["SeriesInstanceUID"])
                self.accepted[answer.path] = str(found.SeriesInstanceUID)
        return len(self.accepted) - before

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        with open_store(self.url) as store, store.read() as connection:
            return list(connection.execute(statement).all())

    def states(self) -> dict[str, str]:
        found = self.rows(sa.select(series.c.series_instance_uid, series.c.state))
        return {row.series_instance_uid: row.state for row in found}

    def decided(self, uid: str) -> bool:
        return self.states().get(uid) in ("DECIDED", "DELIVERED")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event; several processes that share a full disk tear some."""
        found = []
        for line in self.gate.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [one for one in found if isinstance(one, dict) and one.get("event") == name]

    def settled(self) -> bool:
        """Everything that was accepted is decided and sent."""
        try:
            states, known = self.states(), self.rows(sa.select(sa.func.count()).select_from(instance))[0][0]
        except StoreError:
            return False
        mine = {states.get(uid) for uid in self.accepted.values()}
        return known >= len(self.accepted) and mine == {"DELIVERED"}

    def settle(self) -> None:
        assert until(self.settled, LIMIT_S), f"{self.states()}\n{self.gate.log.read_text()[-4000:]}"

    def lost(self) -> int:
        """Accepted instances that spool, database, a decision or an archive lacks."""
        spool, decided = Spool(self.gate.data / "spool"), set(self.accepted.values())
        decided &= {uid for uid, state in self.states().items() if state == "DELIVERED"}
        known = {row.sop_instance_uid: row for row in self.rows(sa.select(instance))}
        lost = 0
        for path, series_uid in self.accepted.items():
            uid = str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
            row, sha256 = known.get(uid), hash_data_set(path)[0]
            safe = row is not None and hash_data_set(spool.absolute(row.path))[0] == row.sha256 == sha256
            there = all(archive.holds(uid, sha256) for archive in self.archives)
            lost += not (safe and there and series_uid in decided)
        return lost

    def duplicated(self) -> int:
        """Decisions beyond one a revision, and reports beyond one a revision in any archive."""
        of = [(row.series_id, row.revision) for row in self.rows(sa.select(result))]
        logged = Counter((one["series_instance_uid"], one["revision"]) for one in self.events("decided"))
        twice = len(of) - len(set(of)) + sum(logged.values()) - len(logged)
        return twice + sum(max(0, archive.reports() - len(of)) for archive in self.archives)

    def close(self, fault: str, where: str, outcome: str, *, settle: bool = True) -> None:
        """Wait until all is done, write the outcome down, then check it."""
        if settle:
            self.settle()
        lost, twice = self.lost(), self.duplicated()
        record(
            fault=fault, where=where, database=self.database, accepted=len(self.accepted), lost=lost,
            duplicated=twice, outcome=outcome,
        )  # fmt: skip
        assert self.accepted and (lost, twice) == (0, 0), self.gate.log.read_text()[-4000:]
        self.accepted.clear()

    def errors(self) -> list[str]:
        """What the deliveries that wait say."""
        return [row.last_error or "" for row in self.rows(sa.select(outbox.c.last_error))]


def tool(*command: str, check: bool = True) -> str:
    """Run a system command; its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def needs(*programs: str) -> None:
    """Skip where a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def holds_for(seconds: float, condition: Callable[[], Any], every_s: float = 0.3) -> bool:
    """True when the condition holds all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not condition():
            return False
        time.sleep(every_s)
    return True
