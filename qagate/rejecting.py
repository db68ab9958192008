"""A person's rejection of a series: what it would hide, and the note that hides it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset

from qagate.dicom.report import Rejection, ReportError, ReportIdentity, build_rejection
from qagate.dicom.spool import Spool
from qagate.reporting import Destination, report_path, write_document
from qagate.series import Series
from qagate.store.engine import Store
from qagate.store.outbox import Kind, OutboxItem
from qagate.store.rejections import SETTLED, Changed, Rejections, Subject

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a rejection would do."""

    subject: Subject
    told: tuple[str, ...]  #: archives that get the note
    untold: tuple[str, ...]  #: archives that get images but no results, and so no note

    @property
    def settled(self) -> bool:
        """Whether nothing of the series is under way."""
        return self.subject.series.state in SETTLED


class Rejector:
    """Previews and makes rejections."""

    def __init__(
        self,
        *,
        store: Store,
        spool: Spool,
        folder: Path,
        destinations: Sequence[Destination],
        identity: Callable[[Series], ReportIdentity],
    ) -> None:
        self._store, self._rejections, self._spool = store, Rejections(store), spool
        self._folder, self._destinations, self._identity = folder, destinations, identity

    def preview(self, series_instance_uid: str) -> Preview | None:
        """What rejecting a series would do; None when it is unknown."""
        subject = self._rejections.subject(series_instance_uid)
        if subject is None:
            return None
        return Preview(
            subject=subject,
            told=tuple(to.name for to in self._destinations if to.results),
            untold=tuple(to.name for to in self._destinations if to.images and not to.results),
        )

    def reject(self, preview: Preview, *, revision: int, instances: int, rejection: Rejection) -> bool:
        """Reject what a person confirmed: so many instances of a revision. False: it was rejected already.

        Raises Changed when the series is another by now, ReportError when no note can be made of it.
        """
        series = preview.subject.series
        if not preview.settled or (series.revision, len(series.instances)) != (revision, instances):
            raise Changed("the series has changed since it was looked at")
        if not preview.told:
            raise ReportError("no archive takes results: there is nobody to tell")
        note = build_rejection(
            self._header(series),
            series.instances,
            rejection,
            self._identity(series),
            content_datetime=self._store.now(),
        )
        # A name of its own: of two who confirm at once, the second must not write over the first's.
        kind = f"rejection-{secrets.token_hex(4)}"
        path = report_path(self._folder, series.series_instance_uid, revision, kind)
        write_document(path, note)
        items = [
            OutboxItem(kind=Kind.REJECTION, destination=name, payload=str(path)) for name in preview.told
        ]
        done = False
        try:
            done = self._rejections.reject(series, items, actor=rejection.person, reason=_reason(rejection))
        finally:
            if not done:
                path.unlink(missing_ok=True)
        if done:
            log.info(
                "rejected",
                series_instance_uid=series.series_instance_uid,
                revision=revision,
                instances=instances,
            )
        return done

    def _header(self, series: Series) -> Dataset:
        for one in series.instances:
            path = self._spool.absolute(one.path)
            if path.is_file():
                return dcmread(path, stop_before_pixels=True, force=True)
        raise ReportError("its images are no longer in the gate: reject it in the archive")


def _reason(rejection: Rejection) -> str:
    return " ".join(filter(None, (rejection.reason, rejection.words)))
