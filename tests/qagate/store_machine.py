"""Random interleavings of receivers, workers, senders and clocks against a model of what must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from qagate.assessment import Assessment, Decision
from qagate.series import Received, Series, State
from qagate.store.engine import Store
from qagate.store.errors import StoreError
from qagate.store.holds import Holds
from qagate.store.ledger import Ledger
from qagate.store.outbox import Delivery, Kind, Outbox, OutboxItem, RetryPolicy
from qagate.store.queue import Queue
from qagate.store.rejections import SETTLED, Changed, Rejections
from qagate.store.retention import Purge, Retention
from qagate.store.schema import metadata, outbox
from qagate.store.schema import series as of_series
from qagate.store.transitions import DELIVERY, SERIES, DeliveryState
from qagate.store.views import SeriesHistory, Views

MAX_ATTEMPTS = 3
LEASE_S = 60
UIDS = ("1.2.1", "1.2.2")
ITEMS = tuple(OutboxItem(kind=kind, destination="PACS", payload="x") for kind in (Kind.ALERT, Kind.SR))
IMAGES = OutboxItem(kind=Kind.FORWARD, destination="PACS", payload="images")
WAITING = tuple(replace(item, held=item.kind is not Kind.ALERT) for item in (*ITEMS, IMAGES))
POLICY = RetryPolicy(first_s=1, longest_s=4, max_attempts=2, jitter=0)
ACTIONS = (
    *("receive", "claim", "finish") * 4,
    *("reap", "take_delivery", "acknowledge") * 2,
    *("close", "end", "fail", "heartbeat", "requeue", "refuse", "give_up", "revive"),
    *("release", "time_out", "reject"),
    *("accept", "restart", "purge", "purged", "send_again", "fsck", "other_bytes"),
)
LOOSE = {"PENDING", "SENDING", "SENT", "DEAD"}
T = TypeVar("T")


class Gate(RuleBasedStateMachine):
    """Rules are what processes do, in any order; stale claims are kept and used on purpose."""

    def __init__(
        self, store: Store, clock: Any, arrive: Callable[..., Received], result: tuple[Assessment, Decision]
    ) -> None:
        super().__init__()
        self.clock, self.arrive, self.result = clock, arrive, result
        self.store, self.ledger, self.retention = store, Ledger(store), Retention(store)
        self.queue, self.outbox, self.views = Queue(store), Outbox(store), Views(store)
        self.holds, self.rejections = Holds(store), Rejections(store)
        self.confirmed: set[tuple[str, int]] = set()  # (series, revision) that a person rejected
        self.unrecorded: list[Received] = []  # in the spool; the receiver died before it recorded them
        self.gone: dict[str, set[str]] = {}  # series -> SOP instances whose files were purged
        self.purges: list[Purge] = []
        self.conflicts: set[str] = set()
        self.sent: dict[str, set[str]] = {}  # series -> SOP instances answered with success
        self.seen: dict[str | None, set[str]] = {}  # claim -> SOP instances the series had
        self.decided: dict[tuple[str, int], set[str]] = {}  # (series, revision) -> those of the claim
        self.claims: list[Series] = []
        self.deliveries: list[Delivery] = []
        self.alerts: set[tuple[str, int]] = set()
        self.revisions: dict[str, int] = {}

    # One rule with drawn actions: Hypothesis switches whole rules off in most runs, and a decision needs
    # four of them in a row.
    @rule(action=st.sampled_from(ACTIONS), uid=st.sampled_from(UIDS), number=st.integers(1, 20))
    def step(self, action: str, uid: str, number: int) -> None:
        getattr(self, action)(uid, number)

    def receive(self, uid: str, number: int) -> None:
        self.queue.record([self.arrive(uid, number), self.arrive(uid, number)])
        self.sent.setdefault(uid, set()).add(f"{uid}.{number}")

    def accept(self, uid: str, number: int) -> None:
        """Answered with success, and the receiver dies."""
        self.unrecorded.append(self.arrive(uid, number))

    def restart(self, uid: str, number: int) -> None:
        """What the spool holds and the database does not know is recorded, as at every start."""
        known = self.queue.known_paths()
        self.queue.record([one for one in self.unrecorded if one.instance.path not in known])
        for one in self.unrecorded:
            of = one.instance
            self.sent.setdefault(of.series_instance_uid, set()).add(of.sop_instance_uid)
        assert {one.instance.path for one in self.unrecorded} <= self.queue.known_paths()
        self.unrecorded.clear()

    def other_bytes(self, uid: str, number: int) -> None:
        """Another data set under a known UID: kept beside it, nothing new for the series."""
        if f"{uid}.{number}" in self.sent.get(uid, ()):
            self.queue.record([self.arrive(uid, number, sha256="f" * 64)])
            self.conflicts.add(uid)

    def end(self, uid: str, number: int) -> None:
        self.queue.released([uid], self.clock())

    def close(self, uid: str, number: int) -> None:
        for series in self.queue.receiving():
            assert self.queue.close(series, "quiet")
            assert not self.queue.close(series, "quiet")

    def claim(self, uid: str, number: int) -> None:
        if number % 4:
            self.close(uid, number)
        series = self.queue.claim("w", LEASE_S)
        if series is None:
            return
        assert {item.sop_instance_uid for item in series.instances} == self._there(series.series_instance_uid)
        assert (series.series_instance_uid, series.revision) not in self.decided
        self.seen[series.lease_token] = set(self.sent[series.series_instance_uid])
        self.claims.append(series)

    def finish(self, uid: str, number: int) -> None:
        series = self._any(self.claims, number)
        items = ((), (*ITEMS, IMAGES), WAITING, WAITING)[number % 4]
        if series is None:
            return
        before = self._history(series.series_instance_uid)
        if self.queue.finish(series, *self.result, items):
            key = (series.series_instance_uid, series.revision)
            self._check_hold(before, self._history(key[0]), items)
            assert key not in self.decided, "decided twice"
            self.decided[key] = self.seen[series.lease_token]

    def _check_hold(self, before: SeriesHistory, after: SeriesHistory, items: Sequence[OutboxItem]) -> None:
        """A series is held as a whole, and never where the archive has images of it already."""
        out = any(row.kind == "FORWARD" and row.state != "HELD" for row in before.deliveries)
        if any(item.held for item in items):
            mine = [row for row in after.deliveries if row.revision == after.row.revision]
            assert {row.state for row in mine if row.kind != "ALERT"} <= ({"HELD"} if not out else LOOSE)
        elif items:
            assert not [row for row in after.deliveries if row.state == "HELD"], "left behind"

    def release(self, uid: str, number: int) -> None:
        if uid not in self.sent:
            return
        held = [row for row in self._history(uid).deliveries if row.state == "HELD"]
        assert self.holds.release(uid, actor="anna") == bool(held)
        assert not self.holds.release(uid, actor="ben"), "released twice"

    def time_out(self, uid: str, number: int) -> None:
        since = self.clock() - timedelta(seconds=60)
        released = self.holds.release_waiting(since, "limit")
        assert not self.holds.all(until=since)
        assert len(set(released)) == len(released)

    def reject(self, uid: str, number: int) -> None:
        subject = self.rejections.subject(uid)
        if subject is None:
            return
        note = OutboxItem(kind=Kind.REJECTION, destination="PACS", payload=f"note {number}")
        of = subject.series
        try:
            done = self.rejections.reject(of, [note], actor="anna", reason="motion")
        except Changed:
            assert of.state not in SETTLED
            return
        assert done != subject.rejected
        self.confirmed.add((uid, of.revision))

    def fail(self, uid: str, number: int) -> None:
        series = self._any(self.claims, number)
        if series is not None:
            self.queue.fail(series, "broken", MAX_ATTEMPTS)

    def heartbeat(self, uid: str, number: int) -> None:
        series = self._any(self.claims, number)
        if series is not None and self.queue.heartbeat(series, LEASE_S):
            row = self._history(series.series_instance_uid).row
            assert (row.state, row.revision) == ("SCORING", series.revision)

    def reap(self, uid: str, number: int) -> None:
        self.clock.pass_s(LEASE_S + 1 if number % 2 else 5)
        self.queue.reap(MAX_ATTEMPTS)
        self.outbox.reap(max_attempts=POLICY.max_attempts)

    def requeue(self, uid: str, number: int) -> None:
        found = self.views.history(uid)
        purged = found is not None and bool(found.row.instance_count) and not self._there(uid)
        try:
            self.queue.requeue([uid], failed=number % 2 == 0)
        except StoreError:
            assert purged, "its images are there"
        else:
            assert not purged, "there is nothing to score"

    def take_delivery(self, uid: str, number: int) -> None:
        delivery = self.outbox.claim(LEASE_S)
        if delivery is None:
            return
        rows = self._history(delivery.series_instance_uid).deliveries
        if delivery.kind is Kind.REJECTION:
            images = [row for row in rows if row.kind == "FORWARD" and row.revision <= delivery.revision]
            assert all(row.state == "SENT" for row in images), "a note before the images it names"
        if delivery.kind is Kind.ALERT:
            key = (delivery.series_instance_uid, delivery.revision)
            assert key not in self.alerts, "a second alert of one revision"
            self.alerts.add(key)
        self.deliveries.append(delivery)

    def acknowledge(self, uid: str, number: int) -> None:
        delivery = self._any(self.deliveries, number)
        if delivery is not None:
            self.outbox.mark_sent(delivery)

    def refuse(self, uid: str, number: int) -> None:
        delivery = self._any(self.deliveries, number)
        if delivery is not None and self.outbox.mark_retry(delivery, "refused", POLICY) is not None:
            # The sender knows that this alert did not arrive: another try is no second alert.
            self.alerts.discard((delivery.series_instance_uid, delivery.revision))

    def give_up(self, uid: str, number: int) -> None:
        delivery = self._any(self.deliveries, number)
        if delivery is not None:
            self.outbox.mark_dead(delivery, "no such archive")

    def revive(self, uid: str, number: int) -> None:
        """A person sends dead letters again, alerts of unknown fate with them."""
        for found in map(self.views.history, self.sent):
            assert found is not None
            dead = [row for row in found.deliveries if (row.kind, row.state) == ("ALERT", "DEAD")]
            self.alerts -= {(found.row.series_instance_uid, row.revision) for row in dead}
        self.outbox.requeue_dead()

    def send_again(self, uid: str, number: int) -> None:
        """The archive was asked, and has lost its reports."""
        found = self.views.history(uid)
        if found is not None:
            query = sa.select(outbox.c.id).where(outbox.c.kind == Kind.SR.value, outbox.c.state == "SENT")
            with self.store.read() as connection:
                sent = connection.scalars(query).all()
            assert self.ledger.send_again(sent) == len(sent)

    def purge(self, uid: str, number: int) -> None:
        """Retention marks a series; its files go some time later."""
        found = self.views.history(uid)
        if found is None:
            return
        everything_sent = all(row.state == DeliveryState.SENT.value for row in found.deliveries)
        may_go = found.row.state == State.DELIVERED.value and everything_sent and uid not in self.conflicts
        begun = self.retention.begin(self._key(uid))
        assert (begun is not None) == (may_go and bool(self._there(uid)))
        if begun is not None:
            self.purges.append(begun)
            self.gone[uid] = {one.sop_instance_uid for one in begun.instances}
            assert self.gone[uid] == self.sent[uid], "what came later is not in it"

    def purged(self, uid: str, number: int) -> None:
        if self.purges:
            self.retention.done(self.purges.pop())

    def fsck(self, uid: str, number: int) -> None:
        """The books are right at every moment, so that mending them changes nothing."""
        before = self._books()
        self.ledger.mend()
        assert self._books() == before

    def _there(self, uid: str) -> set[str]:
        """What of a series was not purged."""
        return self.sent[uid] - self.gone.get(uid, set())

    def _key(self, uid: str) -> int:
        with self.store.read() as connection:
            return connection.execute(
                sa.select(of_series.c.id).where(of_series.c.series_instance_uid == uid)
            ).scalar_one()

    def _books(self) -> list[Any]:
        with self.store.read() as connection:
            queries = [sa.select(table).order_by(table.c.id) for table in (of_series, outbox)]
            return [tuple(row) for query in queries for row in connection.execute(query)]

    def _any(self, items: Sequence[T], number: int) -> T | None:
        """One of the newest three, so that leases long gone are used as well."""
        return items[-min(len(items), 1 + number % 3)] if items else None

    @invariant()
    def states_change_as_they_may(self) -> None:
        with self.store.write() as connection:
            moved = connection.exec_driver_sql("SELECT DISTINCT kind, old, new FROM moved").all()
            connection.exec_driver_sql("DELETE FROM moved")
            live = connection.execute(
                sa.select(of_series.c.state, of_series.c.lease_token).where(
                    of_series.c.lease_token.is_not(None)
                )
            ).all()
        for kind, old, new in moved:
            if kind == "series":
                assert State(new) in SERIES[State(old)]
            else:
                assert DeliveryState(new) in DELIVERY[DeliveryState(old)]
        assert {row.state for row in live} <= {"SCORING"}, "a lease outlives its state"
        assert len({row.lease_token for row in live}) == len(live)

    @invariant()
    def the_books_are_right(self) -> None:
        assert self.ledger.contradictions() == []

    @invariant()
    def nothing_is_lost(self) -> None:
        for uid, instances in self.sent.items():
            found = self._history(uid)
            assert found.row.instance_count == len(instances)
            assert found.row.revision >= self.revisions.get(uid, 1), "revisions only grow"
            self.revisions[uid] = found.row.revision
            assert [result.revision for result in found.results] == sorted(
                revision for series, revision in self.decided if series == uid
            )
            self._check_state(uid, found)
            notes = {row.revision for row in found.deliveries if row.kind == "REJECTION"}
            assert notes == {revision for series, revision in self.confirmed if series == uid}

    def _check_state(self, uid: str, found: SeriesHistory) -> None:
        state, key = State(found.row.state), (uid, found.row.revision)
        current = [row for row in found.deliveries if row.revision == found.row.revision]
        unsent = [row for row in current if row.state != DeliveryState.SENT.value]
        assert (key in self.decided) == (state in (State.DECIDED, State.DELIVERED))
        if key in self.decided:
            # A decided revision has seen everything: whatever came later made another revision.
            assert self.decided[key] == self.sent[uid]
            assert bool(unsent) == (state is State.DECIDED)

    def _history(self, uid: str) -> SeriesHistory:
        found = self.views.history(uid)
        assert found is not None
        return found

    def teardown(self) -> None:
        """Whatever happened, everything ends decided and delivered."""
        self.restart("", 0)
        for _ in range(4 * MAX_ATTEMPTS):
            self.clock.pass_s(10 * LEASE_S)
            self.queue.reap(MAX_ATTEMPTS)
            self.queue.requeue(failed=True)
            self.outbox.reap()
            self.outbox.requeue_dead()
            self.holds.release_waiting(self.clock(), "limit")
            for open_series in self.queue.receiving():
                self.queue.close(open_series, "quiet")
            while (series := self.queue.claim("last", LEASE_S)) is not None:
                assert self.queue.finish(series, *self.result, ITEMS)
            while (delivery := self.outbox.claim(LEASE_S)) is not None:
                assert self.outbox.mark_sent(delivery)
        counts = self.views.overview().counts
        assert counts == ({"DELIVERED": len(self.sent)} if self.sent else {})


def watch_states(store: Store) -> None:
    """Let the database itself note every change of a state, whoever makes it."""
    with store.write() as connection:
        connection.exec_driver_sql("CREATE TABLE moved (kind TEXT, old TEXT, new TEXT)")
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "INSERT INTO moved VALUES (TG_TABLE_NAME, OLD.state, NEW.state); RETURN NULL; END $$"
            )
        for table in ("series", "outbox"):
            act = "FOR EACH ROW EXECUTE FUNCTION note_move()"
            if connection.dialect.name == "sqlite":
                act = f"BEGIN INSERT INTO moved VALUES ('{table}', old.state, new.state); END"
            connection.exec_driver_sql(f"CREATE TRIGGER {table}_moved AFTER UPDATE OF state ON {table} {act}")


def run(
    store: Store,
    clock: Any,
    arrive: Callable[..., Received],
    result: tuple[Assessment, Decision],
    *,
    examples: int,
    steps: int,
) -> None:
    """Let Hypothesis look for an interleaving that breaks an invariant."""

    def gate() -> Gate:
        with store.write() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name != "audit":  # which only grows
                    connection.execute(table.delete())
            connection.exec_driver_sql("DELETE FROM moved")
        return Gate(store, clock, arrive, result)

    watch_states(store)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        gate,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
