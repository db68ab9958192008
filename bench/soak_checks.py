"""What a soak must show, as pure functions of what scanners, gate, archive and alert receiver noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
GROWTH_MB = 1.0  #: most that memory may grow in an hour of the simulated day, all roles together
LEAST_MINUTES = 10.0  #: a shorter run says nothing about memory: the roles are still warming up
SPARE_HANDLES = 8  #: pools and log files that open with use
_BLOCKS = 15
Revision = tuple[str, int]  #: Series Instance UID, revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One demand and how it came out."""

    name: str
    passed: bool | None  #: None: not to be judged in this run
    told: str


@dataclass(slots=True, kw_only=True)
class Facts:
    """What all parties noted."""

    acknowledged: set[str]  #: SOP Instance UIDs that a scanner was answered 0x0000 for
    recorded: dict[str, str]  #: SOP Instance UID -> SHA-256, in the database
    spooled: int  #: files in the spool that fit a row of the database
    states: dict[str, int]  #: series by state
    current: set[Revision]  #: the last revision of every series
    decided: list[Revision]  #: as logged
    results: dict[Revision, str]  #: verdict
    key_objects: set[Revision]  #: for which the outbox had a KOS
    unsent: dict[str, int]  #: deliveries that are not sent, by kind
    archived: dict[str, list[str]]  #: SOP Instance UID -> SHA-256 of each time it came
    documents: dict[tuple[str, str, int], set[str]]  #: modality, series, revision -> SOP Instance UIDs
    alerted: list[Revision]
    given_up: list[str]
    cut_off: dict[str, float]
    errors: Counter[str] = field(default_factory=Counter)  #: error lines of the gate's log, by event
    fsck: str = ""  #: "" when nothing was found


def books(of: Facts) -> Iterator[Check]:
    """Accepted = decided = delivered = told."""
    lost = of.acknowledged - of.recorded.keys()
    unseen = len(of.recorded.keys() - of.acknowledged)
    yield _check(
        "accepted: every acknowledged instance is in database and spool",
        not lost and not of.given_up and of.spooled == len(of.recorded),
        f"{len(of.acknowledged)} acknowledged, {len(lost)} lost, {of.spooled} of {len(of.recorded)} spooled, "
        f"{unseen} stored whose answer an abort cut off",
    )
    undecided = of.current - of.results.keys()
    twice = _twice(of.decided)
    yield _check(
        "decided: every series' last revision, each revision once",
        not undecided and not twice and set(of.decided) == of.results.keys(),
        f"{len(of.results)} revisions of {len(of.current)} series, {len(undecided)} missing, "
        f"{len(twice)} twice",
    )
    missing = {uid for uid, digest in of.recorded.items() if digest not in of.archived.get(uid, ())}
    changed = {uid for uid, all_ in of.archived.items() if len(set(all_)) > 1}
    yield _check(
        "delivered: every image is in the archive, byte for byte",
        not missing and not changed and not of.unsent,
        f"{len(of.recorded) - len(missing)} of {len(of.recorded)}, {len(changed)} changed, "
        f"{sum(of.unsent.values())} deliveries not sent",
    )
    for modality, name, wanted in (("SR", "SR", of.results.keys()), ("KO", "KOS", of.key_objects)):
        found = {
            (uid, revision): uids for (kind, uid, revision), uids in of.documents.items() if kind == modality
        }
        double = [one for one, uids in found.items() if len(uids) > 1]
        yield _check(
            f"one {name} a revision in the archive",
            found.keys() == set(wanted) and not double,
            f"{len(found)} of {len(wanted)}, {len(double)} duplicated",
        )
    silent, doubled = of.results.keys() - set(of.alerted), _twice(of.alerted)
    yield _check(
        "alerts exactly once",
        not silent and not doubled and set(of.alerted) <= of.results.keys(),
        f"{len(set(of.alerted))} of {len(of.results)}, {len(silent)} missing, {len(doubled)} twice",
    )
    open_states = {state: count for state, count in of.states.items() if state != "DELIVERED"}
    yield _check("every series DELIVERED", not open_states, f"others: {open_states or 'none'}")
    yield _check("`qagate fsck --deep --no-archives` finds nothing", not of.fsck, of.fsck or "nothing")
    yield _check(
        "no error in the log", not of.errors, "; ".join(f"{v} × {k}" for k, v in of.errors.items()) or "none"
    )
    hung = ", ".join(f"{name}: {seconds:.0f} s" for name, seconds in sorted(of.cut_off.items()))
    yield _check("peers that hang are cut off", len(of.cut_off) == 2, hung or "none was")


def _check(name: str, passed: bool, told: str) -> Check:
    return Check(name=name, passed=passed, told=told)


def _twice(of: Iterable[Revision]) -> list[Revision]:
    return [one for one, count in Counter(of).items() if count > 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A straight line through block means of the second half."""

    per_hour: float  #: MB in an hour of the simulated day
    low: float
    high: float  #: ends of the confidence interval


def growth(times_s: Sequence[float], values: Sequence[float], hour_s: float) -> Growth:
    """Fit values of the run's second half; neighbours are averaged first, as they are not independent."""
    half = (times_s[0] + times_s[-1]) / 2
    picked = [(at / hour_s, value) for at, value in zip(times_s, values, strict=True) if at >= half]
    count = min(_BLOCKS, len(picked))
    blocks = [np.mean(block, axis=0) for block in np.array_split(np.array(picked), count)]
    hours, means = np.array(blocks).T
    fit = stats.linregress(hours, means)
    error = fit.stderr if np.ptp(means) else 0.0
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 2) * error)
    return Growth(per_hour=float(fit.slope), low=float(fit.slope - margin), high=float(fit.slope + margin))


def flatness(
    times_s: Sequence[float],
    memory: Mapping[str, Sequence[float]],
    first: tuple[Mapping[str, int], Mapping[str, int]],
    last: tuple[Mapping[str, int], Mapping[str, int]],
    *,
    hour_s: float,
    minutes: float,
) -> Iterator[Check]:
    """Memory by role with its sum, and handles and threads before the first and after the last series."""
    total = [sum(values) for values in zip(*memory.values(), strict=True)]
    judged = minutes >= LEAST_MINUTES
    for name, values in {"all roles": total, **memory}.items():
        found = growth(times_s, values, hour_s)
        told = (
            f"{found.per_hour:+.2f} MB an hour of the day "
            f"({CONFIDENCE:.0%}: {found.low:+.2f} to {found.high:+.2f}); "
            f"{values[0]:.0f} MB at first, {max(values):.0f} at most, {values[-1]:.0f} at last"
        )
        passed = found.high <= GROWTH_MB if judged else None
        yield Check(name=f"memory flat, {name}: at most {GROWTH_MB:g} MB an hour", passed=passed, told=told)
    for what, before, after in zip(("file handles", "threads"), first, last, strict=True):
        more = {role: after.get(role, 0) - count for role, count in before.items()}
        yield _check(
            f"{what} flat: at most {SPARE_HANDLES} more when all is done",
            all(count <= SPARE_HANDLES for count in more.values()),
            ", ".join(f"{role} {before[role]} → {after.get(role, 0)}" for role in before),
        )


def unchanged(pids: Sequence[Mapping[str, int]]) -> Check:
    """No process was restarted."""
    seen = {role: {one.get(role) for one in pids} for role in pids[0]}
    restarted = [role for role, ids in seen.items() if len(ids) > 1]
    return _check("no process restarted", not restarted, ", ".join(restarted) or f"{len(seen)} processes")
