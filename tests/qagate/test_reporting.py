"""What a revision's report says of the revisions before it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from qagate.alerts import Alerter
from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.dicom.headers import read_header
from qagate.dicom.part10 import read_file_meta
from qagate.dicom.report import ReportIdentity
from qagate.dicom.spool import Spool, received
from qagate.examine import Examination
from qagate.reporting import Destination, Reporter, report_path
from qagate.store.engine import Store, open_store
from qagate.store.migrate import migrate
from qagate.store.queue import Queue

ASSESSMENT = Assessment(
    prompt=Prompt(dimension="2D", modality="CT"),
    quality=0.9,
    score=0.9,
    model="m",
    model_version="1",
    weights_sha256="0" * 64,
)
EXAMINATION = Examination(
    assessment=ASSESSMENT, decision=Decision(verdict=Verdict.PASS, reasons=("quality 0.90",)), evidence=()
)


class Line:
    """Spool, queue and reporter, without processes between them."""

    def __init__(self, folder: Path, store: Store, paths: list[Path]) -> None:
        self.spool, self.queue, self._paths = Spool(folder / "spool"), Queue(store), iter(paths)
        self.reports = folder / "reports"
        self.reporter = Reporter(
            spool=self.spool,
            folder=self.reports,
            destinations=[Destination(name="pacs", results=True, images=False)],
            alerter=Alerter([]),
            alert_verdicts=[],
            identity=lambda series: ReportIdentity(
                series_instance_uid=series.series_instance_uid,
                revision=series.revision,
                device_uid="2.25.1",
                ae_title="QAGATE",
            ),
        )

    def receive(self) -> None:
        path = next(self._paths)
        header = read_header(path)
        with path.open("rb") as file:
            meta = read_file_meta(file)
        self.queue.record([received(header, meta, self.spool.place(path, header))])

    def claim(self) -> Any:
        (receiving,) = self.queue.receiving()
        assert self.queue.close(receiving, "quiet")
        return self.queue.claim("w", 60)

    def finish(self, series: Any) -> bool:
        items = self.reporter.deliveries(series, EXAMINATION)
        publish = partial(self.reporter.publish, series)
        return self.queue.finish(series, ASSESSMENT, EXAMINATION.decision, items, publish=publish)

    def predecessors(self, uid: str, revision: int) -> list[str]:
        report = dcmread(report_path(self.reports, uid, revision))
        found = report.get("PredecessorDocumentsSequence", [])
        return [
            reference.ReferencedSOPInstanceUID
            for study in found
            for one in study.ReferencedSeriesSequence
            for reference in one.ReferencedSOPSequence
        ]


@pytest.mark.parametrize("overtaken", [False, True])
def test_predecessor_is_a_report_that_was_sent(tmp_path: Path, made: Any, overtaken: bool) -> None:
    uid, paths = made.series(3)
    url = f"sqlite:///{tmp_path / 'qagate.db'}"
    migrate(url)
    with open_store(url) as store:
        line = Line(tmp_path, store, paths)
        line.receive()
        first = line.claim()
        if overtaken:  # a late instance while revision 1 is scored
            line.receive()
        assert line.finish(first) != overtaken
        if not overtaken:
            line.receive()
        second = line.claim()
        assert second.revision == 2 and line.finish(second)
        line.receive()
        third = line.claim()
        assert third.revision == 3 and line.finish(third)
    first_report = report_path(line.reports, uid, 1)
    assert first_report.exists() != overtaken
    sent = [] if overtaken else [str(dcmread(first_report).SOPInstanceUID)]
    assert line.predecessors(uid, 2) == sent
    newer = str(dcmread(report_path(line.reports, uid, 2)).SOPInstanceUID)
    assert line.predecessors(uid, 3) == [newer]
