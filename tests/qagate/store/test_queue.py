"""Series from reception to decision, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, update

from qagate.assessment import Assessment, Decision
from qagate.series import Received, State
from qagate.store.engine import Store
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.store.schema import series
from qagate.store.views import Views

Arrive = Callable[..., Received]
Complete = Callable[..., None]
Result = tuple[Assessment, Decision]
SR = OutboxItem(kind=Kind.SR, destination="PACS", payload="reports/1.dcm")


def _state(store: Store, uid: str = "1.2.1") -> tuple[str, int]:
    found = Views(store).history(uid)
    assert found is not None
    return found.row.state, found.row.revision


def test_the_same_instance_again_is_nothing(queue: Queue, store: Store, arrive: Arrive) -> None:
    batch = [arrive(number=1), arrive(number=2)]
    assert queue.record([*batch, batch[0]]) == ()
    assert queue.record(batch) == ()
    (series,) = queue.receiving()
    assert (series.instance_count, series.revision) == (2, 1)
    assert queue.known_paths() == {item.instance.path for item in batch}
    assert Views(store).overview().conflicts == ()


def test_nothing_is_nothing(queue: Queue) -> None:
    assert queue.record([]) == ()
    queue.released([], queue._store.now())
    assert queue.receiving() == []
    assert queue.claim("w", 60) is None


def test_other_bytes_under_a_known_uid_are_a_conflict(queue: Queue, store: Store, arrive: Arrive) -> None:
    queue.record([arrive(number=1)])
    other = arrive(number=1, sha256="f" * 64)
    for _ in range(2):
        queue.record([other])
    (series,) = queue.receiving()
    assert series.instance_count == 1
    (conflict,) = Views(store).overview().conflicts
    assert conflict.path == other.instance.path
    assert other.instance.path in queue.known_paths()


def test_a_conflict_does_not_reopen(
    queue: Queue, store: Store, arrive: Arrive, complete: Complete, result: Result
) -> None:
    complete()
    claimed = queue.claim("w", 60)
    assert claimed is not None
    queue.record([arrive(number=1, sha256="f" * 64)])
    assert queue.finish(claimed, *result, [])
    assert _state(store) == ("DELIVERED", 1)


def test_claimed_series_carries_what_was_received(queue: Queue, arrive: Arrive, complete: Complete) -> None:
    complete(count=3, protocol_name="Head", series_number=4, expected_instances=3)
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assert claimed.instances == tuple(arrive(number=n).instance for n in (1, 2, 3))
    assert claimed.header == arrive(protocol_name="Head", series_number=4, expected_instances=3).header
    assert (claimed.state, claimed.attempts, claimed.revision) == (State.SCORING, 1, 1)
    assert claimed.first_received_at == claimed.last_received_at == arrive().instance.received_at
    assert claimed.first_received_at.utcoffset() == timedelta(0)


def test_mixed_modalities_are_told(queue: Queue, arrive: Arrive, complete: Complete) -> None:
    queue.record([arrive(number=8, modality="CT"), arrive(number=9, modality="PT")])
    complete()
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assert claimed.modalities == ("CT", "PT")


def test_later_headers_fill_gaps_only(queue: Queue, arrive: Arrive, complete: Complete) -> None:
    queue.record([arrive(number=8, protocol_name="", modality="", expected_instances=2)])
    complete(protocol_name="Head", modality="MR", expected_instances=3, series_description="a")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assert (claimed.header.protocol_name, claimed.header.modality) == ("Head", "MR")
    assert (claimed.header.expected_instances, claimed.modalities) == (3, ("MR",))


def test_texts_and_numbers_no_database_holds(queue: Queue, arrive: Arrive) -> None:
    queue.record([arrive(protocol_name="He\x00ad\udc80", series_number=10**30, expected_instances=-(10**30))])
    (series,) = queue.receiving()
    assert series.expected_instances is None


@pytest.mark.parametrize("reached", ["RECEIVING", "COMPLETE", "SCORING", "DECIDED", "DELIVERED", "FAILED"])
def test_a_late_instance_reopens(
    reached: str, queue: Queue, store: Store, arrive: Arrive, complete: Complete, result: Result
) -> None:
    if reached == "RECEIVING":
        queue.record([arrive(number=1), arrive(number=2)])
    else:
        complete()
    claimed = queue.claim("w", 60) if reached not in ("RECEIVING", "COMPLETE") else None
    if claimed is not None and reached == "FAILED":
        assert queue.fail(claimed, "broken", 1) is State.FAILED
    elif claimed is not None and reached != "SCORING":
        assert queue.finish(claimed, *result, [SR] if reached == "DECIDED" else [])
    assert _state(store)[0] == reached

    reopened = queue.record([arrive(number=3)])
    same = reached in ("RECEIVING", "COMPLETE")
    assert [(item.revision, item.was.value) for item in reopened] == ([] if same else [(2, reached)])
    assert _state(store) == ("RECEIVING", 1 if same else 2)
    (series,) = queue.receiving()
    assert series.instance_count == 3
    if claimed is not None:
        assert not queue.heartbeat(claimed, 60)
        assert not queue.finish(claimed, *result, [SR])
        assert queue.fail(claimed, "late", 3) is None
    assert queue.close(series, "quiet")
    again = queue.claim("w", 60)
    assert again is not None
    assert (again.attempts, len(again.instances)) == (1, 3)


def test_finish_after_supersede_writes_nothing(
    queue: Queue, store: Store, arrive: Arrive, complete: Complete, result: Result
) -> None:
    complete()
    claimed = queue.claim("w", 60)
    assert claimed is not None
    queue.record([arrive(number=3)])
    assert not queue.finish(claimed, *result, [SR])
    found = Views(store).history("1.2.1")
    assert found is not None
    assert (found.results, found.deliveries) == ((), ())


def test_release_is_evidence_until_the_next_instance(queue: Queue, clock: Any, arrive: Arrive) -> None:
    queue.record([arrive(number=1)])
    clock.pass_s(1)
    queue.released(["1.2.1", "1.2.99"], clock())
    assert queue.receiving()[0].released_at == clock()
    clock.pass_s(1)
    queue.record([arrive(number=2)])
    assert queue.receiving()[0].released_at is None
    queue.released(["1.2.1"], clock() - timedelta(seconds=1))
    assert queue.receiving()[0].released_at is None, "that association ended before the last instance came"


def test_closing_needs_the_evidence_that_was_seen(queue: Queue, arrive: Arrive) -> None:
    queue.record([arrive(number=1)])
    (seen,) = queue.receiving()
    queue.record([arrive(number=2)])
    assert not queue.close(seen, "quiet")
    (seen,) = queue.receiving()
    assert queue.close(seen, "quiet")
    assert not queue.close(seen, "quiet")


@pytest.mark.parametrize(
    ("counts", "learned"), [((5, 5, 5), 5), ((5, 5), None), ((5, 4, 5), None), ((4, 5, 5, 5), 5)]
)
def test_learned_count(
    counts: tuple[int, ...],
    learned: int | None,
    queue: Queue,
    clock: Any,
    arrive: Arrive,
    complete: Complete,
    result: Result,
) -> None:
    for number, count in enumerate(counts):
        complete(f"1.2.{number}", count, protocol_name="Head")
        claimed = queue.claim("w", 60)
        assert claimed is not None
        assert queue.finish(claimed, *result, [])
        clock.pass_s(1)
    queue.record([arrive("1.3", protocol_name="Head"), arrive("1.4", protocol_name="Chest")])
    queue.record([arrive("1.5", protocol_name="Head", station_name="CT2")])
    assert [series.learned_instances for series in queue.receiving()] == [learned, None, None]


def test_oldest_first_and_every_one_once(queue: Queue, clock: Any, complete: Complete) -> None:
    for uid in ("1.3", "1.1", "1.2"):
        complete(uid)
        clock.pass_s(1)
    claimed = [queue.claim("w", 60) for _ in range(4)]
    assert [series and series.series_instance_uid for series in claimed] == ["1.3", "1.1", "1.2", None]


def test_an_expired_lease_goes_back(queue: Queue, clock: Any, complete: Complete, result: Result) -> None:
    complete()
    first = queue.claim("a", 60)
    assert first is not None
    clock.pass_s(59)
    assert queue.heartbeat(first, 60)
    clock.pass_s(59)
    assert queue.reap(3) == 0
    clock.pass_s(2)
    assert queue.reap(3) == 1
    clock.pass_s(60)
    second = queue.claim("b", 60)
    assert second is not None
    assert (second.attempts, second.revision) == (2, 1)
    assert not queue.heartbeat(first, 60)
    assert not queue.finish(first, *result, [])
    assert queue.finish(second, *result, [])


def test_a_series_that_kills_workers_fails(
    queue: Queue, store: Store, clock: Any, complete: Complete
) -> None:
    complete()
    for _ in range(3):
        assert queue.claim("w", 60) is not None
        clock.pass_s(120)
        assert queue.reap(3) == 1
        clock.pass_s(120)
    assert queue.claim("w", 60) is None
    found = Views(store).history("1.2.1")
    assert found is not None
    assert (found.row.state, found.row.attempts) == ("FAILED", 3)
    assert found.row.last_error is not None and "worker died" in found.row.last_error
    assert [series.series_instance_uid for series in queue.failed_unsent()] == ["1.2.1"]


def test_a_series_given_up_is_sent_on_without_what_was_purged(
    queue: Queue, store: Store, clock: Any, arrive: Arrive, complete: Complete, result: Result
) -> None:
    complete(count=2)
    claimed = queue.claim("w", 60)
    assert claimed is not None and queue.finish(claimed, *result, [])
    with store.write() as connection:
        connection.execute(update(series).values(purged_revision=1))
    complete(count=3)  # two of them are known
    assert queue.claim("w", 60) is not None
    clock.pass_s(61)
    assert queue.reap(max_attempts=1) == 1
    (given_up,) = queue.failed_unsent()
    assert [one.sop_instance_uid for one in given_up.instances] == ["1.2.1.3"]


def test_a_failed_try_waits_then_fails_for_good(
    queue: Queue, store: Store, clock: Any, complete: Complete
) -> None:
    complete()
    for attempt in (1, 2):
        claimed = queue.claim("w", 60)
        assert claimed is not None
        state = queue.fail(claimed, f"try {attempt}\x00", 2, [SR])
        assert state is (State.COMPLETE if attempt == 1 else State.FAILED)
        assert queue.claim("w", 60) is None, "it pauses"
        clock.pass_s(120)
    row = Views(store).overview().series[0]
    assert (row.state, row.last_error, row.undelivered) == ("FAILED", "try 2", 1)
    assert queue.requeue(failed=True) == 1
    again = queue.claim("w", 60)
    assert again is not None
    assert (again.revision, again.attempts) == (1, 1)


def test_requeue_by_name(queue: Queue, store: Store, complete: Complete, result: Result) -> None:
    complete("1.1")
    complete("1.2")
    first, second = queue.claim("w", 60), queue.claim("w", 60)
    assert first is not None and second is not None
    assert queue.finish(first, *result, [SR])
    assert queue.fail(second, "broken", 1) is State.FAILED
    assert queue.requeue(["1.9"]) == 0
    assert queue.requeue(["1.1", "1.2"]) == 2
    assert (_state(store, "1.1"), _state(store, "1.2")) == (("COMPLETE", 2), ("COMPLETE", 1))
    assert queue.requeue(["1.1", "1.2"]) == 0


def test_forwarded_images_still_count_after_the_decision(
    queue: Queue, store: Store, complete: Complete, result: Result
) -> None:
    complete()
    claimed = queue.claim("w", 60)
    assert claimed is not None
    outbox = Outbox(store)
    forward = OutboxItem(kind=Kind.FORWARD, destination="PACS", payload="[]")
    assert outbox.add(claimed.series_id, claimed.revision, [forward, forward]) == 1
    assert queue.finish(claimed, *result, [])
    assert _state(store)[0] == "DECIDED"
    delivery = outbox.claim(60)
    assert delivery is not None and outbox.mark_sent(delivery)
    assert _state(store)[0] == "DELIVERED"


def test_results_survive_the_round_trip(
    queue: Queue, store: Store, complete: Complete, full_result: Result
) -> None:
    complete()
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assert queue.finish(claimed, *full_result, [])
    found = Views(store).history("1.2.1")
    assert found is not None
    (stored,) = found.results
    assert (stored.assessment, stored.decision) == full_result


def test_status_pages(queue: Queue, store: Store, clock: Any, complete: Complete, result: Result) -> None:
    for number in range(5):
        complete(f"1.2.{number}")
        clock.pass_s(1)
    claimed = queue.claim("w", 60)
    assert claimed is not None
    clock.pass_s(3)
    assert queue.finish(claimed, *result, [replace(SR, kind=Kind.ALERT)])
    delivery = Outbox(store).claim(60)
    clock.pass_s(1)
    assert delivery is not None and Outbox(store).mark_sent(delivery)
    views = Views(store)
    pages = [views.overview(limit=2, offset=offset).series for offset in (0, 2, 4, 6)]
    uids = [[row.series_instance_uid for row in page] for page in pages]
    assert uids == [["1.2.4", "1.2.3"], ["1.2.2", "1.2.1"], ["1.2.0"], []]
    row = pages[2][0]
    assert (row.verdict, row.quality, row.reasons) == ("PASS", 0.75, ("good enough",))
    assert row.seconds_to_decision == pytest.approx(8)
    assert row.alerted_at == clock()
    assert views.overview().counts == {"COMPLETE": 4, "DELIVERED": 1}
    assert [row.state for row in views.overview(state="complete").series] == ["COMPLETE"] * 4


def test_claim_reads_by_index(queue: Queue, store: Store, complete: Complete) -> None:
    if store._engine.dialect.name != "sqlite":
        pytest.skip("Postgres chooses by statistics")
    complete()
    statements: list[tuple[str, Any]] = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: statements.append((args[2], args[3])))
    assert queue.claim("w", 60) is not None
    plans = []
    with store.read() as connection:
        for sql, parameters in [item for item in statements if "not_before <=" in item[0]]:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            plans += [row.detail for row in plan]
    assert any("ix_series_state_not_before_id" in line for line in plans)
    assert not any("SCAN" in line or "TEMP B-TREE" in line for line in plans), plans
