"""The daily reconciliation: received = decided = delivered, or the physicist's addresses hear of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import structlog

from qagate.alert_text import AlertError, AlertMessage
from qagate.alerts import Alerter
from qagate.dicom.spool import Spool
from qagate.reason import why
from qagate.store.engine import Store
from qagate.store.queue import Queue
from qagate.store.reconciliations import Reconciliation, Reconciliations

log = structlog.get_logger(__name__)

_CATCH_UP_DAYS = 7  #: a gate that stood still looks at so many days afterwards


class Reconciler:
    """Counts each day once, `grace` after its end (UTC), and tells of differences until somebody was told."""

    def __init__(self, *, store: Store, spool: Spool, physicist: Alerter, grace: timedelta) -> None:
        self._store, self._spool = store, spool
        self._physicist, self._grace = physicist, grace
        self._kept = Reconciliations(store)

    def run(self) -> None:
        """Count the days that are due, and alert."""
        today = (self._store.now() - self._grace).date()
        for day in self._kept.missing(today, _CATCH_UP_DAYS):
            found = self.count(day)
            self._kept.keep(found)
            log.info(
                "reconciled", day=day, instances=found.instances, received=found.received,
                decided=found.decided, delivered=found.delivered, failed=found.failed,
                held=found.held, differences=len(found.differences),
            )  # fmt: skip
        for untold in self._kept.untold():
            try:
                self._physicist.send(compose(untold))
            except AlertError as error:
                log.error("reconciliation_untold", day=untold.day, error=why(error))
                continue
            self._kept.told(untold.day)

    def count(self, day: date) -> Reconciliation:
        """One day as it stands now, the spool included."""
        known = Queue(self._store).known_paths()
        new = 0
        for conflicts in (False, True):
            for path in self._spool.paths(conflicts=conflicts):
                if path not in known and self._day(path) == day:
                    new += 1
        return self._kept.count(day, new)

    def _day(self, path: str) -> date | None:
        try:
            return datetime.fromtimestamp(self._spool.absolute(path).stat().st_mtime, UTC).date()
        except FileNotFoundError:
            return None


def compose(of: Reconciliation) -> AlertMessage:
    """One day's difference in plain words."""
    lines = [
        f"Of {of.received} series ({of.instances} instances) of {of.day} (UTC), {of.decided} are decided and "
        f"{of.delivered} delivered" + (f", {of.held} held." if of.held else "."),
        *of.differences,
        "What to do: `qagate status` and `qagate fsck` say more.",
    ]
    return AlertMessage(
        verdict=None, title=f"Received, decided and delivered differ: {of.day}", body="\n".join(lines)
    )
