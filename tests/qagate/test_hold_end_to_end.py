"""Hold mode as processes, before a real Orthanc: held, released, rejected, timed out, told to a scanner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from fastapi.testclient import TestClient
from neighbours import OrthancServer
from pydicom import dcmread

from qagate.config import Settings, load
from qagate.store.audit import Trail
from qagate.store.engine import open_store
from qagate.store.schema import outbox
from qagate.web.application import create
from qagate.web.security import sessions
from qagate.web.site import make_site

pytestmark = pytest.mark.slow

REPEAT = {"name": "repeat", "modality": "CT", "review_below": 1.0, "repeat_below": 1.0}


@pytest.fixture(scope="module")
def orthanc(make_orthanc: Callable[..., OrthancServer]) -> OrthancServer:
    """The archive."""
    return make_orthanc()


@pytest.fixture(scope="module")
def gate(make_gate: Callable[..., Any], orthanc: OrthancServer) -> Any:
    """A gate that holds every CT series."""
    return make_gate(
        mode="hold", hold={"limit_s": 0}, archive=[orthanc.settings()], alerts={"urls": []}, rule=[REPEAT]
    )


@pytest.fixture
def held(gate: Any, made: Any) -> tuple[str, list[str]]:
    """A series of three images that the gate holds."""
    uid, paths = made.series(3)
    gate.send(paths)
    gate.ended(uid, states=("DECIDED",))
    return uid, [str(dcmread(path).SOPInstanceUID) for path in paths]


def there(orthanc: OrthancServer, instances: list[str]) -> int:
    return sum(orthanc.file(one) is not None for one in instances)


def report_uid(gate: Any, uid: str, kind: str = "comprehensive3d") -> str:
    return str(dcmread(gate.report(uid, kind=kind)).SOPInstanceUID)


def test_held_then_released_by_command(
    gate: Any, orthanc: OrthancServer, held: tuple[str, list[str]]
) -> None:
    uid, instances = held
    report = report_uid(gate, uid)
    assert there(orthanc, [*instances, report]) == 0
    assert gate.run("requeue", "--dead", "--failed").stdout == "requeued 0\n"
    assert "1 held, the first decided" in gate.run("status").stdout
    assert "held since" in gate.run("status", uid[-9:]).stdout
    assert gate.run("fsck").stdout == "everything fits\n"
    day = gate.history(uid).row.last_received_at.date()
    counted = gate.run("reconcile", str(day))
    assert counted.returncode == 0 and ", 1 held" in counted.stdout
    assert there(orthanc, [*instances, report]) == 0
    done = gate.run("release", uid[-9:], "--reason", "seen by the radiologist", "--by", "anna")
    assert done.stdout == f"{uid}\nreleased 1\n", done.stderr
    gate.ended(uid, states=("DELIVERED",))
    assert there(orthanc, [*instances, report, report_uid(gate, uid, "kos")]) == 5
    assert gate.run("release", uid).stdout == "released 0\n"
    with open_store(gate.store_url) as store:
        assert [(one.actor, one.act) for one in Trail(store).newest(act="release")] == [("anna", "release")]


def test_rejected_on_the_page_the_note_comes_after_the_images(
    gate: Any, orthanc: OrthancServer, held: tuple[str, list[str]]
) -> None:
    uid, instances = held
    settings: Settings = load(gate.config)
    with open_store(gate.store_url) as store:
        site = make_site(settings, store)
        account = site.accounts.add("rita", "radiographer", actor="test")
        browser = TestClient(create(site), follow_redirects=False)
        cookies = _Cookies()
        sessions.begin(site, account, cookies)  # type: ignore[arg-type]
        browser.cookies.set(cookies.name, cookies.value)
        page = browser.get(f"/series/{uid}/reject").text
        assert all(one in page for one in instances)
        proof = page.split('name="csrf" value="')[1].split('"')[0]
        form = {"revision": 1, "instances": 3, "reason": "111210", "confirmed": "yes", "csrf": proof}
        answer = browser.post(f"/series/{uid}/reject", data=form)
        assert answer.status_code == 303, answer.text
    gate.ended(uid, states=("DELIVERED",))
    (path,) = gate.data.glob(f"reports/{uid}/1-rejection-*.dcm")
    note = str(dcmread(path).SOPInstanceUID)
    stored = orthanc.file(note)
    assert stored is not None and there(orthanc, instances) == 3
    document = dcmread(BytesIO(stored))
    assert document.ConceptNameCodeSequence[0].CodeValue == "113001"
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == uid
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence} == set(instances)
    came = {one: _received(orthanc, one) for one in (*instances, note)}
    assert max(came[one] for one in instances) < came[note], "Orthanc numbers what it stores"
    assert gate.run("fsck").stdout == "everything fits\n"


def test_a_held_series_goes_when_its_time_is_over(
    make_gate: Callable[..., Any], orthanc: OrthancServer, made: Any
) -> None:
    gate = make_gate(
        mode="hold", hold={"limit_s": 6}, archive=[orthanc.settings()], alerts={"urls": []}, rule=[REPEAT]
    )
    uid, paths = made.series(2)
    gate.send(paths)
    gate.ended(uid, states=("DELIVERED",))
    instances = [str(dcmread(path).SOPInstanceUID) for path in paths]
    assert there(orthanc, instances) == 2
    with open_store(gate.store_url) as store:
        (entry,) = Trail(store).newest(act="release")
        with store.read() as connection:
            waited = [row.released_at - row.created_at for row in connection.execute(outbox.select())]
    assert min(waited) >= timedelta(seconds=6)
    assert entry.actor == "gate" and entry.details["reason"] == "held for 6 s"
    assert gate.events("released")


class _Cookies:
    def set_cookie(self, name: str, value: str, **_: object) -> None:
        self.name, self.value = name, value


def _received(orthanc: OrthancServer, sop_instance_uid: str) -> int:
    """Orthanc's running number of a stored instance."""
    (found,) = [one for one in orthanc.ask("/tools/lookup", sop_instance_uid) if one["Type"] == "Instance"]
    changes = orthanc.ask("/changes?limit=100000")["Changes"]
    return next(
        one["Seq"] for one in changes if one["ChangeType"] == "NewInstance" and one["ID"] == found["ID"]
    )
