"""The settings that look after what the gate has: hold, retention, reconciliation, the audit's export."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qagate.config_section import Section


class HoldSettings(Section):
    """How long REVIEW and REPEAT series wait in `hold` mode."""

    limit_s: float = Field(
        1800, ge=0, description="a held series is released by itself after this time; 0: by a person only"
    )
    on_failure: Literal["forward", "hold"] = Field(
        "forward", description="a series that could not be scored: forward sends it on, hold holds it"
    )


class RetentionSettings(Section):
    """When spooled images go; never what is undelivered, held, conflicting or labelled and unexported."""

    keep_days: float = Field(
        0, ge=0, description="days after its last image that a delivered series' images stay; 0: for ever"
    )
    free_mb: int = Field(
        0,
        ge=0,
        description="below this free space the oldest delivered series' images go; 0: they stay; else above "
        "receiver.min_free_mb",
    )
    least_hours: float = Field(24, ge=0, description="images stay this long even when space is short")
    reports: bool = Field(False, description="delete the files of the reports as well")
    every_s: Annotated[float, Field(gt=0)] = Field(600, description="how often the spool is looked at")


class ReconcileSettings(Section):
    """The daily look whether received = decided = delivered; a difference goes to alerts.physicist_urls."""

    enabled: bool = Field(True, description="look every day")
    grace_hours: float = Field(
        6, ge=0, le=23, description="hours after midnight (UTC) before the day that ended is looked at"
    )


class AuditSettings(Section):
    """Export of the audit trail as DICOM audit messages (PS3.15 A.5) to a syslog server (RFC 5424)."""

    syslog: str = Field(
        "",
        pattern=r"^(\S+:\d+)?$",
        description="HOST:PORT of the server, such as logs.example.org:6514; empty: no export",
    )
    transport: Literal["udp", "tcp", "tls"] = Field(
        "tls",
        description="udp (RFC 5426), tcp (RFC 6587) or tls (RFC 5425), which trusts the system's authorities",
    )
