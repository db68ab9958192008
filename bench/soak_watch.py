"""Looks at a running gate every few seconds: its processes through /proc, its queues in its database."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from qagate.store.engine import Store
from qagate.store.schema import instance, outbox, series

EVERY_S = 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_ROLES = ("receiver", "worker", "services", "web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The gate at one moment."""

    at_s: float  #: since the day began
    pids: dict[str, int]  #: by role
    rss_mb: dict[str, float]
    handles: dict[str, int]  #: open file descriptors
    threads: dict[str, int]
    cpu_s: float  #: of the whole tree so far
    series: dict[str, int]  #: by state
    waiting: dict[str, int]  #: deliveries not sent, by kind
    database_mb: float
    spool_mb: float  #: what the database knows of it
    open_associations: int

    @property
    def rss(self) -> float:
        """Of all roles together, MB; pages that they share are counted for each."""
        return sum(self.rss_mb.values())


def roles(supervisor: int) -> dict[str, int]:
    """Role -> process id of a daemon's tree."""
    found = {"supervisor": supervisor}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            words = (stat.parent / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # ended meanwhile
        role = next((name for name in _ROLES if name in words), None)
        if parent == supervisor and role:
            found[role] = int(stat.parent.name)
    return found


def _of(pid: int) -> tuple[float, int, int, float]:
    """Resident MB, file handles, threads and CPU seconds of a process; zeros when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        handles = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return 0.0, 0, 0, 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    return pages * _PAGE / 2**20, handles, int(fields[17]), (int(fields[11]) + int(fields[12])) / ticks


def queues(store: Store) -> tuple[dict[str, int], dict[str, int], float]:
    """Series by state, unsent deliveries by kind, and the spool's size in MB."""
    with store.read() as connection:
        states = connection.execute(sa.select(series.c.state, sa.func.count()).group_by(series.c.state)).all()
        unsent = connection.execute(
            sa.select(outbox.c.kind, sa.func.count()).where(outbox.c.state != "SENT").group_by(outbox.c.kind)
        ).all()
        size = connection.scalar(sa.select(sa.func.sum(instance.c.size))) or 0
    return {row[0]: row[1] for row in states}, {row[0]: row[1] for row in unsent}, float(size) / 2**20


def database_mb(store: Store, file: Path) -> float:
    """Size of the database: SQLite's files, or what Postgres says."""
    with store.read() as connection:
        if connection.dialect.name == "postgresql":
            size = connection.scalar(sa.select(sa.func.pg_database_size(sa.func.current_database())))
            return float(size or 0) / 2**20
    found = (file.with_name(file.name + suffix) for suffix in ("", "-wal", "-shm"))
    return sum(one.stat().st_size for one in found if one.exists()) / 2**20


class Watch(threading.Thread):
    """Samples until told to stop."""

    def __init__(
        self, supervisor: int, store: Store, file: Path, began: float, open_associations: Callable[[], int]
    ) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self._supervisor, self._store, self._file = supervisor, store, file
        self._began, self._open = began, open_associations
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample every few seconds."""
        while not self._ended.wait(max(0.0, EVERY_S - (time.time() - self._began) % EVERY_S)):
            self.samples.append(self.look())

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self.join()

    def look(self) -> Sample:
        """The gate now."""
        pids = roles(self._supervisor)
        found = {role: _of(pid) for role, pid in pids.items()}
        states, waiting, spool_mb = queues(self._store)
        return Sample(
            at_s=round(time.time() - self._began, 2),
            pids=pids,
            rss_mb={role: round(one[0], 2) for role, one in found.items()},
            handles={role: one[1] for role, one in found.items()},
            threads={role: one[2] for role, one in found.items()},
            cpu_s=round(sum(one[3] for one in found.values()), 2),
            series=states,
            waiting=waiting,
            database_mb=round(database_mb(self._store, self._file), 2),
            spool_mb=round(spool_mb, 2),
            open_associations=self._open(),
        )


def as_json(sample: Sample) -> dict[str, Any]:
    """For the file of figures."""
    return asdict(sample)
