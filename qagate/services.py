"""The services: series are closed, lost leases taken back, results and alerts sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import structlog

from qagate import parts, pulse
from qagate.asking import CommittedSender
from qagate.clocks import Stillness
from qagate.config import Settings
from qagate.delivery import AlertChannel, ArchiveChannel, Sender
from qagate.dicom.spool import Spool
from qagate.gate.assembly import Evidence, completed_because
from qagate.parts_hold import image_archives, release_due
from qagate.reason import Reason
from qagate.reporting import Reporter
from qagate.scheduler import Scheduler
from qagate.store.asked import Asked
from qagate.store.engine import Store, open_store
from qagate.store.outbox import Outbox
from qagate.store.queue import Queue, Receiving
from qagate.store.returns import Returns

log = structlog.get_logger(__name__)

_REAP_S = 5.0
_EXPORT_S = 5.0
_RELEASE_S = 5.0
_RECONCILE_S = 600.0  #: a day is counted once; those of a standstill, and alerts that failed, follow


def run(settings: Settings, stop: threading.Event) -> None:
    """Run the jobs and deliveries of a ready store until `stop`."""
    spool = Spool(settings.spool_dir)
    with open_store(settings.store_url) as store:
        queue, outbox = Queue(store), Outbox(store)
        reporter = parts.reporter(settings, spool, parts.alerter(settings))
        returns, stillness = Returns(store), Stillness()
        scheduler = Scheduler(
            {
                "close_series": (
                    lambda: close_series(settings, store, queue, stillness),
                    settings.assembly.poll_s,
                ),
                "mend_clock": (lambda: returns.mend_clock(parts.longest(settings)), _REAP_S),
                "reap_leases": (lambda: _reap(settings, queue, outbox, reporter), _REAP_S),
                "reap_deliveries": (
                    lambda: outbox.reap(max_attempts=settings.delivery.max_attempts),
                    _REAP_S,
                ),
                "release_held": (lambda: release_due(settings, store), _RELEASE_S),
                **_care(settings, store, spool),
            }
        )
        senders = [*_senders(settings, spool, outbox, Asked(store))]
        threads = [threading.Thread(target=sender.run, args=(stop,), daemon=True) for sender in senders]
        scheduler.start()
        for thread in threads:
            thread.start()
        pulse.start(stop, lambda: all(thread.is_alive() for thread in threads))
        stop.wait()
        scheduler.stop()
        for thread in threads:
            thread.join()


def _care(settings: Settings, store: Store, spool: Spool) -> dict[str, tuple[Callable[[], object], float]]:
    jobs: dict[str, tuple[Callable[[], object], float]] = {}
    if settings.retention.keep_days or settings.retention.free_mb:
        jobs["retention"] = (parts.purger(settings, store, spool).run, settings.retention.every_s)
    if settings.reconcile.enabled:
        jobs["reconcile"] = (parts.reconciler(settings, store, spool).run, _RECONCILE_S)
    if settings.audit.syslog:
        jobs["audit_export"] = (parts.audit_exporter(settings, store).run, _EXPORT_S)
    return jobs


def _reap(settings: Settings, queue: Queue, outbox: Outbox, reporter: Reporter) -> None:
    """Take leases back; a series given up that way is still sent on, as its mode asks."""
    queue.reap(settings.worker.max_attempts)
    for series in queue.failed_unsent() if image_archives(settings) else ():
        outbox.add(series.series_id, series.revision, reporter.failed(series))


def _senders(settings: Settings, spool: Spool, outbox: Outbox, asked: Asked) -> Iterator[Sender]:
    policy, lease_s = parts.retry_policy(settings), settings.delivery.lease_s
    poll_s = settings.delivery.poll_s
    for of in settings.archive:
        to = ArchiveChannel(archive=parts.archive(settings, of), spool=spool)
        if of.delivered == "stored":
            yield Sender(outbox=outbox, channel=to, policy=policy, lease_s=lease_s, poll_s=poll_s)
            continue
        yield CommittedSender(
            outbox=outbox,
            asked=asked,
            channel=to,
            policy=policy,
            lease_s=lease_s,
            poll_s=poll_s,
            wait_s=of.commitment_wait_s,
            linger_s=of.commitment_linger_s,
        )
    alerters = [parts.alerter(settings)]
    if settings.alerts.physicist_urls:
        alerters.append(parts.physicist(settings))
    for alerts in alerters:
        for name in alerts.destinations:
            alert = AlertChannel(alerter=alerts, destination=name)
            yield Sender(outbox=outbox, channel=alert, policy=policy, lease_s=lease_s, poll_s=poll_s)


def close_series(settings: Settings, store: Store, queue: Queue, stillness: Stillness) -> None:
    """Close the series that are complete; how long each is quiet is for `stillness` to say, not the clock."""
    rules, now = parts.completion_rules(settings), store.now()
    receiving = {series.series_id: series for series in queue.receiving()}
    waited = stillness.look({key: _stands(series, now) for key, series in receiving.items()})
    for key, series in receiving.items():
        quiet_s, age_s = waited[key]
        last = now - timedelta(seconds=quiet_s)
        evidence = Evidence(
            instance_count=series.instance_count,
            expected_instances=series.expected_instances,
            learned_instances=series.learned_instances,
            first_received_at=now - timedelta(seconds=age_s),
            last_received_at=last,
            released_at=None if series.released_at is None else last,
        )
        because = completed_because(evidence, rules, now)
        if because is not None and queue.close(series, because):
            log.info(
                "closed",
                series_instance_uid=series.series_instance_uid,
                revision=series.revision,
                instances=series.instance_count,
                because=Reason(because),
                associations=series.associations,
            )


def _stands(series: Receiving, now: datetime) -> tuple[object, float, float]:
    """What changes with every instance and release, and for how long it is so by the time of day."""
    changed = max(series.last_received_at, series.released_at or series.last_received_at)
    state = (series.revision, series.instance_count, series.released_at)
    return state, (now - changed).total_seconds(), (now - series.revision_started_at).total_seconds()
