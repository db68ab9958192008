"""What an administrator asks of the gate's books, files and copies. Knows the settings."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from qagate import backup, parts
from qagate.config import Settings
from qagate.dicom.spool import Spool
from qagate.fsck import Finding
from qagate.series import Series
from qagate.store.audit import Head, Trail
from qagate.store.baselines import Baselines
from qagate.store.calibrations import Calibrations
from qagate.store.engine import Store, open_store
from qagate.store.holds import Holds
from qagate.store.ledger import Ledger
from qagate.store.migrate import check_revision, current_revision, head_revision
from qagate.store.queue import Queue
from qagate.store.reconciliations import Reconciliation, Reconciliations
from qagate.store.roles import Roles
from qagate.store.views import Result, Views

if TYPE_CHECKING:  # torch and scipy, which most commands do without
    from qagate.examine import Examination
    from qagate.gate.scoring import Scorer

_LISTENS_S = 1.0


def _opened(settings: Settings) -> Store:
    check_revision(settings.store_url)
    return open_store(settings.store_url)


def fsck(settings: Settings, *, days: float, archives: bool, deep: bool) -> Iterator[Finding]:
    """What does not fit, as it is found; archives are asked about the deliveries of the last `days`."""
    with _opened(settings) as store:
        yield from parts.fsck(settings, store, days=days, archives=archives, deep=deep).run()


def note(settings: Settings, actor: str, act: str, **details: object) -> None:
    """Keep an act of this command in the audit trail."""
    with _opened(settings) as store:
        Trail(store).add(actor=actor, act=act, details=details)


def reconciled(settings: Settings, day: date | None) -> tuple[Reconciliation, ...]:
    """A day as it stands now; without one the last days as they were counted."""
    with _opened(settings) as store:
        if day is None:
            return Reconciliations(store).kept()
        return (parts.reconciler(settings, store, Spool(settings.spool_dir)).count(day),)


def verify_audit(settings: Settings, known: str | None) -> Head:
    """Read the whole audit trail. Raises BrokenTrail."""
    with _opened(settings) as store:
        return Trail(store).verify(known)


def release(
    settings: Settings, uids: Sequence[str], *, everything: bool, actor: str, reason: str
) -> tuple[str, ...]:
    """Release held series, named by their UIDs or ends of them; return those that were held."""
    with _opened(settings) as store:
        views, holds = Views(store), Holds(store)
        named = [views.resolved(uid) for uid in uids]
        named += [one.series_instance_uid for one in holds.all()] if everything else []
        return holds.release_each(named, actor=actor, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One stored series as another model sees it."""

    series_instance_uid: str
    path: Path  #: of its images
    former: Result | None  #: what was decided; None: nothing yet
    examination: Examination | None  #: None: `problem` says why
    problem: str = ""
    requeued: bool = False


def replay(
    settings: Settings,
    uids: Sequence[str],
    *,
    model: str | None,
    device: str | None,
    limit: int,
    send: bool,
    actor: str,
) -> Iterator[Replayed]:
    """Score stored series again, the newest `limit` unless some are named. Nothing of it is kept.

    send: the series are also scored anew by the workers, as their next revision, whose report is sent. Only
    the champion's verdicts leave the gate: the model must be it. Raises ValueError, StoreError.
    """
    with _opened(settings) as store:
        champion = Roles(store).standing().champion
        scorer = parts.scorer(settings, model=model or champion.name, device=device)
        if (
            send
            and (champion.weights_sha256 or _served(settings, champion.name, scorer)) != scorer.weights_sha256
        ):
            raise ValueError(
                f"{scorer.model_name} is not the champion, whose reports alone are sent: "
                f"`qagate models promote {scorer.model_name}` first, or leave out --send"
            )
        views, ledger = Views(store), Ledger(store)
        named = [views.resolved(uid) for uid in uids] or list(ledger.judged(limit))
        for uid in named:
            found = _replayed(settings, store, uid, scorer)
            if send and found.examination is not None:
                Trail(store).add(actor=actor, act="replay", series_instance_uid=uid)
                yield replace(found, requeued=Queue(store).requeue([uid]) == 1)
            else:
                yield found


def _served(settings: Settings, name: str | None, scorer: Scorer) -> str:
    """The weights of a champion that the settings name and no act recorded."""
    if (name or settings.worker.model) == scorer.model_name:
        return scorer.weights_sha256
    return parts.scorer(settings, model=name).weights_sha256


def _replayed(settings: Settings, store: Store, uid: str, scorer: Scorer) -> Replayed:
    from qagate.examine import examine, prepare
    from qagate.gate.baseline import usable
    from qagate.gate.calibration import loads
    from qagate.watch import key_of

    series = Ledger(store).series(uid)
    assert series is not None
    spool, history = Spool(settings.spool_dir), Views(store).history(uid)
    former = history.results[-1] if history and history.results else None
    problem = _problem(series, spool)
    examination = None
    if not problem:
        prepared = prepare([spool.absolute(one.path) for one in series.instances])
        key = key_of(series, prepared.prompt, scorer.weights_sha256)
        readers = Calibrations(store).of(scorer.weights_sha256)
        (examination,) = examine(
            [prepared],
            [series.header],
            scorer,
            parts.policy(settings),
            baselines=[usable(Baselines(store).states([key])[key], parts.baseline_rules(settings))],
            readers=None if readers is None else loads(readers),
        )
    return Replayed(
        series_instance_uid=uid,
        path=spool.folder(uid),
        former=former,
        examination=examination,
        problem=problem,
    )


def _problem(series: Series, spool: Spool) -> str:
    if series.purged or not series.instances:
        return "its images were purged"
    gone = sum(not spool.absolute(one.path).is_file() for one in series.instances)
    return f"{gone} of its {len(series.instances)} images are missing in the spool" if gone else ""


def back_up(
    settings: Settings, target: Path, *, spool: bool, reports: bool, actor: str
) -> tuple[backup.Manifest, int]:
    """Make a backup while the gate runs, read back before it gets its name; also tell how many files."""
    wanted = {"models": True, "reports": reports, "spool": spool}
    note(settings, actor, "back up", spool=spool, reports=reports)
    return backup.make(
        target,
        store_url=settings.store_url,
        data_dir=settings.data_dir,
        folders=tuple(name for name, is_wanted in wanted.items() if is_wanted),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A backup that was brought back."""

    manifest: backup.Manifest
    former: Path | None  #: the database that was there, put aside
    findings: tuple[Finding, ...]  #: of fsck, without asking archives
    older: bool  #: its schema is older than this qagate's; nothing was looked at


def restore(settings: Settings, source: Path, *, force: bool, actor: str) -> Restored:
    """Bring a backup back to a gate that stands still, and look what came of it."""
    _must_stand_still(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    manifest, former = backup.restore(
        source, store_url=settings.store_url, data_dir=settings.data_dir, force=force
    )
    if current_revision(settings.store_url) != head_revision():
        return Restored(manifest=manifest, former=former, findings=(), older=True)
    note(settings, actor, "restore", made_at=manifest.made_at)
    findings = tuple(fsck(settings, days=0, archives=False, deep=False))
    return Restored(manifest=manifest, former=former, findings=findings, older=False)


def _must_stand_still(settings: Settings) -> None:
    of = settings.receiver
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(of.host, of.host)
    try:
        socket.create_connection((host, of.port), _LISTENS_S).close()
    except OSError:
        return
    raise backup.BackupError(f"a gate listens at {host}:{of.port}: stop it, then restore")
