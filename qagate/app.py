"""The composition root: parts become roles and answers. Starts, drains and stops them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydicom import dcmread

from qagate import parts, parts_access, parts_commitment, pulse, services, supervisor, telemetry
from qagate.committing import keeper
from qagate.config import Settings
from qagate.dicom import scu
from qagate.dicom.commitment_scp import CommitmentSCP
from qagate.dicom.report import sr_text
from qagate.dicom.scp import StorageSCP
from qagate.dicom.spool import Spool
from qagate.durable import make_folder
from qagate.files import find, group
from qagate.notify import Notifier
from qagate.reason import Reason
from qagate.receiver import Indexer
from qagate.store.asked import Asked
from qagate.store.audit import Trail
from qagate.store.commitments import Commitments
from qagate.store.engine import Store, open_store
from qagate.store.errors import StoreError
from qagate.store.migrate import check_revision, current_revision
from qagate.store.migrate import migrate as migrate_store
from qagate.store.outbox import Outbox
from qagate.store.queue import Queue
from qagate.store.refusals import Refusals
from qagate.store.views import Overview, SeriesHistory, Views

if TYPE_CHECKING:
    from qagate.examine import Examination

log = structlog.get_logger(__name__)

_ABORT_S = 15.0  #: for what is aborted when the drain is over, and for recording what was received


def _configure(settings: Settings, role: str) -> None:
    telemetry.configure(level=settings.log_level, format=settings.log_format, role=role)


def _ready_store(settings: Settings) -> None:
    """Make a new database ready; an old one needs a backup and `qagate migrate` first.

    None is made beside images: a database that is gone for the moment would be forgotten, and everything
    decided and sent again.
    """
    make_folder(settings.data_dir)
    if current_revision(settings.store_url) is None:
        if any(Spool(settings.spool_dir).paths()):
            raise StoreError(
                "the database is gone or empty, and the spool holds images: bring it back (`qagate restore`) "
                "or run `qagate migrate` to begin a new one, which scores and sends them all again"
            )
        migrate_store(settings.store_url)
    check_revision(settings.store_url)


def begin(settings: Settings, role: str) -> None:
    """What every role does first: logs, and a database that is ready. Raises StoreError."""
    _configure(settings, role)
    _ready_store(settings)


def open_ready_store(settings: Settings) -> Store:
    """Open the settings' store, made first where there is none. Raises StoreError."""
    _ready_store(settings)
    return open_store(settings.store_url)


def open_configured_store(settings: Settings) -> Store:
    """Open the settings' store, for commands that neither make nor upgrade one. Raises StoreError."""
    check_revision(settings.store_url)
    return open_store(settings.store_url)


def receive(settings: Settings, stop: threading.Event) -> None:
    """The receiver role."""
    begin(settings, "receiver")
    spool = Spool(settings.spool_dir)
    with spool.reserved(), open_store(settings.store_url) as store:
        spool.recover()
        queue, refusals = Queue(store), Refusals(store)
        indexer = Indexer(queue)
        of, access = settings.receiver, parts_access.access(settings)
        commitment = CommitmentSCP(
            access=access,
            on_request=keeper(Commitments(store), indexer),
            on_report=parts_commitment.settle(settings, Asked(store)),
        )
        scp = StorageSCP(
            ae_title=of.ae_title,
            host=of.host,
            port=of.port,
            spool=spool,
            access=access,
            commitment=commitment,
            on_received=indexer.received,
            on_conflict=indexer.received,
            on_released=indexer.released,
            on_refused=lambda refusal: indexer.call(lambda: refusals.record(refusal)),
            max_associations=of.max_associations,
            max_connections=of.max_connections,
            tls=parts.receiver_tls(settings),
            max_pdu_bytes=of.max_pdu_bytes,
            acse_timeout_s=of.acse_timeout_s,
            dimse_timeout_s=of.dimse_timeout_s,
            network_timeout_s=of.network_timeout_s,
            min_free_bytes=of.min_free_mb << 20,
        )
        reporter = parts_commitment.reporter(settings, store, spool, commitment)
        _recover(spool, queue)
        indexer.start()
        scp.start()
        try:
            pulse.start(stop, lambda: scp.listening and indexer.alive)
            reporter.run(stop)
        finally:
            scp.stop(settings.drain_s)
            indexer.stop()
            log.info("receiver_stopped")


def _recover(spool: Spool, queue: Queue) -> None:
    """Record what the spool holds and the database does not know: the last process died in between."""
    known = queue.known_paths()
    found = [*spool.walk(known), *spool.walk(known, conflicts=True)]
    if found:
        queue.record(found)
        log.info("recovered", instances=len(found))


def work(settings: Settings, stop: threading.Event) -> None:
    """The worker role."""
    begin(settings, "worker")
    with open_store(settings.store_url) as store:
        serving = parts.serving(settings, store)
        worker = parts.worker(settings, store, serving)
        log.info("worker_ready", model=serving.champion.scorer.model_name)
        pulse.start(stop)
        worker.run(stop)


def run_services(settings: Settings, stop: threading.Event) -> None:
    """The services role: periodic jobs and deliveries."""
    begin(settings, "services")
    services.run(settings, stop)


ROLES: Mapping[str, Callable[[Settings, threading.Event], None]] = {
    "receiver": receive,
    "worker": work,
    "services": run_services,
}


def serve(
    settings: Settings, stop: threading.Event, *, options: Sequence[str], at_once: threading.Event
) -> bool:
    """Run every role as a process of its own until `stop`; the pages are the command line's role `web`.

    False when some did not end within the drain's limit, or were killed because `at_once` was set.
    """
    notifier = Notifier()
    begin(settings, "supervisor")
    if os.geteuid() == 0:
        log.warning("runs_as_root", mend=Reason(supervisor.AS_ROOT))
    names = (*ROLES, *(("web",) if settings.web.enabled else ()))
    return supervisor.supervise(
        [supervisor.Role(name, supervisor.role_command(name, options)) for name in names],
        stop,
        drain_s=settings.drain_s + _ABORT_S,
        at_once=at_once,
        notifier=notifier,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSeries:
    """What `qagate score` prints of one series."""

    series_instance_uid: str
    path: Path
    examination: Examination


def score(
    settings: Settings, paths: Sequence[Path], *, model: str | None, device: str | None
) -> tuple[list[ScoredSeries], list[str]]:
    """Score the series found under `paths`; also one sentence for each file that is no DICOM image."""
    from qagate.examine import examine, prepare

    found, problems = group(paths)
    scorer, policy = parts.scorer(settings, model=model, device=device), parts.policy(settings)
    scored = []
    for series in found:
        (examination,) = examine([prepare(series.paths)], [series.header], scorer, policy)
        scored.append(
            ScoredSeries(
                series_instance_uid=series.series_instance_uid, path=series.place, examination=examination
            )
        )
    return scored, problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A send under way."""

    total: int
    results: Iterator[scu.StoreResult]


def send(paths: Sequence[Path], *, address: str, called: str, calling: str) -> Sending:
    """Send files and folders to an AE at HOST:PORT."""
    files = list(find(paths))
    archive = _archive_at(address, name="receiver", called=called, calling=calling)
    return Sending(total=len(files), results=scu.store(archive, files))


def echo(settings: Settings, name: str, called: str | None) -> None:
    """C-ECHO an archive of the settings, or any HOST:PORT."""
    known = {of.name: of for of in settings.archive}
    if name in known:
        scu.echo(parts.archive(settings, known[name]))
    elif ":" in name:
        scu.echo(_archive_at(name, name=name, called=called or "ANY-SCP", calling=settings.receiver.ae_title))
    else:
        there = ", ".join(known) or "none"
        raise ValueError(f"no archive is named {name!r} (there are: {there}); or give HOST:PORT")


def _archive_at(address: str, *, name: str, called: str, calling: str) -> scu.Archive:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is no HOST:PORT such as 127.0.0.1:11112")
    return scu.Archive(
        name=name, ae_title=called, host=host.strip("[]"), port=int(port), calling_ae_title=calling
    )


def status(settings: Settings, *, state: str | None, limit: int) -> Overview:
    """The state of the gate."""
    with open_store(settings.store_url) as store:
        return Views(store).overview(state=state, limit=limit)


def history(settings: Settings, series_instance_uid: str) -> tuple[SeriesHistory, str | None]:
    """One series, and the text of its newest report."""
    with open_store(settings.store_url) as store:
        views = Views(store)
        uid = views.resolved(series_instance_uid)
        found = views.history(uid)
        assert found is not None
    for result in reversed(found.results):
        for report in sorted(settings.report_dir.glob(f"{uid}/{result.revision}-[ce]*.dcm")):
            return found, sr_text(dcmread(report))
    return found, None


def requeue(settings: Settings, *, series_uids: Sequence[str], failed: bool, dead: bool, actor: str) -> int:
    """Let series be scored, or dead deliveries be tried, again; return how many."""
    with open_store(settings.store_url) as store, store.together():
        count, trail = 0, Trail(store)
        if series_uids or failed:
            uids = [Views(store).resolved(uid) for uid in series_uids]
            count += Queue(store).requeue(uids, failed=failed)
            trail.add(actor=actor, act="requeue series", details={"series": uids, "count": count})
        if dead:
            revived = Outbox(store).requeue_dead()
            trail.add(actor=actor, act="requeue deliveries", details={"count": revived})
            count += revived
        return count


def migrate(settings: Settings) -> str:
    """Bring the schema to this version's; return what was done."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    before = current_revision(settings.store_url)
    after = migrate_store(settings.store_url)
    return f"schema {after}, nothing to do" if before == after else f"schema {before or '(none)'} -> {after}"
