"""Is a series complete? No DICOM message says so; evidence does. Pure functions of evidence and time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRules:
    """How long a series must be quiet, in seconds."""

    short_quiet_s: float = 2.0  #: with evidence of completeness
    long_quiet_s: float = 10.0  #: without
    hard_limit_s: float = 3600.0  #: since the first instance of the revision, whatever the evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a series that is being received."""

    instance_count: int
    expected_instances: int | None = None  #: what the header announces
    learned_instances: int | None = None  #: what this station and protocol always sent lately
    first_received_at: datetime  #: of this revision
    last_received_at: datetime
    released_at: datetime | None = None  #: when the last association that fed it ended; None: one is open


def completed_because(evidence: Evidence, rules: CompletionRules, now: datetime) -> str | None:
    """Return why the series counts as complete, None while it does not.

    A count that is matched exactly, or an ended association, needs the short quiet time. A series that
    has more instances than announced had a wrong announcement, which then counts for nothing; one that
    has fewer is not complete because this protocol usually has so few. A clock set back only lengthens
    the wait.
    """
    quiet_s = (now - evidence.last_received_at).total_seconds()
    if evidence.released_at is not None:
        quiet_s = min(quiet_s, (now - evidence.released_at).total_seconds())
    if quiet_s >= rules.short_quiet_s:
        if evidence.instance_count == evidence.expected_instances:
            return "the announced number of instances is there"
        announced = evidence.expected_instances
        trusted = announced is not None and announced > evidence.instance_count
        if evidence.instance_count == evidence.learned_instances and not trusted:
            return "the number of instances this protocol always has is there"
        if evidence.released_at is not None:
            return "the association ended"
    if quiet_s >= rules.long_quiet_s:
        return "quiet"
    if (now - evidence.first_received_at).total_seconds() >= rules.hard_limit_s:
        return "time limit"
    return None
