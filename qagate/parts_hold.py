"""Settings become the parts of hold mode, and what they share with the reports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from qagate import __version__
from qagate.assessment import BAD
from qagate.config import Settings
from qagate.dicom.report import ReportIdentity, derive_uid
from qagate.dicom.spool import Spool
from qagate.reason import Reason
from qagate.rejecting import Rejector
from qagate.reporting import Destination, HoldRules
from qagate.series import Series
from qagate.store.engine import Store
from qagate.store.holds import Holds

log = structlog.get_logger(__name__)


def hold_rules(settings: Settings) -> HoldRules:
    """What waits in the gate."""
    if settings.mode != "hold":
        return HoldRules()
    of = settings.hold
    return HoldRules(verdicts=BAD, failures=of.on_failure == "hold", limit_s=of.limit_s)


def image_archives(settings: Settings) -> frozenset[str]:
    """The names of the archives that the gate forwards images to."""
    if settings.mode == "observe":
        return frozenset()
    return frozenset(of.name for of in settings.archive if of.images)


def destinations(settings: Settings) -> list[Destination]:
    """What each archive is sent."""
    images = image_archives(settings)
    return [
        Destination(name=of.name, results=of.results, images=of.name in images, sr_class=of.sr)
        for of in settings.archive
    ]


def identity(settings: Settings) -> Callable[[Series], ReportIdentity]:
    """Who reports: this gate, of a series."""
    device_uid = derive_uid("device", settings.receiver.ae_title, str(settings.data_dir))
    return lambda series: ReportIdentity(
        series_instance_uid=series.series_instance_uid,
        revision=series.revision,
        device_uid=device_uid,
        ae_title=settings.receiver.ae_title,
        software_version=__version__,
    )


def rejector(settings: Settings, store: Store, spool: Spool) -> Rejector:
    """What previews and makes a person's rejections."""
    return Rejector(
        store=store,
        spool=spool,
        folder=settings.report_dir,
        destinations=destinations(settings),
        identity=identity(settings),
    )


def release_due(settings: Settings, store: Store) -> tuple[str, ...]:
    """Release what has waited long enough, or everything where the settings hold nothing any more."""
    limit_s = settings.hold.limit_s
    if settings.mode != "hold":
        until, reason = store.now(), f"the mode is {settings.mode}"
    elif limit_s:
        until, reason = store.now() - timedelta(seconds=limit_s), f"held for {limit_s:g} s"
    else:
        return ()
    released = Holds(store).release_waiting(until, reason)
    for uid in released:
        log.info("released", series_instance_uid=uid, reason=Reason(reason))
    return released
