"""The network between gate and Postgres is cut: the server in a network namespace, the link taken down."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from fault_archives import Archive
from fault_gate import EVERYTHING, LIMIT_S, Books, needs, tool
from fault_postgres import Postgres
from neighbours import until

from qagate.store.engine import open_store
from qagate.store.errors import StoreUnavailable
from qagate.store.schema import series

pytestmark = [pytest.mark.faults, pytest.mark.timeout(290)]
CUT_S = 30.0  #: longer than the lease, and than either end needs to notice
LOCKS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'qagate' AND state LIKE 'idle in%'"


class Link:
    """A namespace with one cable to this one."""

    def __init__(self) -> None:
        number = os.getpid() % 250
        self.name, self.near, self.far = f"qagate{number}", f"qg{number}a", f"qg{number}b"
        self.here, self.there = f"10.231.{number}.1", f"10.231.{number}.2"
        made = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no network namespace can be made here (it needs root): {made.stderr.strip()}")
        tool("ip", "link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.name)
        tool("ip", "address", "add", f"{self.here}/24", "dev", self.near)
        tool("ip", "-n", self.name, "address", "add", f"{self.there}/24", "dev", self.far)
        tool("ip", "-n", self.name, "link", "set", self.far, "up")
        self.mend()

    def cut(self) -> None:
        tool("ip", "link", "set", self.near, "down")

    def mend(self) -> None:
        tool("ip", "link", "set", self.near, "up")

    def close(self) -> None:
        tool("ip", "link", "del", self.near, check=False)
        tool("ip", "netns", "del", self.name, check=False)


@pytest.fixture
def link() -> Iterator[Link]:
    needs("ip")
    there = Link()
    yield there
    there.close()


@pytest.fixture
def postgres(link: Link) -> Iterator[Postgres]:
    server = Postgres(link.there, within=("ip", "netns", "exec", link.name)).start()
    yield server
    server.close()


def test_a_cut_between_gate_and_database(
    make_gate: Callable[..., Any], made: Any, link: Link, postgres: Postgres, tmp_path: Any
) -> None:
    """A transaction under way at the cut is undone on the server, and what it locked can be claimed again."""
    archive = Archive("pacs", tmp_path)
    archive.start()
    gate = make_gate(**EVERYTHING, archive=[archive.settings(timeout_s=10.0)], database_url=postgres.url)
    books = Books(gate, postgres.url, [archive], "postgres")
    try:
        first = made.series(3)
        books.send(first[1])
        books.settle()
        with open_store(postgres.url) as mine:
            with pytest.raises(StoreUnavailable), mine.write() as transaction:
                transaction.execute(sa.select(series).with_for_update()).all()
                books.send(made.series(3)[1])
                link.cut()
                assert books.send(made.series(3)[1]) == 3
                began = time.monotonic()
                # Noticed by this end although nothing is ever answered.
                transaction.execute(sa.select(series)).all()
            noticed_s = time.monotonic() - began
            assert noticed_s < 60
        assert until(lambda: int(str(postgres.ask(LOCKS)[0][0])) == 0, LIMIT_S), "the server lets go as well"
        time.sleep(max(0.0, CUT_S - (time.monotonic() - began)))
        assert "cannot be reached" in gate.log.read_text()
        link.mend()
        books.close(
            "network cut between gate and database, in a transaction and for longer than a lease",
            "receiver, worker, services",
            "images are accepted into the spool all the time; both ends notice within half a minute and the "
            "server lets go of what was locked; everything is decided and sent when the link is back",
        )
    finally:
        gate.stop()
        archive.close()
