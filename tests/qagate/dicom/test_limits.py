"""Limits of one peer: what is too much is refused, what is too fast is slowed down and arrives whole."""

from __future__ import annotations

import io
import itertools
import threading
import time
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification
from scp_client import CT, MakeFile, MakeGate, association, encoded

from qagate.dicom.access import Access, AccessRule
from qagate.dicom.limits import Accounts, Bucket, Limits, OverLimit, Share


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def gate_with(make_gate: MakeGate, limits: Limits, **rule: Any) -> Any:
    return make_gate(access=Access((AccessRule(**{"ae_title": "CT1"} | rule, limits=limits),)))


def test_a_bucket_lends_and_is_paid_back() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    assert [bucket.take(1) for _ in range(60)] == [0] * 60, "a rested bucket holds a minute's worth"
    assert bucket.take(5) == pytest.approx(5)
    clock.now = 4
    assert bucket.take(0) == pytest.approx(1)
    assert bucket.take(10_000) == 60, "nobody owes more than a minute"
    clock.now = 1e6
    assert bucket.take(60) == 0 and bucket.take(1) == pytest.approx(1)
    assert Bucket(0).take(1e12) == 0


def test_accounts_count_each_peer_and_all_together() -> None:
    accounts, few = Accounts(most=3), Limits(associations=2)
    first, second = (accounts.admit(("A", "1"), few, may_store=True) for _ in range(2))
    assert first and second and accounts.admit(("A", "1"), few, may_store=True) is None
    assert accounts.admit(("A", "2"), few, may_store=True), "the same title elsewhere is another peer"
    assert accounts.admit(("B", "1"), few, may_store=True) is None, "three are the most of all"
    accounts.leave(first)
    assert accounts.admit(("A", "1"), few, may_store=True)


def test_peers_without_associations_are_forgotten() -> None:
    accounts = Accounts(most=10)
    kept = accounts.admit(("A", "1"), Limits(), may_store=True)
    assert kept is not None
    for number in range(5000):
        share = accounts.admit(("*", str(number)), Limits(), may_store=True)
        assert share is not None
        accounts.leave(share)
    assert len(accounts._accounts) <= 1024 and ("A", "1") in accounts._accounts


def test_one_association_carries_only_so_much() -> None:
    paused: list[float] = []
    limits = Limits(association_instances=2, association_bytes=100, dataset_bytes=50, bytes_per_minute=600)
    share = Accounts(most=1).admit(("A", "1"), limits, may_store=True)
    assert share is not None
    share = Share(share.account, paused.append, may_store=True)
    share.begin()
    share.take(50, 50)
    with pytest.raises(OverLimit, match="more than 50 bytes"):
        share.take(1, 51)
    with pytest.raises(OverLimit, match="100 bytes on one association"):
        share.take(50, 50)
    share.begin()
    with pytest.raises(OverLimit, match="2 instances on one association"):
        share.begin()
    share.pace(610)
    assert paused == [pytest.approx(1, abs=0.1)]


def test_a_data_set_that_is_too_large_is_refused_and_the_next_one_taken(
    make_gate: MakeGate, make_file: MakeFile
) -> None:
    gate = gate_with(make_gate, Limits(dataset_bytes=1 << 20))
    with association(gate) as link:
        answer = link.send_c_store(make_file(PixelData=bytes(8 << 20)))
        assert answer.Status == 0xA701 and answer.ErrorComment == "the data set has more than 1,048,576 bytes"
        assert not list(gate.spool.incoming.iterdir())
        assert link.send_c_store(make_file()).Status == 0x0000
    assert [one.status for one in gate.refused] == [0xA701] and len(gate.received) == 1


@pytest.mark.parametrize(
    ("limits", "store", "reason"),
    [(Limits(dataset_bytes=1 << 20), True, "1,048,576 bytes"), (Limits(), False, "may not store")],
)
def test_what_is_not_wanted_is_not_kept_while_it_comes(
    make_gate: MakeGate, make_file: MakeFile, limits: Limits, store: bool, reason: str
) -> None:
    gate = gate_with(make_gate, limits, store=store)
    data, _ = encoded(make_file(PixelData=bytes(3 << 20)))
    with association(gate) as link:
        request = C_STORE()
        request.MessageID, request.Priority = 2, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
        request.DataSet = io.BytesIO(data)
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        for part in itertools.islice(message.encode_msg(1, 16384), 100):  # about half of it
            link.dul.send_pdu(part)
        (held,) = gate.scp._links
        assert gate.wait(lambda: held.dimse.message and reason in held.dimse._current.failure)
        assert gate.wait(lambda: not list(gate.spool.incoming.iterdir()))
        assert link.is_established and held.dimse.message
        link.abort()
    assert not gate.received


def test_more_on_one_association_needs_another(make_gate: MakeGate, make_file: MakeFile) -> None:
    gate = gate_with(make_gate, Limits(association_instances=2))
    with association(gate) as link:
        assert [link.send_c_store(make_file()).Status for _ in range(3)] == [0, 0, 0xA702]
    with association(gate) as link:
        assert link.send_c_store(make_file()).Status == 0


def test_too_many_associations_of_one_peer(make_gate: MakeGate) -> None:
    rules = (
        AccessRule(ae_title="CT1", limits=Limits(associations=1)),
        AccessRule(ae_title="*", limits=Limits(associations=2)),
    )
    gate = make_gate(access=Access(rules))
    with association(gate) as first, association(gate) as second:
        assert first.is_established and second.is_rejected
        answer = second.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        with association(gate, calling="MR1") as third, association(gate, calling="MR2") as fourth:
            assert third.is_established and fourth.is_established
            with association(gate, calling="MR3") as fifth:
                assert fifth.is_rejected, "who comes under `*` cannot take another name"
    assert gate.wait(lambda: gate.scp.associations == 0)
    with association(gate) as again:
        assert again.is_established
    assert [(one.status, one.calling_ae_title) for one in gate.refused] == [
        (0x020302, "CT1"),
        (0x020302, "MR3"),
    ]


@pytest.mark.parametrize(
    ("limits", "size"),
    [(Limits(instances_per_minute=60), 512), (Limits(bytes_per_minute=60 << 20), 1 << 20)],
)
def test_who_is_too_fast_is_slowed_down_and_loses_nothing(
    make_gate: MakeGate, make_file: MakeFile, limits: Limits, size: int
) -> None:
    gate = gate_with(make_gate, limits)
    path = make_file(PixelData=bytes(size))
    with association(gate) as link:
        account = gate.scp._links[next(iter(gate.scp._links))].share.account
        account.instances.take(limits.instances_per_minute)  # the allowance of a rested minute is used up
        account.bytes.take(limits.bytes_per_minute)
        began = time.monotonic()
        assert [link.send_c_store(path).Status for _ in range(3)] == [0, 0, 0]
        assert time.monotonic() - began > 2
    assert not gate.refused


def test_a_gate_that_stops_holds_no_answer_back(make_gate: MakeGate, make_file: MakeFile) -> None:
    rule = AccessRule(ae_title="CT1", limits=Limits(instances_per_minute=3))
    gate = make_gate(access=Access((rule,)), network_timeout_s=60)
    paths = [make_file() for _ in range(5)]
    with association(gate) as link:
        assert [link.send_c_store(path).Status for path in paths[:3]] == [0, 0, 0]
        answers: list[int] = []
        sending = threading.Thread(target=lambda: answers.append(link.send_c_store(paths[3]).Status))
        began = time.monotonic()
        sending.start()
        assert gate.wait(lambda: len(gate.received) == 4)
        gate.scp.stop(drain_s=1)
        sending.join(30)
        assert answers == [0] and time.monotonic() - began < 15, "it would have been 20 s"


@pytest.mark.parametrize("echo", [True, False])
def test_who_may_not_verify_is_not_given_the_context(
    make_gate: MakeGate, make_file: MakeFile, echo: bool
) -> None:
    gate = gate_with(make_gate, Limits(), echo=echo)
    with association(gate, [*CT, build_context(Verification)]) as link:
        taken = {context.abstract_syntax for context in link.accepted_contexts}
        assert taken == ({CTImageStorage, Verification} if echo else {CTImageStorage})
        assert link.send_c_store(make_file()).Status == 0
    assert [one.status for one in gate.refused] == ([] if echo else [0x0122])
