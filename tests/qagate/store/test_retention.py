"""Retention: what may go goes, oldest first; what anyone may still need stays, whatever the disk says."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from worker_bench import Bench, until, working

from qagate.commitment import Basis, Reference, Request
from qagate.dicom.headers import read_header
from qagate.fsck import Fsck
from qagate.label import Label, LabelKind
from qagate.retention import Purged, Purger, RetentionRules
from qagate.series import State
from qagate.store.audit import Trail
from qagate.store.commitments import Commitments
from qagate.store.engine import open_store
from qagate.store.errors import StoreError
from qagate.store.labels import Labels
from qagate.store.outbox import Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.retention import EXPORT_ACT, Retention
from qagate.store.schema import commitment, outbox, series

BY_AGE = RetentionRules(keep_days=30, free_mb=0, least_hours=24, reports=False)
BY_SPACE = RetentionRules(keep_days=0, free_mb=100, least_hours=24, reports=False)


@pytest.fixture
def bench(url: str, made: Any, tmp_path: Path) -> Iterator[Bench]:
    """A gate without processes."""
    with open_store(url) as store:
        yield Bench(store, tmp_path, made)


def purge(bench: Bench, rules: RetentionRules = BY_AGE, **parts: Any) -> Purged:
    return Purger(
        store=bench.store, spool=bench.spool, report_folder=bench.reports, rules=rules, **parts
    ).run()


def age(bench: Bench, uid: str, days: float) -> None:
    with bench.store.write() as connection:
        at = datetime.now(UTC) - timedelta(days=days)
        where = series.c.series_instance_uid == uid
        connection.execute(sa.update(series).where(where).values(last_received_at=at))


def score(bench: Bench, uid: str) -> None:
    with working(bench.worker()):
        assert until(lambda: bench.state(uid) in (State.DECIDED, State.FAILED))


def deliver(bench: Bench) -> None:
    box = Outbox(bench.store)
    while (delivery := box.claim(60)) is not None:
        assert box.mark_sent(delivery)


def delivered(bench: Bench, days: float = 40) -> str:
    uid = bench.complete(2)
    score(bench, uid)
    deliver(bench)
    age(bench, uid, days)
    return uid


def files(bench: Bench, uid: str) -> int:
    return sum(uid in path for path in bench.spool.paths())


def label(bench: Bench, uid: str) -> None:
    Labels(bench.store).add([Label(series_instance_uid=uid, rater="anna", kind=LabelKind.AGREE)])


def test_by_age_the_images_go_and_the_series_stays(bench: Bench) -> None:
    old, young = delivered(bench, 31), delivered(bench, 29)
    assert purge(bench) == Purged(series=1, files=2)
    assert (files(bench, old), files(bench, young)) == (0, 2)
    assert not bench.spool.folder(old).exists()
    assert bench.history(old).results, "what was concluded stays"
    assert list((bench.reports / old).iterdir())
    assert purge(bench) == Purged()
    assert purge(bench, dataclasses.replace(BY_AGE, keep_days=0)) == Purged()


def test_reports_go_when_asked(bench: Bench) -> None:
    uid = delivered(bench)
    purge(bench, dataclasses.replace(BY_AGE, reports=True))
    assert list((bench.reports / uid).iterdir()) == []


def test_what_is_not_delivered_stays(bench: Bench) -> None:
    dead = bench.complete(2)
    score(bench, dead)
    box = Outbox(bench.store)
    while (delivery := box.claim(60)) is not None:
        box.mark_retry(delivery, "refused", RetryPolicy(max_attempts=1))
    waiting = bench.complete(2)
    score(bench, waiting)
    receiving = bench.receive(2)
    uids = (dead, waiting, receiving, failed := bench.complete(2, RescaleIntercept=3000))
    with working(bench.worker(max_attempts=1)):
        assert until(lambda: bench.state(failed) is State.FAILED)
    for uid in uids:
        age(bench, uid, 400)
    assert purge(bench) == Purged()
    assert purge(bench, dataclasses.replace(BY_SPACE, free_mb=1 << 40)) == Purged()
    assert [files(bench, uid) for uid in uids] == [2, 2, 2, 2]


def test_what_an_earlier_revision_left_unsent_stays(bench: Bench) -> None:
    uid = delivered(bench)
    (row,) = [one for one in bench.history(uid).deliveries if one.kind == "SR"]
    with bench.store.write() as connection:
        values = {"revision": 2, "judged_revision": 2}
        connection.execute(sa.update(series).values(values))
        connection.execute(sa.update(outbox).where(outbox.c.kind == "SR").values(state="DEAD"))
    assert row.revision == 1 and purge(bench) == Purged()


def test_labelled_and_unexported_stays(bench: Bench) -> None:
    uid = delivered(bench)
    label(bench, uid)
    assert purge(bench) == Purged()
    last = Retention(bench.store).last_label()
    Trail(bench.store).add(actor="anna", act=EXPORT_ACT, details={"up_to": last - 1})
    assert purge(bench) == Purged(), "exported before it was labelled"
    Trail(bench.store).add(actor="anna", act=EXPORT_ACT, details={"up_to": last})
    assert purge(bench) == Purged(series=1, files=2)


def test_what_came_twice_with_different_bytes_stays(bench: Bench) -> None:
    uid, (path,) = bench.made.series(1)
    bench.arrive([path])
    other = bench.made.slice(
        SOPInstanceUID=read_header(path).sop_instance_uid, SeriesInstanceUID=uid, InstanceNumber=9
    )
    bench.arrive([other])
    bench.close()
    score(bench, uid)
    deliver(bench)
    age(bench, uid, 400)
    assert bench.state(uid) is State.DELIVERED
    assert purge(bench) == Purged()


def test_what_the_spool_was_promised_to_keep_stays(bench: Bench) -> None:
    uid = delivered(bench)
    sender = bench.history(uid).row.calling_ae_title
    asked = Request(
        transaction_uid="1.2.3", references=(Reference(sop_class_uid="1.2", sop_instance_uid="1.3"),)
    )
    Commitments(bench.store).keep(asked, "ANOTHER", Basis.SPOOL)
    Commitments(bench.store).keep(asked, sender, Basis.SPOOL)
    assert purge(bench) == Purged()
    with bench.store.write() as connection:
        connection.execute(sa.update(commitment).values(basis=Basis.ARCHIVE.value))
    assert purge(bench) == Purged(series=1, files=2)


def test_space_takes_the_oldest_until_there_is_enough(bench: Bench) -> None:
    uids = [delivered(bench, days) for days in (5, 3, 4, 0.5)]
    free = iter([50, 50, 99, 100, 100])
    assert purge(bench, BY_SPACE, free_bytes=lambda: next(free) << 20).series == 2
    assert [files(bench, uid) for uid in uids] == [0, 2, 0, 2]
    purge(bench, BY_SPACE, free_bytes=lambda: 0)
    assert [files(bench, uid) for uid in uids] == [0, 0, 0, 2], "too young, however short the space"


def test_an_interrupted_purge_is_ended(bench: Bench) -> None:
    uid = delivered(bench)
    (series_id,) = Retention(bench.store).oldest(datetime.now(UTC), 9)
    begun = Retention(bench.store).begin(series_id)
    assert begun is not None
    first, second = (one.path for one in begun.instances)
    bench.spool.remove(first)
    # Other bytes come under the first one's name before the next run: nobody delivered those.
    other = bench.made.slice(SOPInstanceUID=Path(first).stem, SeriesInstanceUID=uid, InstanceNumber=9)
    temporary = Path(shutil.copy(other, bench.spool.temporary()))
    assert bench.spool.place(temporary, read_header(other)).path == first
    assert purge(bench) == Purged(series=1, files=1)
    assert bench.spool.absolute(first).exists() and not bench.spool.absolute(second).exists()
    assert Retention(bench.store).begun() == ()


def test_a_series_taken_up_again_meanwhile_stays(bench: Bench) -> None:
    uid = delivered(bench)
    (series_id,) = Retention(bench.store).oldest(datetime.now(UTC), 9)
    found = bench.history(uid).row
    Outbox(bench.store).add(
        series_id, found.revision, [OutboxItem(kind=Kind.KOS, destination="x", payload="")]
    )
    assert Retention(bench.store).begin(series_id) is None
    assert files(bench, uid) == 2


def test_a_purged_series_is_not_scored_again(bench: Bench) -> None:
    uid = delivered(bench)
    purge(bench)
    with pytest.raises(StoreError, match=f"the images of series {uid} were purged"):
        bench.queue.requeue([uid])
    assert bench.state(uid) is State.DELIVERED
    found = Fsck(store=bench.store, spool=bench.spool, archives=(), destinations=(), since=datetime.now(UTC))
    assert list(found.run()) == [], "fsck does not miss what was purged"


def test_what_comes_after_the_purge_is_not_judged_for_the_whole(bench: Bench) -> None:
    uid = delivered(bench)
    purge(bench)
    bench.arrive([bench.made.slice(SeriesInstanceUID=uid, InstanceNumber=3)])
    bench.close()
    score(bench, uid)
    last = bench.history(uid).results[-1]
    assert (last.revision, last.assessment.not_assessed) == (
        2,
        "its earlier images were purged from the gate",
    )
    deliver(bench)
    age(bench, uid, 40)
    assert purge(bench) == Purged(series=1, files=1)
