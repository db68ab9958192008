"""The settings of the gate itself: when a series is complete, how it is scored, what is sent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from qagate.config_section import Quality, Seconds, Section


class AssemblySettings(Section):
    """When is a series complete?"""

    short_quiet_s: Seconds = Field(
        2.0, description="quiet time after the association was released or the expected count was reached"
    )
    long_quiet_s: Seconds = Field(10.0, description="quiet time without such evidence")
    hard_limit_s: Seconds = Field(3600.0, description="a series is closed this long after its first instance")
    poll_s: Seconds = Field(0.1, description="how often open series are looked at")

    @model_validator(mode="after")
    def _ordered(self) -> AssemblySettings:
        if self.short_quiet_s > self.long_quiet_s:
            raise ValueError(
                f"short_quiet_s ({self.short_quiet_s:g}) is longer than long_quiet_s ({self.long_quiet_s:g})"
            )
        return self


class WorkerSettings(Section):
    """The worker that scores series."""

    model: str = Field("default", description="a name that `qagate models` lists")
    device: str = Field("auto", description="auto, cpu or cuda")
    threads: int = Field(0, ge=0, description="CPU threads for the models; 0: one a core")
    batch_series: int = Field(
        4, ge=1, description="series claimed and scored together when the queue is long"
    )
    max_batch: int = Field(32, ge=1, description="slices in one forward pass")
    lease_s: Seconds = Field(60.0, description="a worker that is silent for this long loses its series")
    timeout_s: Seconds = Field(
        900.0,
        description="a worker that is busy with the same series for this long is ended and started anew",
    )
    max_attempts: int = Field(3, ge=1, description="claims of one revision before it is FAILED")
    poll_s: Seconds = Field(0.05, description="how often an idle worker looks for work")


class DeliverySettings(Section):
    """Retries of deliveries and alerts."""

    first_retry_s: Seconds = Field(5.0, description="wait after the first failed try; doubles each time")
    max_retry_s: Seconds = Field(900.0, description="longest wait between tries")
    max_attempts: int = Field(50, ge=1, description="tries before a delivery becomes a dead letter")
    lease_s: Seconds = Field(300.0, description="a delivery that is silent for this long is tried again")
    poll_s: Seconds = Field(0.05, description="how often the outbox is looked at")


class AlertSettings(Section):
    """Alerts to the radiographer."""

    urls: tuple[SecretStr, ...] = Field(
        (SecretStr("console://"),),
        description="Apprise URLs (mailto://, json://, ...); console:// writes to standard error",
    )
    verdicts: tuple[Literal["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"], ...] = Field(
        ("REVIEW", "REPEAT"), description="verdicts that raise an alert"
    )
    descriptions: bool = Field(
        False, description="name series description and protocol, free text that may hold patient data"
    )
    physicist_urls: tuple[SecretStr, ...] = Field(
        (),
        description="Apprise URLs for alarms about the gate itself, such as a drift; empty: those of `urls`",
    )
    title: str | None = Field(None, description="template of the title, such as `{headline}: {subject}`")
    body: str | None = Field(None, description="template of the text, such as `{sentence} {reasons}`")


class BaselineSettings(Section):
    """How series of one station, protocol, region and type usually score under one model."""

    warm_up: int = Field(30, ge=2, description="series, REPEAT left out, before decisions use a baseline")
    window: int = Field(200, ge=2, description="newest series, REPEAT left out, it is computed from")
    recent: int = Field(20, ge=2, description="newest series whose median is looked at for a drift")
    drift_mads: float = Field(
        2.0, gt=0, description="MADs between that median and the level the baseline was built on: a drift"
    )
    drift_series: int = Field(
        20, ge=1, description="series that must speak for a drift (less those against it) before the alarm"
    )
    least_mad: float = Field(0.03, gt=0, le=1, description="a smaller MAD counts as this much quality")

    @model_validator(mode="after")
    def _ordered(self) -> BaselineSettings:
        if not self.recent <= self.warm_up <= self.window:
            raise ValueError(
                f"recent ({self.recent}), warm_up ({self.warm_up}) and window ({self.window}) must not fall"
            )
        return self


class PromotionSettings(Section):
    """What a challenger must not do to become champion; `--force` with a reason overrules it."""

    margin: float = Field(
        0.05, ge=0, description="how much worse mean absolute error or SROCC may become in any group"
    )
    min_cases: int = Field(20, ge=2, description="series both must have scored, and a group have, to count")
    max_changed: Quality = Field(
        0.2,
        description="share of decisions that may change in a group whose ratings are fewer than min_cases",
    )


class PolicyRuleSettings(Section):
    """One row of the decision table; the first row that matches decides."""

    name: str = Field(min_length=1, description="name shown with the decision")
    modality: str | None = Field(None, description="CT or MR; unset: any")
    region: str | None = Field(None, description="body region of the prompt; `*` wildcards allowed")
    type: str | None = Field(None, description="MR contrast or CT kernel class of the prompt")
    station: str | None = Field(None, description="StationName; `*` wildcards allowed")
    protocol: str | None = Field(None, description="ProtocolName; `*` wildcards allowed")
    review_below: Quality = Field(description="quality below which a person should look")
    repeat_below: Quality = Field(description="quality below which a repeat is suggested")
    review_above: dict[str, float] = Field(
        {}, description="measures above which a person should look, such as `{noise_hu = 20}`"
    )
    review_under: dict[str, float] = Field({}, description="measures below which a person should look")
    review_below_baseline: float | None = Field(
        None,
        gt=0,
        description="MADs below the warm baseline, in place of review_below; unset: always absolute",
    )
    repeat_below_baseline: float | None = Field(
        None, gt=0, description="the same in place of repeat_below; set both or neither"
    )
