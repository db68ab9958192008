"""Storage commitment on the wire: requests answered, reports given and taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from commitment_peers import PUSH_MODEL, SYNTAXES, WELL_KNOWN, CommittingArchive, Modality, action
from neighbours import free_port
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, build_context, build_role
from scp_client import association

from qagate.commitment import Basis, CommitmentError, Failed, Reference, Report, Request, TooManyRequests
from qagate.dicom import commitment, scu
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.outgoing import Archive, DeliveryError
from qagate.dicom.tls import Tls

RULES = (
    AccessRule(ae_title="CT1", commitment=Basis.ARCHIVE),
    AccessRule(ae_title="CT2"),
    AccessRule(ae_title="PACS", store=False, reports=True),
)
PAIR = (CTImageStorage, "1.2.3.4")


class Site:
    """A listening gate and what it was asked and told."""

    def __init__(self, make_gate: Callable[..., Any]) -> None:
        self.requests: list[tuple[Request, str, Basis]] = []
        self.reports: list[tuple[Report, str]] = []
        self.raises: Exception | None = None
        access = Access(RULES, called_ae_titles=frozenset({"QAGATE"}))
        self.scp = CommitmentSCP(access=access, on_request=self._keep, on_report=self._take)
        self.gate = make_gate(access=access, commitment=self.scp)
        self.port: int = self.gate.port

    def _keep(self, *values: Any) -> None:
        if self.raises:
            raise self.raises
        self.requests.append(values)

    def _take(self, *values: Any) -> None:
        if self.raises:
            raise self.raises
        self.reports.append(values)


@pytest.fixture
def site(make_gate: Callable[..., Any]) -> Site:
    return Site(make_gate)


@pytest.fixture
def modality() -> Iterator[Modality]:
    made = Modality()
    yield made
    made.close()


def report_on(transaction: str, *, failed: bool = False) -> Report:
    one = Reference(sop_class_uid=CTImageStorage, sop_instance_uid="1.2.3.4")
    two = Reference(sop_class_uid=CTImageStorage, sop_instance_uid="1.2.3.5")
    lost = (Failed(reference=two, reason=0x0112),) if failed else ()
    return Report(transaction_uid=transaction, committed=(one,), failed=lost)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_request_is_kept_before_it_is_answered(site: Site, modality: Modality, syntax: str) -> None:
    with modality.association(site.port, syntax) as link:
        status, transaction = modality.ask(link, [PAIR, (CTImageStorage, "1.2.3.5")])
    assert status == 0x0000
    ((request, calling, basis),) = site.requests
    assert (request.transaction_uid, calling, basis) == (transaction, "CT1", Basis.ARCHIVE)
    assert [one.sop_instance_uid for one in request.references] == ["1.2.3.4", "1.2.3.5"]
    assert {one.sop_class_uid for one in request.references} == {CTImageStorage}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommitmentError("other instances"), 0x0115),
        (TooManyRequests("1000 wait"), 0x0213),
        (TimeoutError("the database is away"), 0x0110),
    ],
)
def test_what_cannot_be_kept_is_answered_with_the_reason(
    site: Site, modality: Modality, error: Exception, status: int
) -> None:
    site.raises = error
    with modality.association(site.port) as link:
        assert modality.ask(link, [PAIR])[0] == status
        site.raises = None
        assert modality.ask(link, [PAIR])[0] == 0x0000, "the association goes on"


@pytest.mark.parametrize(
    ("pairs", "transaction", "kind", "instance", "status"),
    [
        ([PAIR], "1.2.9", 1, "1.2.840.10008.1.20.1.2", 0x0112),
        ([PAIR], "1.2.9", 2, WELL_KNOWN, 0x0123),
        ([], "1.2.9", 1, WELL_KNOWN, 0x0115),
        ([PAIR], "", 1, WELL_KNOWN, 0x0115),
        ([(CTImageStorage, "")], "1.2.9", 1, WELL_KNOWN, 0x0115),
    ],
)
def test_wrong_requests(
    site: Site, modality: Modality, pairs: Any, transaction: str, kind: int, instance: str, status: int
) -> None:
    with modality.association(site.port) as link:
        answer, _ = link.send_n_action(action(pairs, transaction), kind, PUSH_MODEL, instance)
    assert answer.Status == status
    assert site.requests == []


def test_request_beyond_all_bounds_is_refused(site: Site, modality: Modality) -> None:
    huge = action([PAIR], "1.2.9")
    huge.EncapsulatedDocument = bytes(9 << 20)
    with modality.association(site.port) as link:
        answer, _ = link.send_n_action(huge, 1, PUSH_MODEL, WELL_KNOWN)
        assert answer.Status == 0x0213
        assert modality.ask(link, [PAIR])[0] == 0x0000
    assert len(site.requests) == 1


def test_who_may_not_ask_gets_no_context(site: Site) -> None:
    with association(site.gate, [build_context(PUSH_MODEL)], calling="CT2") as link:
        assert not link.accepted_contexts
    with association(site.gate, [build_context(PUSH_MODEL)], calling="PACS") as link:
        answer, _ = link.send_n_action(action([PAIR], "1.2.9"), 1, PUSH_MODEL, WELL_KNOWN)
        assert answer.Status == 0x0124
    assert site.requests == []


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_report_on_the_association_that_asked(site: Site, modality: Modality, syntax: str) -> None:
    answers: list[int] = []
    with modality.association(site.port, syntax) as link:
        _, transaction = modality.ask(link, [PAIR])
        assert site.gate.wait(lambda: site.scp.partners() == {"CT1"})
        assert site.scp.report("CT1", report_on(transaction, failed=True), answers.append)
        assert site.gate.wait(lambda: answers)
    assert answers == [0x0000]
    (told,) = modality.told
    assert (told.event_type, told.transaction, told.same) == (2, transaction, True)
    assert (told.committed, told.failed) == ({"1.2.3.4"}, {"1.2.3.5": 0x0112})
    assert site.gate.wait(lambda: not site.scp.partners())
    assert not site.scp.report("CT1", report_on(transaction), answers.append), "the association is over"


def test_sender_that_stores_meanwhile_is_not_disturbed(
    site: Site, modality: Modality, make_file: Callable[..., Any]
) -> None:
    paths = [make_file() for _ in range(20)]
    answers: list[int] = []
    with modality.association(site.port, storage=True) as link:
        _, transaction = modality.ask(link, [PAIR])
        assert site.gate.wait(site.scp.partners)
        statuses: list[int] = []
        sender = threading.Thread(
            target=lambda: statuses.extend(link.send_c_store(path).Status for path in paths)
        )
        assert site.scp.report("CT1", report_on(transaction), answers.append)
        sender.start()
        sender.join()
        assert site.gate.wait(lambda: answers)
    assert statuses == [0x0000] * 20
    assert answers == [0x0000]
    assert [told.transaction for told in modality.told] == [transaction]


def test_report_on_a_new_association(modality: Modality) -> None:
    peer = Archive(name="CT1", ae_title="CT1", host="127.0.0.1", port=modality.port, kind="peer")
    assert commitment.tell(peer, report_on("1.2.9")) == 0x0000
    (told,) = modality.told
    assert (told.event_type, told.transaction, told.same) == (1, "1.2.9", False)
    away = Archive(name="CT1", ae_title="CT1", host="127.0.0.1", port=free_port(), kind="peer")
    with pytest.raises(DeliveryError, match="is the peer CT1 running"):
        commitment.tell(away, report_on("1.2.9"))


def test_report_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    modality = Modality(tls=Tls(authority.issue("ct1"), server=True))
    own = Tls(authority.issue("gate"), server=False)
    peer = Archive(name="CT1", ae_title="CT1", host="127.0.0.1", port=modality.port, kind="peer", tls=own)
    try:
        assert commitment.tell(peer, report_on("1.2.9")) == 0x0000
        assert [told.transaction for told in modality.told] == ["1.2.9"]
    finally:
        modality.close()


def test_archive_reports_in_the_scp_role(site: Site) -> None:
    archive = CommittingArchive(gate_port=site.port, decide=lambda uids: {"1.2.3.5": 0x0119})
    try:
        archive.report("1.2.9", [PAIR, (CTImageStorage, "1.2.3.5")])
        site.raises = CommitmentError("never asked")
        archive.report("1.2.10", [PAIR])
        site.raises = OSError("the database is away")
        archive.report("1.2.11", [PAIR])
        archive.report("1.2.12", [PAIR], calling="CT2")
    finally:
        archive.close()
    assert archive.answers == [0x0000, 0x0115, 0x0110, -1]
    ((report, calling),) = site.reports
    assert (report.transaction_uid, calling) == ("1.2.9", "PACS")
    assert [one.sop_instance_uid for one in report.committed] == ["1.2.3.4"]
    assert [(one.reference.sop_instance_uid, one.reason) for one in report.failed] == [("1.2.3.5", 0x0119)]


def test_sender_cannot_report(site: Site) -> None:
    """Who may ask, and be told, has no word on what an archive holds."""
    ae = AE("CT1")
    ae.add_requested_context(PUSH_MODEL)
    role = build_role(PUSH_MODEL, scu_role=True, scp_role=True)
    link = ae.associate("127.0.0.1", site.port, ae_title="QAGATE", ext_neg=[role])
    data_set = commitment.report_data_set(report_on(generate_uid()))
    status, _ = link.send_n_event_report(data_set, 1, PUSH_MODEL, WELL_KNOWN)
    link.release()
    assert status.Status == 0x0115
    assert site.reports == []


def test_archive_may_not_store(site: Site, make_file: Callable[..., Any]) -> None:
    peer = scu.Archive(name="g", ae_title="QAGATE", host="127.0.0.1", port=site.port, calling_ae_title="PACS")
    (result,) = scu.store(peer, [make_file()])
    assert result.status == 0x0124
