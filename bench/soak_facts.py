"""Gathers what scanners, gate, archive and alert receiver noted, after the day."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from latency import spread
from soak_checks import Facts, Revision
from soak_plan import WARM_UP
from soak_scanners import Ledger

from qagate.dicom.spool import Spool
from qagate.store.engine import Store
from qagate.store.schema import instance, outbox, result, series

_UNDER_WAY = ("RECEIVING", "COMPLETE", "SCORING", "DECIDED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Facts for the checks, and figures."""

    facts: Facts
    latencies: list[tuple[float, float]]  #: last new slice (seconds since the epoch), seconds to its alert
    latency: dict[str, float]
    verdicts: dict[str, int]
    sent_again: dict[str, int]  #: objects that the archive got more than once, by what they are
    error_lines: list[str]  #: of the gate's log


def settled(store: Store) -> bool:
    """Tell whether nothing is left to score or to send."""
    with store.read() as connection:
        under_way = connection.scalar(
            sa.select(sa.func.count()).select_from(series).where(series.c.state.in_(_UNDER_WAY))
        )
        unsent = connection.scalar(
            sa.select(sa.func.count()).select_from(outbox).where(outbox.c.state.in_(("PENDING", "SENDING")))
        )
    return not under_way and not unsent


def gather(
    store: Store, spool: Path, noted: Path, log: Path, alerts: Sequence[tuple[str, float]], ledger: Ledger,
    fsck: str,
) -> Gathered:  # fmt: skip
    """Read everything. The gate may still run, but has nothing to do."""
    archived, documents = _archived(noted)
    alerted = [(_revision(text), at) for text, at in alerts]
    decided, errors, error_lines = _logged(log)
    with store.read() as connection:
        instances = connection.execute(sa.select(instance)).all()
        states = connection.execute(sa.select(series.c.state, sa.func.count()).group_by(series.c.state)).all()
        current = connection.execute(sa.select(series.c.series_instance_uid, series.c.revision)).all()
        of_series = (series.c.series_instance_uid, result.c.revision, result.c.verdict)
        results = connection.execute(
            sa.select(*of_series).join(series, series.c.id == result.c.series_id)
        ).all()
        sent = connection.execute(
            sa.select(series.c.series_instance_uid, outbox.c.revision, outbox.c.kind, outbox.c.state).join(
                series, series.c.id == outbox.c.series_id
            )
        ).all()
    paths = set(Spool(spool).paths())
    facts = Facts(
        acknowledged={uid for one in ledger.series.values() for uid in one.acknowledged},
        recorded={row.sop_instance_uid: row.sha256 for row in instances},
        spooled=len(paths & {row.path for row in instances}),
        states={row[0]: row[1] for row in states},
        current={(row[0], row[1]) for row in current},
        decided=decided,
        results={(row[0], row[1]): row[2] for row in results},
        key_objects={(row[0], row[1]) for row in sent if row[2] == "KOS"},
        unsent=dict(Counter(row[2] for row in sent if row[3] != "SENT")),
        archived=archived,
        documents=documents,
        alerted=[one for one, _ in alerted],
        given_up=ledger.given_up,
        cut_off=ledger.cut_off,
        errors=errors,
        fsck=fsck,
    )
    latencies = _latencies(ledger, alerted)
    named = {uid: kind for (kind, _, _), uids in documents.items() for uid in uids}
    again = Counter(named.get(uid, "images") for uid, all_ in archived.items() if len(all_) > 1)
    return Gathered(
        facts=facts,
        latencies=latencies,
        latency=spread([value for _, value in latencies]),
        verdicts=dict(Counter(facts.results.values())),
        sent_again=dict(again),
        error_lines=error_lines,
    )


def _revision(text: str) -> Revision:
    uid, _, revision = text.partition(" ")
    return uid, int(revision)


def _archived(noted: Path) -> tuple[dict[str, list[str]], dict[tuple[str, str, int], set[str]]]:
    archived: defaultdict[str, list[str]] = defaultdict(list)
    documents: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)
    for line in noted.read_text().splitlines():
        uid, digest, *about = line.split(" ")
        archived[uid].append(digest)
        if about:
            modality, series_uid, revision = about
            documents[modality, series_uid, int(revision)].add(uid)
    return archived, documents


def _logged(log: Path) -> tuple[list[Revision], Counter[str], list[str]]:
    """Decisions, error lines by event, and the lines."""
    decided, errors, examples = [], Counter[str](), []
    for line in log.read_text().splitlines():
        if not line.startswith("{"):
            continue
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            errors["broken line"] += 1
            continue
        if event["event"] == "decided":
            decided.append((event["series_instance_uid"], event["revision"]))
        if event["level"] == "error":
            errors[event["event"]] += 1
            examples.append(line)
    return decided, errors, examples


def _latencies(ledger: Ledger, alerted: Sequence[tuple[Revision, float]]) -> list[tuple[float, float]]:
    """Of each alert, from the last new slice that was acknowledged before it."""
    found = []
    for (uid, _), at in alerted:
        sent = ledger.series[uid]
        ended = [one for one in sent.ended if one <= at]
        if ended and sent.planned.number < WARM_UP:
            found.append((ended[-1], at - ended[-1]))
    return sorted(found)
