"""kill -9 at the steps of storage commitment, towards a real archive and towards a sender that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from commitment_peers import Modality
from crash_gate import LIMIT_S, Cell, cell
from crash_series import series as make_series
from ledger import record
from neighbours import ORTHANC, OrthancServer, free_port, until
from pydicom import dcmread
from steps import ASKING, PROMISING, Step

from qagate.store.schema import outbox, result, series

pytest_plugins = ("crash_fixtures",)
pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], tuple[OrthancServer, int]]]:
    """An archive that commits, and the port at which it expects the gate."""
    if not ORTHANC.exists():
        pytest.skip(f"{ORTHANC} is not installed (Debian orthanc)")
    port = free_port()
    server = OrthancServer(tmp_path_factory.mktemp("orthanc"), port)
    server.start()
    yield lambda: (server, port)
    server.stop()


@pytest.mark.parametrize("step", ASKING, ids=lambda step: step.name)
def test_asking(
    step: Step, orthanc: Callable[[], tuple[OrthancServer, int]], database: Any, url: str, tmp_path: Path
) -> None:
    server, port = orthanc()
    files = make_series(tmp_path / "made", 3)
    archive = server.settings(delivered="committed", commitment_wait_s=1.0, commitment_linger_s=1.0)
    with cell(tmp_path, url, archive=[archive], receiver={"port": port}) as gate:
        armed = gate.start_all(step)
        gate.send(files)
        assert until(lambda: armed.killed, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
        gate.start(step.role)
        gate.settle()
        gate.revive()  # the kill may have hit the alert's sender as well
        uids = {str(dcmread(path).SOPInstanceUID) for path in files}
        lost = [uid for uid in uids if server.file(uid) is None]
        ((series_uid,),) = gate.rows(sa.select(series.c.series_instance_uid))
        reports = [uid for uid in server.documents("SR") if _is_of(server, uid, series_uid)]
        (decided,) = gate.rows(sa.select(sa.func.count()).select_from(result))[0]
        record(
            fault="kill -9", where=f"{step.role}: {step.name}", database=database, accepted=len(files),
            lost=len(lost), duplicated=len(reports) - 1, outcome="all is committed by the archive (Orthanc)",
        )  # fmt: skip
        assert not lost and (decided, len(reports)) == (1, 1)
        documents = sa.select(outbox.c.state).where(outbox.c.kind != "ALERT")
        assert {row.state for row in gate.rows(documents)} == {"SENT"}


def _is_of(server: OrthancServer, report_uid: str, series_uid: str) -> bool:
    return series_uid.encode() in (server.file(report_uid) or b"")


@pytest.mark.parametrize("step", PROMISING, ids=lambda step: step.name)
def test_promising(step: Step, database: Any, url: str, tmp_path: Path) -> None:
    """A request that was answered is reported at least once, whatever dies."""
    files = make_series(tmp_path / "made", 3)
    pairs = [(str(head.SOPClassUID), str(head.SOPInstanceUID)) for head in map(dcmread, files)]
    modality = Modality()
    peer = {
        "ae_title": "CT1", "commitment": "spool", "report_host": "127.0.0.1", "report_port": modality.port,
    }  # fmt: skip
    try:
        with cell(tmp_path, url, peer=[peer]) as gate:
            armed = gate.start_all(step)
            assert gate.send(files)
            asked = ask(gate, modality, pairs)
            assert until(lambda: armed.killed, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
            gate.start("receiver")
            while not asked:
                assert until(gate.answers, LIMIT_S)
                asked = ask(gate, modality, pairs)
            assert until(lambda: asked <= {one.transaction for one in modality.told}, LIMIT_S), gate.logs()
            gate.settle()
            for one in modality.told:
                assert (one.event_type, one.committed, one.failed) == (1, {uid for _, uid in pairs}, {})
            record(
                fault="kill -9", where=f"{step.role}: {step.name}", database=database, accepted=len(files),
                lost=len(gate.lost()), duplicated=0,
                outcome="the sender was told that its images are safe",
            )  # fmt: skip
            assert not gate.lost()
    finally:
        modality.close()


def ask(gate: Cell, modality: Modality, pairs: list[tuple[str, str]]) -> set[str]:
    """Ask for commitment; the transaction, if the gate answered that it will report."""
    with modality.association(gate.port) as link:
        if not link.is_established:
            return set()
        try:
            status, transaction = modality.ask(link, pairs)
        except (AttributeError, RuntimeError, ValueError):
            return set()  # the gate died before it answered
        return {transaction} if status == 0x0000 else set()
