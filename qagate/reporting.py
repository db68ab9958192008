"""From an examination to what leaves the gate: SR and KOS files, and the outbox rows that send them.

Files are written before the transaction that refers to them, under the name of the claim, and get their own
name inside it: a worker that lost its lease meanwhile cannot replace what another one decided. They are pure
functions of the series' revision, the model and the policy, so writing one again changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset

from qagate.alerts import Alerter
from qagate.assessment import BAD, Verdict
from qagate.delivery import alert_payload
from qagate.dicom.report import (
    EVIDENCE_KEYWORDS,
    DocumentReference,
    ReportError,
    ReportIdentity,
    SRClass,
    build_kos,
    build_sr,
    reference_to,
    to_bytes,
)
from qagate.dicom.source import PixelError, open_source
from qagate.dicom.spool import Spool
from qagate.durable import make_folder, sync_folder
from qagate.reason import why
from qagate.series import Series
from qagate.store.outbox import Kind, OutboxItem

if TYPE_CHECKING:
    from qagate.examine import Examination

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What one archive is sent."""

    name: str
    results: bool  #: SR and KOS
    images: bool  #: the series itself, unchanged
    sr_class: SRClass = "comprehensive3d"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRules:
    """What waits in the gate before it goes to the archives; without arguments nothing does."""

    verdicts: frozenset[Verdict] = frozenset()
    failures: bool = False  #: a series that could not be scored
    limit_s: float = 0.0  #: a held series goes by itself after so many seconds; 0: never

    @property
    def sentence(self) -> str:
        """What the alert says of a held series."""
        limit = f" or {_duration(self.limit_s)} are over" if self.limit_s else ""
        return f"The images are held in the gate, not sent, until somebody releases them{limit}."


class Reporter:
    """Writes the documents of a decision and lists what must be delivered."""

    def __init__(
        self,
        *,
        spool: Spool,
        folder: Path,
        destinations: Sequence[Destination],
        alerter: Alerter,
        alert_verdicts: Sequence[Verdict],
        identity: Callable[[Series], ReportIdentity],
        hold: HoldRules | None = None,
    ) -> None:
        self._spool, self._folder = spool, folder
        self._destinations = tuple(destinations)
        self._alerter = alerter
        self._alert_verdicts = tuple(alert_verdicts)
        self._identity = identity
        self._hold = hold or HoldRules()
        make_folder(folder)

    def deliveries(self, series: Series, examination: Examination) -> list[OutboxItem]:
        """Write SR and KOS aside and return every delivery of this revision, alert first.

        The files have the names that the deliveries give after `publish`.
        """
        held = examination.decision.verdict in self._hold.verdicts
        items: list[OutboxItem] = []
        try:
            items += self._documents(series, examination)
        except ReportError as error:
            # Without a usable header there is no study to put a report in; the decision still stands.
            log.error("report_impossible", series_instance_uid=series.series_instance_uid, reason=why(error))
        items = [replace(item, held=held) for item in items + self._images(series)]
        return self._alerts(series, examination, held and not series.images_out) + items

    def failed(self, series: Series) -> list[OutboxItem]:
        """The deliveries of a series that could not be scored: itself alone."""
        return [replace(item, held=self._hold.failures) for item in self._images(series)]

    def publish(self, series: Series) -> None:
        """Give what `deliveries` wrote its names, durably; only while the claim is held for certain."""
        folder = self._folder / series.series_instance_uid
        mine = list(folder.glob(_aside("*", series)))
        for path in mine:
            path.replace(path.with_suffix("").with_suffix(".dcm"))
        if mine:
            sync_folder(folder)
        for left_over in folder.glob(f"{series.revision}-*.part"):  # of workers that died or lost the claim
            left_over.unlink(missing_ok=True)

    def discard(self, series: Series) -> None:
        """Delete what `deliveries` wrote and nobody published."""
        for path in (self._folder / series.series_instance_uid).glob(_aside("*", series)):
            path.unlink(missing_ok=True)

    def _images(self, series: Series) -> list[OutboxItem]:
        paths = json.dumps([instance.path for instance in series.instances])
        return [
            OutboxItem(kind=Kind.FORWARD, destination=to.name, payload=paths)
            for to in self._destinations
            if to.images
        ]

    def _alerts(self, series: Series, examination: Examination, held: bool) -> list[OutboxItem]:
        if examination.decision.verdict not in self._alert_verdicts:
            return []
        message = self._alerter.compose(
            series, examination.assessment, examination.decision, self._hold.sentence if held else ""
        )
        return [
            OutboxItem(kind=Kind.ALERT, destination=name, payload=alert_payload(message))
            for name in self._alerter.destinations
        ]

    def _documents(self, series: Series, examination: Examination) -> list[OutboxItem]:
        receivers = [to for to in self._destinations if to.results]
        evidence = self._evidence(series, examination)
        srs = {
            sr_class: self._write(series, sr_class, self._sr(series, examination, evidence, sr_class))
            for sr_class in {to.sr_class for to in receivers} or {"comprehensive3d"}
        }
        items = [
            OutboxItem(kind=Kind.SR, destination=to.name, payload=str(srs[to.sr_class])) for to in receivers
        ]
        if examination.decision.verdict in BAD:
            kos = build_kos(
                evidence,
                examination.assessment,
                examination.decision,
                self._identity(series),
                content_datetime=series.last_received_at,
            )
            path = str(self._write(series, "kos", kos))
            items += [OutboxItem(kind=Kind.KOS, destination=to.name, payload=path) for to in receivers]
        return items

    def _sr(
        self, series: Series, examination: Examination, evidence: Sequence[Dataset], sr_class: SRClass
    ) -> Dataset:
        # The time of the last slice, not of this run: a second run must make the same bytes.
        return build_sr(
            evidence,
            examination.assessment,
            examination.decision,
            self._identity(series),
            content_datetime=series.last_received_at,
            previous=self._previous(series, sr_class),
            sr_class=sr_class,
        )

    def _evidence(self, series: Series, examination: Examination) -> list[Dataset]:
        """Headers of the scored instances, each once; of the first instance when nothing was scored."""
        paths = list(dict.fromkeys(Path(header.path) for header in examination.evidence))
        if not paths:
            paths = [self._spool.absolute(series.instances[0].path)]
        try:
            return [open_source(path, EVIDENCE_KEYWORDS).data for path in paths]
        except PixelError as error:
            raise ReportError(f"the header of the evidence cannot be read: {error}") from error

    def _previous(self, series: Series, sr_class: SRClass) -> DocumentReference | None:
        """The report of the last revision that has one.

        A file alone is no report: its revision may have been overtaken by a late instance while it was
        scored, and was then never sent.
        """
        for revision in reversed(series.decided_revisions):
            former = self._path(series, revision, sr_class)
            if former.exists():
                return reference_to(dcmread(former))
        return None

    def _path(self, series: Series, revision: int, kind: str) -> Path:
        return report_path(self._folder, series.series_instance_uid, revision, kind)

    def _write(self, series: Series, kind: str, document: Dataset) -> Path:
        """Write a document durably, aside; return the path that `publish` gives it."""
        path = self._path(series, series.revision, kind)
        _write_durably(path.with_name(_aside(kind, series)), document)
        return path


def _aside(kind: str, series: Series) -> str:
    return f"{series.revision}-{kind}.{series.lease_token}.part"


def report_path(folder: Path, series_instance_uid: str, revision: int, kind: str = "comprehensive3d") -> Path:
    """Where a document of one revision lies; kind: an SR class or "kos"."""
    return folder / series_instance_uid / f"{revision}-{kind}.dcm"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:g} seconds" if seconds < 120 else f"{minutes} minutes"


def write_document(path: Path, document: Dataset) -> None:
    """Write a document durably: after a crash it is there as a whole, or not at all."""
    aside = path.with_suffix(".new")
    _write_durably(aside, document)
    aside.replace(path)
    sync_folder(path.parent)


def _write_durably(path: Path, document: Dataset) -> None:
    make_folder(path.parent)
    try:
        with path.open("wb") as file:
            file.write(to_bytes(document))
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # a full disk needs the space
        path.unlink(missing_ok=True)
        raise
