"""Settings become parts. Only this module and `app` know which setting feeds what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qagate import __version__
from qagate.alerts import Alerter
from qagate.assessment import Verdict
from qagate.config import ArchiveSettings, Settings
from qagate.dicom import scu
from qagate.dicom.access import Access, AccessRule
from qagate.dicom.report import ReportIdentity, derive_uid
from qagate.dicom.spool import Spool
from qagate.gate.assembly import CompletionRules
from qagate.gate.policy import Policy, PolicyRule
from qagate.reporting import Destination, Reporter
from qagate.series import Series
from qagate.store.outbox import RetryPolicy

if TYPE_CHECKING:
    from qagate.gate.scoring import Scorer

_LOOPBACK = ("127.0.0.0/8", "::1/128")


def policy(settings: Settings) -> Policy:
    """The decision table of the settings, or the default one."""
    if not settings.rule:
        return Policy()
    return Policy(rules=tuple(PolicyRule(**rule.model_dump()) for rule in settings.rule))


def scorer(settings: Settings, *, model: str | None = None, device: str | None = None) -> Scorer:
    """Load the model, hash-checked, onto its device."""
    import torch  # slow to import, and only the worker needs it

    from models import registry
    from qagate.gate.scoring import Scorer

    torch.set_num_threads(settings.worker.threads or os.cpu_count() or 1)
    wanted = device or settings.worker.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = registry.load(model or settings.worker.model, device=wanted)
    return Scorer(loaded, max_batch=settings.worker.max_batch)


def access(settings: Settings) -> Access:
    """Who may associate: the peers of the settings, or this machine alone."""
    rules = [AccessRule(ae_title=peer.ae_title, addresses=peer.addresses) for peer in settings.peer]
    called = None if settings.receiver.any_called_ae_title else frozenset({settings.receiver.ae_title})
    return Access(tuple(rules) or (AccessRule(ae_title="*", addresses=_LOOPBACK),), called_ae_titles=called)


def archive(settings: Settings, of: ArchiveSettings) -> scu.Archive:
    """One archive as the SCU knows it."""
    return scu.Archive(
        name=of.name,
        ae_title=of.ae_title,
        host=of.host,
        port=of.port,
        calling_ae_title=of.calling_ae_title or settings.receiver.ae_title,
        timeout_s=of.timeout_s,
    )


def alerter(settings: Settings) -> Alerter:
    """The alert destinations of the settings."""
    of = settings.alerts
    return Alerter(of.urls, title=of.title, body=of.body, include_patient=of.descriptions)


def reporter(settings: Settings, spool: Spool, alerts: Alerter) -> Reporter:
    """What a decision sends where."""
    device_uid = derive_uid("device", settings.receiver.ae_title, str(settings.data_dir))

    def identity(series: Series) -> ReportIdentity:
        return ReportIdentity(
            series_instance_uid=series.series_instance_uid,
            revision=series.revision,
            device_uid=device_uid,
            ae_title=settings.receiver.ae_title,
            software_version=__version__,
        )

    return Reporter(
        spool=spool,
        folder=settings.report_dir,
        destinations=[
            Destination(
                name=of.name,
                results=of.results,
                images=of.images and settings.mode == "forward",
                sr_class=of.sr,
            )
            for of in settings.archive
        ],
        alerter=alerts,
        alert_verdicts=[Verdict(name) for name in settings.alerts.verdicts],
        identity=identity,
    )


def completion_rules(settings: Settings) -> CompletionRules:
    """When a series counts as complete."""
    of = settings.assembly
    return CompletionRules(
        short_quiet_s=of.short_quiet_s, long_quiet_s=of.long_quiet_s, hard_limit_s=of.hard_limit_s
    )


def retry_policy(settings: Settings) -> RetryPolicy:
    """When a failed delivery is tried again."""
    of = settings.delivery
    return RetryPolicy(first_s=of.first_retry_s, longest_s=of.max_retry_s, max_attempts=of.max_attempts)
