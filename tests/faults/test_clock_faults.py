"""The clock jumps by hours, forwards and back: waits, leases, logins and retention by the gate's own parts.

The parts get a clock that jumps; the machine's is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fault_postgres import Postgres
from ledger import record
from worker_bench import Bench, until, working

from qagate import parts
from qagate.clocks import ClockGuard, Stillness
from qagate.config import Settings
from qagate.dicom.spool import Spool
from qagate.retention import Purger, RetentionRules
from qagate.series import State
from qagate.services import close_series
from qagate.store.accounts import Accounts
from qagate.store.engine import Store, open_store
from qagate.store.logins import Logins
from qagate.store.migrate import migrate
from qagate.store.outbox import Outbox, RetryPolicy
from qagate.store.returns import Returns
from qagate.store.schema import account

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
HOURS = (-5.0, 5.0)
SETTINGS = Settings(assembly={"short_quiet_s": 2.0, "long_quiet_s": 10.0})  # type: ignore[arg-type]


class Clocks:
    """The time of day, which jumps, and the steady one, which does not."""

    def __init__(self) -> None:
        self.day, self.steady = datetime.now(UTC), 1000.0

    def __call__(self) -> datetime:
        return self.day

    def pass_s(self, seconds: float) -> None:
        self.day += timedelta(seconds=seconds)
        self.steady += seconds

    def jump(self, hours: float) -> None:
        self.day += timedelta(hours=hours)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    there = Postgres().start()
    yield there
    there.close()


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    if request.param == "sqlite":
        return "sqlite", f"sqlite:///{tmp_path / 'qagate.db'}"
    server: Postgres = request.getfixturevalue("server")
    name = f"d{tmp_path.name}".replace("-", "_").lower()
    server.ask(f'CREATE DATABASE "{name}"')
    return "postgres", server.url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def store(where: tuple[Any, str], clocks: Clocks) -> Iterator[Store]:
    migrate(where[1])
    with open_store(where[1], clock=clocks) as opened:
        yield opened


@pytest.fixture
def bench(store: Store, tmp_path: Path, made: Any) -> Bench:
    return Bench(store, tmp_path, made)


def told(database: Any, where: str, accepted: int, outcome: str, hours: float) -> None:
    """Write one outcome down; the test has checked that nothing is lost or came twice."""
    way = "back" if hours < 0 else "forwards"
    record(
        fault=f"clock set {way} by hours", where=where, database=database, accepted=accepted, lost=0,
        duplicated=0, outcome=outcome,
    )  # fmt: skip


@pytest.mark.parametrize("hours", HOURS)
def test_quiet_time_is_neither_lengthened_nor_cut_short(
    bench: Bench, clocks: Clocks, where: tuple[Any, str], hours: float
) -> None:
    stillness = Stillness(lambda: clocks.steady)

    def look() -> None:
        close_series(SETTINGS, bench.store, bench.queue, stillness)

    look()
    uid = bench.receive()
    look()
    clocks.jump(hours)
    clocks.pass_s(9.0)
    look()
    assert bench.state(uid) is State.RECEIVING, "ten seconds have not passed, whatever the clock says"
    clocks.pass_s(1.5)
    look()
    assert bench.state(uid) is State.COMPLETE
    told(where[0], "services: when a series is complete", 3, "closed after its usual quiet time", hours)


@pytest.mark.parametrize("hours", HOURS)
def test_a_dead_workers_series_and_a_failed_one_come_back_soon(
    bench: Bench, clocks: Clocks, where: tuple[Any, str], hours: float
) -> None:
    returns, longest = Returns(bench.store), parts.longest(SETTINGS)
    dead, failed, waits = (bench.complete() for _ in range(3))
    for uid in (dead, failed):
        claimed = bench.queue.claim("w0", SETTINGS.worker.lease_s)
        assert claimed is not None and claimed.series_instance_uid == uid
        if uid == failed:
            bench.queue.fail(claimed, "a try", max_attempts=3)
    clocks.jump(hours)
    returns.mend_clock(longest)
    clocks.pass_s(SETTINGS.worker.lease_s + 1)
    assert bench.queue.reap(max_attempts=3) == 1
    with working(bench.worker()):
        assert until(lambda: all(bench.state(uid) is State.DECIDED for uid in (dead, failed, waits)))
    assert [len(bench.history(uid).results) for uid in (dead, failed, waits)] == [1, 1, 1]
    told(where[0], "worker: leases and pauses", 9, "taken back after one lease, decided once", hours)


@pytest.mark.parametrize("hours", HOURS)
def test_a_living_worker_keeps_its_lease_or_loses_it_without_harm(
    bench: Bench, clocks: Clocks, where: tuple[Any, str], hours: float
) -> None:
    uid = bench.complete()
    jumped: list[int] = []

    def jump() -> None:
        if not jumped:
            jumped.append(1)
            clocks.jump(hours)
            Returns(bench.store).mend_clock(parts.longest(SETTINGS))
            bench.queue.reap(max_attempts=3)

    bench.network.before = jump
    with working(bench.worker(max_attempts=3)):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    assert len(bench.history(uid).results) == 1
    outcome = "decided once; forwards it may be scored twice, and the first result is dropped"
    told(where[0], "worker: a series that is being scored", 3, outcome, hours)


@pytest.mark.parametrize("hours", HOURS)
def test_deliveries_go_on(bench: Bench, clocks: Clocks, where: tuple[Any, str], hours: float) -> None:
    uid, box = bench.complete(), Outbox(bench.store)
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    retried, dead = box.claim(300.0), box.claim(300.0)
    assert retried is not None and dead is not None
    box.mark_retry(retried, "the archive is down", RetryPolicy(first_s=60.0))
    clocks.jump(hours)
    Returns(bench.store).mend_clock(parts.longest(SETTINGS))
    clocks.pass_s(301)
    assert box.reap() == 1
    sent = 0
    while (delivery := box.claim(300.0)) is not None:
        assert box.mark_sent(delivery)
        sent += 1
    assert sent == len(bench.history(uid).deliveries) and bench.state(uid) is State.DELIVERED
    told(where[0], "delivery: leases and back-off", 3, "tried again after its usual pause at most", hours)


@pytest.mark.parametrize("hours", [-5.0, 24.0 * 400])
def test_retention_deletes_nothing_early(
    bench: Bench, clocks: Clocks, where: tuple[Any, str], hours: float
) -> None:
    uid, box = bench.complete(), Outbox(bench.store)
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    while (delivery := box.claim(300.0)) is not None:
        box.mark_sent(delivery)
    guard = ClockGuard(bench.store.now, steady=lambda: clocks.steady)
    rules = RetentionRules(keep_days=30, free_mb=0, least_hours=24, reports=False)
    purger = Purger(
        store=bench.store, spool=bench.spool, report_folder=bench.reports, rules=rules, guard=guard
    )
    clocks.jump(hours)
    for _ in range(23):
        assert purger.run().series == 0
        clocks.pass_s(3600)
    clocks.jump(-hours)  # the time service is mended
    assert purger.run().series == 0 and len(list(bench.spool.paths())) == 3
    clocks.pass_s(86_400 * 31)
    assert purger.run().series == 1, "it deletes again, what is old by a clock that is right"
    outcome = "nothing is deleted for a day after a jump of more than an hour; the log says `clock_doubted`"
    told(where[0], "retention", 3, outcome, hours)


def test_a_start_with_a_wrong_clock_deletes_nothing(bench: Bench, clocks: Clocks) -> None:
    bench.complete()
    clocks.jump(24.0 * 400)
    settings = Settings(
        retention={"keep_days": 30},  # type: ignore[arg-type]
        archive=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1"}],  # type: ignore[arg-type]
    )
    purger = parts.purger(settings, bench.store, Spool(bench.spool.root))
    assert purger._guard.careful()


@pytest.mark.parametrize("hours", HOURS)
def test_a_login_never_lasts_longer(
    store: Store, clocks: Clocks, where: tuple[Any, str], hours: float
) -> None:
    accounts, logins = Accounts(store), Logins(store)
    anna = accounts.add("anna", "viewer", actor="test", source="local", password_hash="x")
    logins.begin(anna, "0" * 64, longest_s=43_200)
    assert logins.who("0" * 64, idle_s=3600, longest_s=43_200) is not None
    clocks.jump(hours)
    assert logins.who("0" * 64, idle_s=3600, longest_s=43_200) is None
    logins.begin(anna, "1" * 64, longest_s=43_200)
    assert logins.who("1" * 64, idle_s=3600, longest_s=43_200) is not None
    told(where[0], "pages: logins", 0, "people log in once more", hours)


def test_a_locked_account_is_not_locked_for_hours(store: Store, clocks: Clocks) -> None:
    accounts = Accounts(store)
    anna = accounts.add("anna", "viewer", actor="test", source="local", password_hash="x")
    assert accounts.wrong_password(anna.account_id, allowed=1, lock_s=900)
    clocks.jump(-5.0)
    Returns(store).mend_clock(parts.longest(SETTINGS))
    with store.read() as connection:
        until_ = connection.scalar(sa.select(account.c.locked_until))
    assert until_ is not None and (until_ - clocks.day).total_seconds() <= 900
