"""Settings become parts. Only this module and `app` know which setting feeds what."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from qagate.alerts import Alerter
from qagate.assessment import Verdict
from qagate.audit_export import Exporter
from qagate.clocks import ClockGuard
from qagate.config import Settings
from qagate.config_network import ArchiveSettings
from qagate.config_secrets import revealed
from qagate.dicom import scu
from qagate.dicom.spool import Spool
from qagate.dicom.tls import Credentials, Tls
from qagate.fsck import Fsck
from qagate.gate.assembly import CompletionRules
from qagate.gate.policy import Policy, PolicyRule
from qagate.parts_hold import destinations, hold_rules, identity
from qagate.reason import Reason
from qagate.reconcile import Reconciler
from qagate.reporting import Reporter
from qagate.retention import Purger, RetentionRules
from qagate.store.audit import Trail
from qagate.store.baselines import Baselines
from qagate.store.calibrations import Calibrations
from qagate.store.engine import Store
from qagate.store.outbox import RetryPolicy
from qagate.store.queue import TRY_AGAIN_S, Queue
from qagate.store.retention import Retention
from qagate.store.returns import PAUSE_S, Longest, Returns
from qagate.store.roles import Roles
from qagate.store.shadows import Shadows

if TYPE_CHECKING:  # torch and scipy, which most roles do without
    from models.inputs import QualityModel
    from qagate.gate.baseline import BaselineRules
    from qagate.gate.promotion import PromotionRules
    from qagate.gate.scoring import Scorer
    from qagate.serving import Serving
    from qagate.worker import Worker

log = structlog.get_logger(__name__)

_IDLE = timedelta(days=7)  #: a gate that got nothing for longer may have a wrong clock


def policy(settings: Settings) -> Policy:
    """The decision table of the settings, or the default one."""
    if not settings.rule:
        return Policy()
    return Policy(rules=tuple(PolicyRule(**rule.model_dump()) for rule in settings.rule))


def scorer(settings: Settings, *, model: str | None = None, device: str | None = None) -> Scorer:
    """Load a model, shipped or the house's own, hash-checked, onto its device; None: the settings'."""
    import torch  # slow to import, and only the worker needs it

    from models import registry
    from qagate.gate.scoring import Scorer, is_device_trouble

    def load(where: str) -> QualityModel:
        return registry.load(model or settings.worker.model, device=where, house=settings.house_dir)

    torch.set_num_threads(settings.worker.threads or os.cpu_count() or 1)
    wanted = device or settings.worker.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        loaded = load(wanted)
    except RuntimeError as error:
        if (device or settings.worker.device) != "auto" or not is_device_trouble(error):
            raise
        log.error("scoring_on_cpu", reason=Reason("the device takes no model"))
        wanted, loaded = "cpu", load("cpu")
    spare = None if wanted == "cpu" else partial(load, "cpu")
    return Scorer(loaded, max_batch=settings.worker.max_batch, on_cpu=spare)


def archive(settings: Settings, of: ArchiveSettings) -> scu.Archive:
    """One archive as the SCU knows it."""
    return scu.Archive(
        name=of.name,
        ae_title=of.ae_title,
        host=of.host,
        port=of.port,
        calling_ae_title=of.calling_ae_title or settings.receiver.ae_title,
        timeout_s=of.timeout_s,
        tls=_archive_tls(settings, of) if of.tls else None,
    )


def _archive_tls(settings: Settings, of: ArchiveSettings) -> Tls:
    own = of if of.tls_certificate else settings.receiver
    return Tls(
        Credentials(certificate=own.tls_certificate, key=own.tls_key, issuers=of.tls_issuers),
        server=False,
        check_host=of.tls_check_host,
    )


def receiver_tls(settings: Settings) -> Tls | None:
    """TLS of the receiver; None: plain text."""
    of = settings.receiver
    if of.tls_certificate is None:
        return None
    credentials = Credentials(certificate=of.tls_certificate, key=of.tls_key, issuers=of.tls_issuers)
    return Tls(credentials, server=True)


def alerter(settings: Settings) -> Alerter:
    """The alert destinations of the settings."""
    of = settings.alerts
    return Alerter(revealed(of.urls), title=of.title, body=of.body, include_patient=of.descriptions)


def physicist(settings: Settings) -> Alerter:
    """Where alarms about the gate itself go: destinations of their own, or those of the alerts."""
    urls = settings.alerts.physicist_urls
    return Alerter(revealed(urls), prefix="physicist-") if urls else alerter(settings)


def baseline_rules(settings: Settings) -> BaselineRules:
    """When a baseline counts, and what is a drift."""
    from qagate.gate.baseline import BaselineRules

    return BaselineRules(**settings.baseline.model_dump())


def promotion_rules(settings: Settings) -> PromotionRules:
    """What a promotion must not do."""
    from qagate.gate.promotion import PromotionRules

    return PromotionRules(**settings.promotion.model_dump())


def reporter(settings: Settings, spool: Spool, alerts: Alerter) -> Reporter:
    """What a decision sends where."""
    return Reporter(
        spool=spool,
        folder=settings.report_dir,
        destinations=destinations(settings),
        alerter=alerts,
        alert_verdicts=[Verdict(name) for name in settings.alerts.verdicts],
        identity=identity(settings),
        hold=hold_rules(settings),
    )


def completion_rules(settings: Settings) -> CompletionRules:
    """When a series counts as complete."""
    of = settings.assembly
    return CompletionRules(
        short_quiet_s=of.short_quiet_s, long_quiet_s=of.long_quiet_s, hard_limit_s=of.hard_limit_s
    )


def purger(settings: Settings, store: Store, spool: Spool) -> Purger:
    """What deletes images that nothing needs any more."""
    of = settings.retention
    rules = RetentionRules(
        keep_days=of.keep_days, free_mb=of.free_mb, least_hours=of.least_hours, reports=of.reports
    )
    guard = ClockGuard(store.now)
    guard.doubt(Retention(store).newest(), idle=_IDLE)
    return Purger(store=store, spool=spool, report_folder=settings.report_dir, rules=rules, guard=guard)


def reconciler(settings: Settings, store: Store, spool: Spool) -> Reconciler:
    """What counts each day."""
    grace = timedelta(hours=settings.reconcile.grace_hours)
    return Reconciler(store=store, spool=spool, physicist=physicist(settings), grace=grace)


def audit_exporter(settings: Settings, store: Store) -> Exporter:
    """What sends the audit trail to the syslog server of the settings. Raises ValueError."""
    of = settings.audit
    source = f"{settings.receiver.ae_title}@{socket.gethostname()}"
    return Exporter(trail=Trail(store), address=of.syslog, transport=of.transport, source=source)


def fsck(settings: Settings, store: Store, *, days: float, archives: bool, deep: bool) -> Fsck:
    """What holds spool, database and archives against each other."""
    names = {of.name for of in settings.archive}
    for alerts in (alerter(settings), physicist(settings)):
        names.update(alerts.destinations)
    return Fsck(
        store=store,
        spool=Spool(settings.spool_dir),
        archives=[archive(settings, of) for of in settings.archive] if archives else [],
        destinations=names,
        since=store.now() - timedelta(days=days),
        deep=deep,
    )


def longest(settings: Settings) -> Longest:
    """How far ahead the times of the store can lie."""
    of, waits = settings.delivery, [archive.commitment_wait_s for archive in settings.archive]
    return Longest(
        lease_s=settings.worker.lease_s,
        pause_s=PAUSE_S + TRY_AGAIN_S * settings.worker.max_attempts,
        delivery_lease_s=of.lease_s,
        delivery_pause_s=max([of.max_retry_s, of.first_retry_s, *waits]),
        lock_s=60.0 * settings.web.lock_minutes,
    )


def retry_policy(settings: Settings) -> RetryPolicy:
    """When a failed delivery is tried again."""
    of = settings.delivery
    return RetryPolicy(first_s=of.first_retry_s, longest_s=of.max_retry_s, max_attempts=of.max_attempts)


def worker_name() -> str:
    """This process' name in leases and logs."""
    return f"{socket.gethostname()}-{os.getpid()}"


def serving(settings: Settings, store: Store) -> Serving:
    """The models that the store's roles name, loaded."""
    from qagate.serving import Serving

    return Serving(
        roles=Roles(store),
        calibrations=Calibrations(store),
        load=lambda model: scorer(settings, model=model),
        worker=worker_name(),
    )


def worker(settings: Settings, store: Store, models: Serving) -> Worker:
    """A worker with everything it needs."""
    from qagate.shadow import Shadow
    from qagate.watch import Watch
    from qagate.worker import Worker

    of, spool, rules = settings.worker, Spool(settings.spool_dir), policy(settings)
    watch = Watch(
        baselines=Baselines(store),
        rules=baseline_rules(settings),
        physicist=physicist(settings),
        include_protocol=settings.alerts.descriptions,
    )
    return Worker(
        name=worker_name(),
        queue=Queue(store),
        returns=Returns(store),
        spool=spool,
        models=models,
        policy=rules,
        reporter=reporter(settings, spool, alerter(settings)),
        watch=watch,
        shadow=Shadow(shadows=Shadows(store), watch=watch, policy=rules),
        batch_series=of.batch_series,
        lease_s=of.lease_s,
        timeout_s=of.timeout_s,
        max_attempts=of.max_attempts,
        poll_s=of.poll_s,
    )
