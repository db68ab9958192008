"""Bad peers: every one is answered or cut off within the time limits, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fuzz_associations
import fuzz_pdu as pdu
import pytest
from fuzz_associations import AWAIT, KINDS, Case
from fuzz_gate import until
from fuzz_peer import UNANSWERED, healthy, play

from qagate.dicom.scp import Refusal, StorageSCP
from qagate.dicom.spool import Spool

# pynetdicom's own thread may die of what is aborted for it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
LIMIT_S = 30.0  #: far above the limits of the SCP, for a busy machine
CASES = 10 * len(KINDS)


def test_every_case_is_answered(scp: StorageSCP, spool: Spool) -> None:
    threads = threading.active_count()
    cases = [fuzz_associations.case(1, number) for number in range(CASES)]
    cases += [fuzz_associations.silent(1, number) for number in range(6)]
    with ThreadPoolExecutor(16) as pool:
        played = list(pool.map(lambda case: play(case, scp.port, LIMIT_S), cases))
    unanswered = [n for n, one in enumerate(played) if one.outcome == UNANSWERED]
    assert unanswered == []
    assert healthy(scp.port, LIMIT_S)
    assert until(lambda: threading.active_count() <= threads, 30), "associations were left open"
    assert list(spool.incoming.iterdir()) == []


def test_a_well_behaved_peer_among_them_is_served(scp: StorageSCP, spool: Spool) -> None:
    good = [fuzz_associations.case(1, number * len(KINDS)) for number in range(5)]
    assert {case.kind for case in good} == {"nothing wrong"}
    assert [play(case, scp.port, LIMIT_S).outcome for case in good] == ["RELEASE-RP"] * 5
    assert len(list(spool.paths())) >= 5


UID = b"2.25.1"
COMMAND = pdu.COMMAND
NONSENSE = {
    "a context without transfer syntaxes": [
        ("send", pdu.associate(contexts=pdu.context(1, pdu.VERIFICATION, []))),
        AWAIT,
    ],
    "an even context number": [
        ("send", pdu.associate(contexts=pdu.context(2, pdu.VERIFICATION, [pdu.IMPLICIT]))),
        AWAIT,
    ],
    "a command set without a command": [
        ("send", pdu.associate()),
        AWAIT,
        ("send", pdu.p_data(pdu.pdv(3, COMMAND | pdu.LAST, b""))),
        AWAIT,
    ],
    "a SOP class of 66,000 characters": [
        ("send", pdu.associate()),
        AWAIT,
        *(("send", part) for part in pdu.store(UID, b"\0" * 99, sop_class=b"1" * 66_000)),
        AWAIT,
    ],
    "a command set without an end": [
        ("send", pdu.associate()),
        AWAIT,
        *[("send", pdu.p_data(pdu.pdv(3, COMMAND, bytes(16_000))))] * 5,
        AWAIT,
    ],
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_aborted_before_any_time_limit(scp: StorageSCP, name: str) -> None:
    limit_s = scp._ae.network_timeout = 600  # only an abort can end it now
    began = time.monotonic()
    assert play(Case(name, tuple(NONSENSE[name])), scp.port, LIMIT_S).outcome == "ABORT"
    assert time.monotonic() - began < limit_s
    assert until(lambda: scp.associations == 0, 30)


def test_a_request_of_thousands_of_refused_contexts_is_noted_briefly(
    scp: StorageSCP, noted: list[Refusal]
) -> None:
    abstracts = [pdu.CT] * 500 + [b"1.3.%d" % number for number in range(500)]
    contexts = b"".join(pdu.context(5, abstract, [b"1.2.3"]) for abstract in abstracts)
    play(Case("contexts", (("send", pdu.associate(contexts=contexts)), AWAIT)), scp.port, LIMIT_S)
    assert until(lambda: scp.associations == 0, 30)
    assert 0 < len(noted) <= 16
    for one in noted:
        assert (one.sop_class_uid + one.reason).isprintable() and len(one.sop_class_uid) <= 64


def test_cases_are_the_same_for_the_same_seed() -> None:
    assert fuzz_associations.case(3, 40) == fuzz_associations.case(3, 40)
    assert fuzz_associations.case(3, 40) != fuzz_associations.case(4, 40)
