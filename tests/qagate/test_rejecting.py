"""Hold mode and rejections with a real worker, spool and reports: what waits, and what only a person does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from worker_bench import Bench, identity, until, working

from qagate import parts, parts_hold
from qagate.alerts import Alerter
from qagate.assessment import BAD, Verdict
from qagate.config import ConfigError, Settings, load
from qagate.delivery import parse_alert
from qagate.dicom.report import Rejection, ReportError, sr_text
from qagate.rejecting import Rejector
from qagate.reporting import Destination, HoldRules, Reporter
from qagate.series import State
from qagate.store.audit import Trail
from qagate.store.engine import Store
from qagate.store.holds import Holds
from qagate.store.outbox import Kind, Outbox
from qagate.store.rejections import Changed
from qagate.store.schema import outbox

PACS = Destination(name="pacs", results=True, images=True)
WHY = Rejection(person="anna", reason="111210", words="patient moved")
ARCHIVE = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1"}


@pytest.fixture
def bench(sqlite_store: Store, made: Any, tmp_path: Path) -> Iterator[Bench]:
    """A gate in hold mode without processes."""
    yield Bench(sqlite_store, tmp_path, made)


def reporter(bench: Bench, **rules: Any) -> Reporter:
    return Reporter(
        spool=bench.spool, folder=bench.reports, destinations=[PACS], alerter=Alerter(("console://",)),
        alert_verdicts=tuple(Verdict), identity=identity,
        hold=HoldRules(**{"verdicts": BAD, "limit_s": 1800.0} | rules),
    )  # fmt: skip


def rejector(bench: Bench, *destinations: Destination) -> Rejector:
    return Rejector(
        store=bench.store, spool=bench.spool, folder=bench.reports, identity=identity,
        destinations=destinations or (PACS,),
    )  # fmt: skip


def in_air(made: Any) -> dict[str, Any]:
    """A slice with air all round: a series of it is not reviewed for what is cut off."""
    slice_ = made.build()
    pixels = np.frombuffer(slice_.PixelData, "<i2").reshape(128, 128)
    padded = np.full((192, 192), -1000, "<i2")
    padded[32:160, 32:160] = pixels
    return {"Rows": 192, "Columns": 192, "PixelData": padded.tobytes()}


def decide(bench: Bench, quality: float, **rules: Any) -> str:
    bench.network.quality = quality
    uid = bench.complete(2, **in_air(bench.made))
    with working(bench.worker(reporter=reporter(bench, **rules), max_attempts=1)):
        assert until(lambda: bench.state(uid) in (State.DECIDED, State.FAILED))
    return uid


def states(bench: Bench, uid: str) -> dict[str, str]:
    return {one.kind: one.state for one in bench.history(uid).deliveries}


@pytest.mark.parametrize(("quality", "state"), [(0.9, "PENDING"), (0.4, "HELD"), (0.1, "HELD")])
def test_what_is_good_goes_and_what_is_bad_waits(bench: Bench, quality: float, state: str) -> None:
    uid = decide(bench, quality)
    assert (bench.history(uid).row.verdict in ("REVIEW", "REPEAT")) == (state == "HELD")
    found = states(bench, uid)
    assert found.pop("ALERT") == "PENDING"
    assert set(found.values()) == {state} and {"SR", "FORWARD"} <= found.keys()
    (alert,) = [row.payload for row in _rows(bench) if row.kind == "ALERT"]
    held = "not sent, until somebody releases them or 30 minutes are over" in parse_alert(alert).body
    assert held == (state == "HELD")


def test_the_alert_of_what_is_out_already_does_not_say_held(bench: Bench) -> None:
    uid = decide(bench, 0.1)
    assert Holds(bench.store).release(uid, actor="anna")
    assert bench.queue.requeue([uid]) == 1
    with working(bench.worker(reporter=reporter(bench))):
        assert until(lambda: len(bench.history(uid).results) == 2)
    first, second = (parse_alert(row.payload).body for row in _rows(bench) if row.kind == "ALERT")
    assert "Archive: " in first and "Archive: " not in second


@pytest.mark.parametrize("failures", [False, True])
def test_what_cannot_be_scored_goes_or_waits(bench: Bench, failures: bool) -> None:
    uid = bench.complete(2, RescaleIntercept=3000)
    with working(bench.worker(reporter=reporter(bench, failures=failures), max_attempts=1)):
        assert until(lambda: bench.state(uid) is State.FAILED)
    assert states(bench, uid) == {"FORWARD": "HELD" if failures else "PENDING"}


def test_the_newer_report_names_the_held_one_as_its_predecessor(bench: Bench) -> None:
    uid = decide(bench, 0.1)
    assert bench.queue.requeue([uid]) == 1
    with working(bench.worker(reporter=reporter(bench))):
        assert until(lambda: len(bench.history(uid).results) == 2)
    first, second = (dcmread(bench.reports / uid / f"{n}-comprehensive3d.dcm") for n in (1, 2))
    (study,) = second.PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == first.SOPInstanceUID
    assert Holds(bench.store).release(uid, actor="anna")
    sent = [row.payload for row in _rows(bench) if row.state == "PENDING" and row.kind == "SR"]
    assert [Path(one).name[0] for one in sent] == ["1", "2"]


def test_a_rejection_names_every_image_and_who_rejected_it(bench: Bench) -> None:
    uid = decide(bench, 0.1)
    preview = rejector(bench).preview(uid)
    assert preview is not None and preview.subject.held and preview.told == ("pacs",)
    assert rejector(bench).reject(preview, revision=1, instances=2, rejection=WHY)
    assert not rejector(bench).reject(preview, revision=1, instances=2, rejection=replace(WHY, person="ben"))
    (path,) = bench.reports.glob(f"{uid}/*rejection*")
    document = dcmread(path)
    assert document.ConceptNameCodeSequence[0].CodeValue == "113001"
    items = [one for one in document.ContentSequence if one.ValueType == "IMAGE"]
    named = {one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in items}
    assert named == {one.sop_instance_uid for one in preview.subject.series.instances} and len(named) == 2
    assert "anna" in sr_text(document) and "patient moved" in sr_text(document)
    assert set(states(bench, uid).values()) == {"PENDING"}
    (entry,) = Trail(bench.store).newest()
    assert (entry.actor, entry.act) == ("anna", "reject")
    assert entry.details["instances"] == 2 and entry.details["reason"] == "111210 patient moved"


def test_what_cannot_be_rejected_leaves_nothing_behind(bench: Bench) -> None:
    uid = decide(bench, 0.1)
    of = rejector(bench)
    preview = of.preview(uid)
    assert preview is not None and of.preview("1.9") is None
    for wrong in ({"revision": 2, "instances": 2}, {"revision": 1, "instances": 3}):
        with pytest.raises(Changed):
            of.reject(preview, **wrong, rejection=WHY)
    with pytest.raises(ReportError, match="7011"):
        of.reject(preview, revision=1, instances=2, rejection=replace(WHY, reason="1"))
    silent = rejector(bench, replace(PACS, results=False))
    nobody = silent.preview(uid)
    assert nobody is not None and (nobody.told, nobody.untold) == ((), ("pacs",))
    with pytest.raises(ReportError, match="nobody"):
        silent.reject(nobody, revision=1, instances=2, rejection=WHY)
    assert bench.queue.requeue([uid]) == 1
    with pytest.raises(Changed):  # scored again since it was looked at
        of.reject(preview, revision=1, instances=2, rejection=WHY)
    shutil.rmtree(bench.spool.folder(uid))
    with working(bench.worker(reporter=reporter(bench), max_attempts=1)):
        assert until(lambda: bench.state(uid) in (State.DECIDED, State.FAILED))
    gone = of.preview(uid)
    assert gone is not None
    with pytest.raises(ReportError, match="no longer in the gate"):
        of.reject(gone, revision=2, instances=2, rejection=WHY)
    assert not list(bench.reports.glob("*/*rejection*")) and not _rejections(bench)


@pytest.mark.parametrize("mode", ["observe", "forward", "hold"])
def test_no_way_but_a_persons_makes_a_rejection(bench: Bench, mode: str, tmp_path: Path) -> None:
    """Every verdict, a failure, a time limit, a late image, requeues, another mode: 113010 at most."""
    settings = Settings(
        mode=mode, data_dir=tmp_path / "data", archive=[ARCHIVE], alerts={"urls": []},
        hold={"limit_s": 0.001, "on_failure": "hold"},
    )  # fmt: skip
    sending = parts.reporter(settings, bench.spool, parts.alerter(settings))
    uids = []
    for quality in (0.9, 0.4, 0.1):
        bench.network.quality = quality
        uid, paths = bench.made.series(3, **in_air(bench.made))
        bench.arrive(paths[:2])
        bench.close()
        with working(bench.worker(reporter=sending)):
            assert until(lambda uid=uid: bench.state(uid) in (State.DECIDED, State.DELIVERED))
            bench.arrive(paths[2:])
            bench.close()
            assert until(lambda uid=uid: len(bench.history(uid).results) == 2)
        uids.append(uid)
    uids.append(bench.complete(2, RescaleIntercept=3000))
    with working(bench.worker(reporter=sending, max_attempts=1)):
        assert until(lambda: bench.state(uids[-1]) is State.FAILED)
    held = {one.series_instance_uid for one in Holds(bench.store).all()}
    assert held == (set(uids[1:]) if mode == "hold" else set())
    assert set(parts_hold.release_due(settings, bench.store)) == held
    bench.queue.requeue(uids[:3])
    Outbox(bench.store).requeue_dead()
    with working(bench.worker(reporter=sending)):
        assert until(lambda: all(len(bench.history(uid).results) == 3 for uid in uids[:3]))
    parts_hold.release_due(settings.model_copy(update={"mode": "observe"}), bench.store)
    assert not _rejections(bench) and not Holds(bench.store).all()
    titles = {
        dcmread(path).ConceptNameCodeSequence[0].CodeValue for path in settings.report_dir.glob("*/*.dcm")
    }
    assert titles == {"126000", "113010"}


def test_leaving_hold_mode_lets_everything_go(bench: Bench, tmp_path: Path) -> None:
    uid = decide(bench, 0.1)
    hold = Settings(mode="hold", data_dir=tmp_path, archive=[ARCHIVE], hold={"limit_s": 0})
    assert parts_hold.release_due(hold, bench.store) == (), "without a limit only a person releases"
    assert parts_hold.release_due(Settings(data_dir=tmp_path), bench.store) == (uid,)
    assert Trail(bench.store).newest()[0].details["reason"] == "the mode is observe"


def test_hold_mode_needs_an_archive_that_takes_images(tmp_path: Path) -> None:
    file = tmp_path / "qagate.toml"
    file.write_text('mode = "hold"\n')
    with pytest.raises(ConfigError, match="mode is hold but no"):
        load(file)
    file.write_text('mode = "hold"\n[[archive]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\n')
    assert load(file).hold.limit_s == 1800 and load(file).hold.on_failure == "forward"


def _rows(bench: Bench) -> Any:
    with bench.store.read() as connection:
        return connection.execute(outbox.select().order_by(outbox.c.id)).all()


def _rejections(bench: Bench) -> list[Any]:
    return [row for row in _rows(bench) if row.kind == Kind.REJECTION.value]
