"""A sender that asks for commitment, the whole gate, and an archive that commits; kill -9 in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from commitment_peers import CommittingArchive, Modality
from neighbours import free_port, until
from pydicom import dcmread

from qagate.store.views import SeriesHistory


def pairs(paths: list[Any]) -> list[tuple[str, str]]:
    heads = [dcmread(path, stop_before_pixels=True) for path in paths]
    return [(str(head.SOPClassUID), str(head.SOPInstanceUID)) for head in heads]


def deliveries(history: SeriesHistory) -> dict[str, str]:
    return {row.kind: row.state for row in history.deliveries if row.destination == "pacs"}


@pytest.mark.slow
def test_asked_killed_committed_and_told(make_gate: Callable, make_orthanc: Callable, made: Any) -> None:
    modality = Modality()
    peer = {"ae_title": "CT1", "report_host": "127.0.0.1", "report_port": modality.port}
    port = free_port()
    orthanc = make_orthanc(start=False, gate_port=port)
    gate = make_gate(
        mode="forward",
        receiver={"port": port},
        archive=[orthanc.settings(delivered="committed", commitment_wait_s=2.0)],
        peer=[peer],
    )
    try:
        uid, paths = made.series(3)
        assert all(result.status == 0x0000 for result in gate.send(paths))
        with modality.association(gate.port, "implicit") as link:
            assert link.is_established and link.accepted_contexts
            status, transaction = modality.ask(link, pairs(paths))
            assert status == 0x0000
        gate.kill()
        gate.start()
        gate.ended(uid)
        assert modality.told == [], "told before the archive has anything"
        orthanc.start()
        history = gate.ended(uid, states=("DELIVERED",))
        assert set(deliveries(history).values()) == {"SENT"}
        assert until(lambda: modality.told, 60), gate.log.read_text()[-3000:]
        (told,) = modality.told
        assert (told.event_type, told.transaction, told.failed) == (1, transaction, {})
        assert told.committed == {one for _, one in pairs(paths)}
        assert all(orthanc.file(one) for one in told.committed)
        assert {event["failed"] for event in gate.events("commitment_received")} == {0}
    finally:
        gate.stop()
        modality.close()


@pytest.mark.slow
def test_archive_that_reports_after_a_kill(make_gate: Callable, made: Any) -> None:
    archive = CommittingArchive(where="never")
    to = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port, "results": False}
    gate = make_gate(mode="forward", archive=[to | {"delivered": "committed"}])
    archive.gate_port = gate.port
    try:
        uid, paths = made.series(2)
        gate.send(paths)
        assert until(lambda: archive.asked), gate.log.read_text()[-3000:]
        gate.kill()
        gate.start()
        assert gate.ended(uid).row.state == "DECIDED"
        archive.report(archive.transactions[0], pairs(paths))
        gate.ended(uid, states=("DELIVERED",))
    finally:
        archive.close()
    assert archive.answers == [0x0000]
    assert len(archive.stored) == 2, "nothing was sent twice"
    assert len(archive.asked) == 1


@pytest.mark.slow
def test_observing_gate_promises_nothing(make_gate: Callable) -> None:
    modality = Modality()
    gate = make_gate(peer=[{"ae_title": "CT1"}])
    try:
        with modality.association(gate.port) as link:
            assert not link.accepted_contexts
    finally:
        modality.close()
