"""The daily reconciliation: every difference is told once, and nothing is told where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from neighbours import Webhook, free_port
from worker_bench import Bench, until, working

from qagate.alerts import Alerter
from qagate.dicom.headers import read_header
from qagate.reconcile import Reconciler
from qagate.series import State
from qagate.store.engine import open_store
from qagate.store.outbox import Outbox
from qagate.store.reconciliations import Reconciliations
from qagate.store.schema import series

NOW = datetime(2026, 3, 2, 7, tzinfo=UTC)
DAY, THEN = (NOW - timedelta(days=1)).date(), NOW - timedelta(hours=12)


@pytest.fixture
def bench(url: str, made: Any, tmp_path: Path) -> Iterator[Bench]:
    """A gate without processes."""
    with open_store(url) as store:
        yield Bench(store, tmp_path, made)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A webhook of its own."""
    hook = Webhook()
    yield hook
    hook.close()


def run(bench: Bench, hook_url: str, now: datetime = NOW) -> None:
    """The job, at a time."""
    with bench.store.write() as connection:
        times = dict.fromkeys(("last_received_at", "first_received_at"), THEN)
        connection.execute(sa.update(series).values(times))
    url = bench.store._engine.url.render_as_string(hide_password=False)
    with open_store(url, clock=lambda: now) as store:
        grace = timedelta(hours=6)
        Reconciler(store=store, spool=bench.spool, physicist=Alerter((hook_url,)), grace=grace).run()


def delivered(bench: Bench) -> str:
    uid = bench.complete(2)
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) is State.DECIDED)
    box = Outbox(bench.store)
    while (delivery := box.claim(60)) is not None:
        assert box.mark_sent(delivery)
    return uid


def test_a_day_without_difference_is_kept_and_nobody_is_told(bench: Bench, hook: Webhook) -> None:
    delivered(bench)
    run(bench, hook.url)
    (kept,) = Reconciliations(bench.store).kept()
    assert (kept.day, kept.received, kept.decided, kept.delivered, kept.instances) == (DAY, 1, 1, 1, 2)
    assert (kept.differences, hook.bodies) == ((), [])


def test_every_difference_is_told_once(bench: Bench, hook: Webhook) -> None:
    delivered(bench)
    failed = bench.complete(2, RescaleIntercept=3000)
    with working(bench.worker(max_attempts=1)):
        assert until(lambda: bench.state(failed) is State.FAILED)
    decided = bench.complete(2)
    with working(bench.worker()):
        assert until(lambda: bench.state(decided) is State.DECIDED)
    bench.receive(1)
    _, (path,) = bench.made.series(1)
    lost = bench.spool.place(Path(shutil.copy(path, bench.spool.temporary())), read_header(path))
    os.utime(bench.spool.absolute(lost.path), (THEN.timestamp(),) * 2)
    for _ in range(2):
        run(bench, hook.url)
    (kept,) = Reconciliations(bench.store).kept()
    assert (kept.received, kept.decided, kept.delivered, kept.failed) == (4, 2, 1, 1)
    waiting = sum(one.state != "SENT" for uid in (failed, decided) for one in bench.history(uid).deliveries)
    assert kept.differences == (
        "1 accepted instance is not recorded: run `qagate fsck --mend`.",
        "1 series is not decided (1 RECEIVING).",
        "1 series could not be scored: see `qagate status --state FAILED`.",
        f"For pacs {waiting} deliveries are not made yet.",
    )
    (told,) = hook.bodies
    assert told["title"] == f"Received, decided and delivered differ: {DAY}"
    assert all(sentence in told["message"] for sentence in kept.differences)


def test_it_is_told_later_when_nobody_listens(bench: Bench, hook: Webhook) -> None:
    bench.receive(1)
    run(bench, f"json://127.0.0.1:{free_port()}/")
    assert hook.bodies == []
    run(bench, hook.url)
    assert len(hook.bodies) == 1


def test_a_day_is_looked_at_after_its_grace_and_days_of_standstill_afterwards(
    bench: Bench, hook: Webhook
) -> None:
    bench.receive(1)
    run(bench, hook.url, NOW.replace(hour=5))
    assert Reconciliations(bench.store).kept() == ()
    run(bench, hook.url, NOW + timedelta(days=2))
    assert [one.day for one in Reconciliations(bench.store).kept()] == [
        DAY + timedelta(days=n) for n in (2, 1, 0)
    ]
