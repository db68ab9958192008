"""Deletes spooled images that nothing needs any more: by age, and by space when the disk fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from qagate.clocks import ClockGuard
from qagate.dicom.spool import Spool
from qagate.reason import Reason
from qagate.store.engine import Store
from qagate.store.retention import Purge, Retention

log = structlog.get_logger(__name__)

_BATCH = 100
_ALWAYS = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """When the images of a series may go, provided that nothing of it is undelivered, held or unexported."""

    keep_days: float  #: after its last instance; 0: age alone deletes nothing
    free_mb: int  #: below it the oldest go, however young; 0: space deletes nothing
    least_hours: float  #: younger series stay even then
    reports: bool  #: the files of their reports go as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What one run deleted."""

    series: int = 0
    files: int = 0


class Purger:
    """Applies the rules to one store and one spool. Only one may run at a time."""

    def __init__(
        self,
        *,
        store: Store,
        spool: Spool,
        report_folder: Path,
        rules: RetentionRules,
        free_bytes: Callable[[], int] | None = None,
        guard: ClockGuard | None = None,
    ) -> None:
        """Take the parts; `free_bytes` tells the space on the spool's disk.

        guard: while it doubts the clock nothing is deleted; None: one that begins now.
        """
        self._store, self._spool, self._reports, self._rules = store, spool, report_folder, rules
        self._retention = Retention(store)
        self._free_bytes = free_bytes or spool.free_bytes
        self._guard = guard or ClockGuard(store.now)

    def run(self) -> Purged:
        """End what was interrupted, then delete what is old, then what the space asks for."""
        rules, now = self._rules, self._store.now()
        series = files = 0
        if self._guard.careful():
            return Purged()
        for purge in self._retention.begun():
            files += self._delete(purge, again=True)
            series += 1
        if rules.keep_days > 0:
            aged = self._some(timedelta(days=rules.keep_days), lambda: True)
            series, files = series + aged.series, files + aged.files
        if rules.free_mb > 0 and self._short():
            young = self._some(timedelta(hours=rules.least_hours), self._short)
            series, files = series + young.series, files + young.files
            if self._short():
                log.error(
                    "space_short", free_mb=self._free_bytes() >> 20, wanted_mb=rules.free_mb,
                    reason=Reason(
                        "every series left is undelivered, held, unexported or too young to be deleted"
                    ),
                )  # fmt: skip
        if series:
            log.info("purged", series=series, files=files, took_s=(self._store.now() - now).total_seconds())
        return Purged(series=series, files=files)

    def _short(self) -> bool:
        return self._free_bytes() < self._rules.free_mb << 20

    def _some(self, age: timedelta, more: Callable[[], bool]) -> Purged:
        """Delete the oldest that are older than `age`, as long as `more` says so."""
        series = files = 0
        before = self._store.now() - max(age, _ALWAYS)
        while found := self._retention.oldest(before, _BATCH):
            went = series
            for series_id in found:
                if not more():
                    return Purged(series=series, files=files)
                purge = self._retention.begin(series_id)
                if purge is not None:
                    files += self._delete(purge)
                    series += 1
            if series == went:  # all of them were taken up again meanwhile
                break
        return Purged(series=series, files=files)

    def _delete(self, purge: Purge, *, again: bool = False) -> int:
        """Delete by the names that were recorded: what comes meanwhile lies under others and stays.

        again: some files went some time ago, and others may have come under their names; look into each.
        """
        files = 0
        for one in purge.instances:
            if not again or self._spool.holds(one):
                files += self._spool.remove(one.path)
        if self._rules.reports:
            for path in (self._reports / purge.series_instance_uid).glob("*.dcm"):
                path.unlink(missing_ok=True)
        self._retention.done(purge)
        log.info(
            "purged_series",
            series_instance_uid=purge.series_instance_uid,
            revision=purge.revision,
            files=files,
        )
        return files
