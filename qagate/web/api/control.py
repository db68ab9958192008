"""Control for programs: health, requeues, archives, models, other decision tables tried out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from qagate import stewardship
from qagate.config import PolicyRuleSettings
from qagate.gate.policy import Policy, PolicyError, PolicyRule
from qagate.store.errors import StoreError
from qagate.store.health import Health
from qagate.store.outbox import Outbox
from qagate.trained_models import trained
from qagate.web.control import SHOWN, echo, requeue
from qagate.web.errors import Problem
from qagate.web.routing import Here, Router, Visitor
from qagate.web.security import Role
from qagate.web.texts import gettext as _
from qagate.web.thresholds import previewed

router = Router(prefix="/api/v1/control", tags=["control"], schema=True)

Name = Annotated[str, Path(max_length=200, description="of the settings' archive")]
_TEXT = r"^[^\x00]*$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DestinationOut(BaseModel):
    """What goes to one archive or alert channel."""

    name: str
    held: int = Field(description="waiting for a release")
    waiting: int
    retried: int
    dead: int
    oldest: datetime | None
    last_error: str | None
    last_sent: datetime | None


class FailedOut(BaseModel):
    """One series that could not be scored."""

    series_instance_uid: str
    station: str
    modality: str
    last_received_at: datetime
    attempts: int
    last_error: str | None


class StuckOut(BaseModel):
    """One delivery that failed at least once and is not sent."""

    series_instance_uid: str
    revision: int
    kind: str
    destination: str
    state: str
    attempts: int
    last_error: str | None
    not_before: datetime


class HealthOut(BaseModel):
    """How the gate itself does."""

    counts: dict[str, int] = Field(description="state -> series")
    oldest_waiting: datetime | None
    median_s: float | None = Field(description="from last slice to verdict, of the newest results")
    p95_s: float | None
    last_decided: datetime | None
    refused_today: int
    rejected_today: int
    free_bytes: int
    destinations: tuple[DestinationOut, ...]
    failed: tuple[FailedOut, ...]
    stuck: tuple[StuckOut, ...]


class RequeueIn(_Body):
    """Series to be scored again."""

    series: tuple[Annotated[str, Field(max_length=200, pattern=_TEXT)], ...] = Field((), max_length=500)
    failed: bool = Field(False, description="every series that failed")


class RedeliverIn(_Body):
    """Given-up deliveries to be tried again; none named: all."""

    series: str | None = Field(None, max_length=200, pattern=_TEXT)


class DoneOut(BaseModel):
    """How many are in the queue again."""

    count: int


class EchoOut(BaseModel):
    """Whether an archive answered."""

    answered: bool
    error: str | None


class RoleIn(_Body):
    """An act on models."""

    name: str = Field(min_length=1, max_length=200, pattern=_TEXT)
    reason: str = Field("", max_length=1000, pattern=_TEXT)


class PromoteIn(RoleIn):
    """A promotion."""

    force: bool = Field(False, description="also against the objections; needs a reason")


class ReasonIn(_Body):
    """Why."""

    reason: str = Field("", max_length=1000, pattern=_TEXT)


class PreviewIn(_Body):
    """A decision table to be tried out."""

    rules: tuple[PolicyRuleSettings, ...] = Field(min_length=1, max_length=50)
    days: int = Field(30, ge=1, le=366)


class ChangeOut(BaseModel):
    """One series that would have been decided otherwise."""

    series_instance_uid: str
    decided_at: datetime
    before: str
    after: str
    quality: float | None
    rule: str


class PreviewOut(BaseModel):
    """What the table would have done."""

    series: int
    alerts_before: int
    alerts_after: int
    changed: int
    pairs: dict[str, int] = Field(description='"PASS to REVIEW" -> series')
    changes: tuple[ChangeOut, ...]


@router.get("/health", rule=Role.PHYSICIST, response_model=HealthOut)
def health(site: Here) -> dict[str, Any]:
    """Queue, deliveries, what failed."""
    found = Health(site.store)
    names = tuple(one.name for one in site.settings.archive)
    return asdict(found.queue()) | {
        "free_bytes": site.spool.free_bytes(),
        "destinations": [asdict(one) for one in found.destinations(names)],
        "failed": [asdict(one) for one in found.failed(SHOWN)],
        "stuck": [asdict(one) for one in found.stuck(SHOWN)],
    }


@router.post("/requeue", rule=Role.PHYSICIST, response_model=DoneOut)
def requeue_series(site: Here, visitor: Visitor, wanted: RequeueIn) -> DoneOut:
    """Let series be scored again."""
    with site.store.together():
        count = requeue(site, list(wanted.series), failed=wanted.failed)
        site.audit(visitor, act="requeue series", series=list(wanted.series), count=count)
    return DoneOut(count=count)


@router.post("/redeliver", rule=Role.PHYSICIST, response_model=DoneOut)
def redeliver(site: Here, visitor: Visitor, wanted: RedeliverIn) -> DoneOut:
    """Try given-up deliveries again."""
    with site.store.together():
        count = Outbox(site.store).requeue_dead(wanted.series or None)
        site.audit(visitor, act="requeue deliveries", series_instance_uid=wanted.series or None, count=count)
    return DoneOut(count=count)


@router.post("/archives/{name}/echo", rule=Role.PHYSICIST, response_model=EchoOut)
def echo_archive(site: Here, visitor: Visitor, name: Name) -> EchoOut:
    """Ask an archive whether it is there."""
    trouble = echo(site, name)
    site.audit(visitor, act="echo", archive=name, answered=not trouble)
    return EchoOut(answered=not trouble, error=trouble or None)


@router.get("/models", rule=Role.PHYSICIST)
def models(site: Here) -> dict[str, Any]:
    """Champion, challenger and every trained model."""
    service = stewardship.service(site.settings)
    return {
        "champion": asdict(service.champion),
        "challenger": asdict(service.challenger) if service.challenger else None,
        "shadow_scored": service.shadow_scored,
        "shadow_failed": service.shadow_failed,
        "trained": [asdict(one) for one in trained(site.settings.house_dir)],
    }


@contextmanager
def _refusals() -> Iterator[None]:
    """What speaks against an act on models becomes a Problem 409."""
    try:
        yield
    except StoreError:
        raise
    except (ValueError, RuntimeError) as error:
        raise Problem(409, str(error)) from None


@router.post("/models/promote", rule=Role.PHYSICIST, response_model=DoneOut)
def promote(site: Here, visitor: Visitor, wanted: PromoteIn) -> DoneOut:
    """Make a model champion; 409 with what speaks against it."""
    with _refusals():
        stewardship.promote(
            site.settings, wanted.name, actor=visitor.name, reason=wanted.reason.strip(), force=wanted.force
        )
    return DoneOut(count=1)


@router.post("/models/rollback", rule=Role.PHYSICIST, response_model=DoneOut)
def rollback(site: Here, visitor: Visitor, wanted: ReasonIn) -> DoneOut:
    """Make the former champion champion again; 409 when there is none."""
    with _refusals():
        stewardship.rollback(site.settings, actor=visitor.name, reason=wanted.reason.strip())
    return DoneOut(count=1)


@router.post("/preview", rule=Role.PHYSICIST, response_model=PreviewOut)
def preview(site: Here, wanted: PreviewIn) -> PreviewOut:
    """What another decision table would have made of the last days. Changes nothing."""
    try:
        policy = Policy(rules=tuple(PolicyRule(**rule.model_dump()) for rule in wanted.rules))
    except PolicyError as error:
        raise Problem(422, _("The table cannot be used: %(said)s.", said=error)) from None
    found = previewed(site, policy, wanted.days)
    return PreviewOut(
        series=found.series,
        alerts_before=found.alerts(0),
        alerts_after=found.alerts(1),
        changed=found.changed,
        pairs={f"{before} to {after}": count for (before, after), count in found.pairs.items()},
        changes=tuple(
            ChangeOut(**{name: getattr(one, name) for name in ChangeOut.model_fields})
            for one in found.changes
        ),
    )
