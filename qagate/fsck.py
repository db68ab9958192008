"""`qagate fsck`: holds spool, database and archives against each other, and mends what is safe to mend.

Safe is what adds or counts: recording a spooled instance, counting anew, setting a state that follows from
the deliveries. Nothing is deleted, scored or guessed. It may run beside the gate.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath

from pydicom import dcmread

from qagate.dicom.find import Finder
from qagate.dicom.headers import HeaderError
from qagate.dicom.scu import Archive, DeliveryError
from qagate.dicom.spool import Spool
from qagate.series import Received, State
from qagate.store.audit import BrokenTrail, Trail
from qagate.store.engine import Store
from qagate.store.ledger import Held, Ledger, Posted
from qagate.store.outbox import Kind
from qagate.store.queue import Queue

SETTLE_S = 60.0  #: a younger file may be on its way into the database
_UNDELIVERED = "not all of it was delivered: send it again from the scanner"
_LOST = {
    State.DELIVERED: "every delivery of it was made; nothing here needs them any more",
    State.DECIDED: _UNDELIVERED,
    State.FAILED: _UNDELIVERED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not fit."""

    place: str  #: "spool", "database", "trail" or the archive's name
    sentence: str
    mend: Callable[[], str] | None = None  #: sets it right and says what was done; None: a person must
    resend: Callable[[], str] | None = None  #: the same, but sends: done only when asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Fsck:
    """What is compared. `deep` reads every file and compares its hash instead of its size."""

    store: Store
    spool: Spool
    archives: Sequence[Archive]
    destinations: Collection[str]  #: names that something delivers to
    since: datetime  #: archives are asked about what they acknowledged since then
    deep: bool = False

    def run(self) -> Iterator[Finding]:
        """Every finding, as they come."""
        yield from self._unrecorded()
        yield from self._missing()
        yield from self._contradictions()
        yield from self._deliveries()
        yield from self._trail()
        for archive in self.archives:
            yield from self._archive(archive)

    def _unrecorded(self) -> Iterator[Finding]:
        """Files in the spool that the database does not know."""
        known = Queue(self.store).known_paths()
        settled = datetime.now(UTC) - timedelta(seconds=SETTLE_S)
        by_series: dict[str, list[Received]] = defaultdict(list)
        for conflicts in (False, True):
            for path in self.spool.paths(conflicts=conflicts):
                if path in known:
                    continue
                try:
                    received = self.spool.read(path)
                except FileNotFoundError:
                    continue
                except (HeaderError, OSError) as error:
                    yield Finding(
                        place="spool",
                        sentence=f"{path} cannot be read ({error}): it is in no series. Look at it, then "
                        "send the instance again from the scanner and remove the file.",
                    )
                    continue
                if received.instance.received_at <= settled:
                    by_series[received.instance.series_instance_uid].append(received)
        for uid, found in by_series.items():
            yield Finding(
                place="spool",
                sentence=f"Series {uid}: {_count(len(found), 'spooled instance')} not in the database.",
                mend=partial(self._record, found),
            )

    def _record(self, found: Sequence[Received]) -> str:
        Queue(self.store).record(found)
        return f"recorded {_count(len(found), 'instance')}; the series is scored anew"

    def _missing(self) -> Iterator[Finding]:
        """Instances in the database whose files are gone or damaged."""
        ledger = Ledger(self.store)
        for held in ledger.held():
            bad = self._bad(held)
            if bad:
                now = ledger.again(held.series_id)  # retention may have deleted them meanwhile
                bad = self._bad(now) if now is not None else {}
            for what, number in bad.items():
                then = _LOST.get(held.state, "it cannot be scored as it is: send it again from the scanner")
                yield Finding(
                    place="spool",
                    sentence=f"Series {held.series_instance_uid} ({held.state.value}): of its "
                    f"{len(held.instances)} instances {number} {what} in the spool; {then}.",
                )

    def _bad(self, held: Held) -> Mapping[str, int]:
        bad: dict[str, int] = defaultdict(int)
        for one in held.instances:
            path = self.spool.absolute(one.path)
            try:
                if path.stat().st_size < one.size:
                    bad["cut short"] += 1
                elif self.deep and self.spool.read(one.path).instance.sha256 != one.sha256:
                    bad["changed"] += 1
            except FileNotFoundError:
                bad["missing"] += 1
            except (HeaderError, OSError):
                bad["unreadable"] += 1
        return bad

    def _contradictions(self) -> Iterator[Finding]:
        ledger = Ledger(self.store)
        for one in ledger.contradictions():
            again = (
                "" if one.mendable else f": `qagate requeue {one.series_instance_uid}` has it scored again"
            )
            yield Finding(
                place="database",
                sentence=f"Series {one.series_instance_uid} {one.sentence}{again}.",
                mend=partial(_done, ledger.mend, "counts and states set right") if one.mendable else None,
            )

    def _deliveries(self) -> Iterator[Finding]:
        """Deliveries that can never be made."""
        ledger = Ledger(self.store)
        for one in ledger.documents():
            if not Path(one.payload).is_file():
                mend = f"`qagate requeue {one.series_instance_uid}` makes a new one"
                if one.kind is Kind.REJECTION:
                    mend = "bring it back from a backup, or reject the series in the archive"
                yield Finding(
                    place="database",
                    sentence=f"Series {one.series_instance_uid}: the {one.kind.value} of revision "
                    f"{one.revision} waits to be sent, and its file is gone: {mend}.",
                )
        for name, number in ledger.waiting().items():
            if name not in self.destinations:
                yield Finding(
                    place="database",
                    sentence=f"{_count(number, 'delivery', 'deliveries')} waiting for {name}, which the "
                    "settings do not name: add it again, or nothing will send them.",
                )

    def _trail(self) -> Iterator[Finding]:
        try:
            Trail(self.store).verify()
        except BrokenTrail as error:
            yield Finding(place="trail", sentence=f"{_capital(str(error))}.")

    def _archive(self, archive: Archive) -> Iterator[Finding]:
        """What an archive acknowledged and does not show any more."""
        try:
            with Finder(archive) as finder:
                for posted in Ledger(self.store).sent(archive.name, self.since):
                    yield from self._posted(finder, archive, posted)
        except DeliveryError as error:
            yield Finding(place=archive.name, sentence=f"Not compared: {error}.")

    def _posted(self, finder: Finder, archive: Archive, posted: Posted) -> Iterator[Finding]:
        series_uid, wanted, files = self._contents(posted)
        if not wanted:
            return
        missing = wanted - finder.instances(posted.study_instance_uid, series_uid)
        if not missing:
            return
        there = all(path.is_file() for path in files)
        yield Finding(
            place=archive.name,
            sentence=f"Series {posted.series_instance_uid}: {archive.name} acknowledged the "
            f"{_WORDS[posted.kind]} of revision {posted.revision} and shows {len(wanted) - len(missing)} of "
            f"{_count(len(wanted), 'instance')}" + (": it lost, deleted or hides them." if there else
            ": it lost, deleted or hides them, and they are no longer here."),
            resend=partial(self._send_again, posted) if there else None,
        )  # fmt: skip

    def _send_again(self, posted: Posted) -> str:
        Ledger(self.store).send_again([posted.delivery_id])
        return "to be sent again"

    def _contents(self, posted: Posted) -> tuple[str, frozenset[str], list[Path]]:
        """Series, instances and files of a delivery; no instance where a document's file is gone."""
        if posted.kind is Kind.FORWARD:
            paths = json.loads(posted.payload)
            uids = frozenset(PurePosixPath(path).stem for path in paths)
            return posted.series_instance_uid, uids, [self.spool.absolute(path) for path in paths]
        path = Path(posted.payload)
        try:
            document = dcmread(path, specific_tags=["SOPInstanceUID", "SeriesInstanceUID"])
        except OSError:
            return "", frozenset(), []
        return str(document.SeriesInstanceUID), frozenset({str(document.SOPInstanceUID)}), [path]


_WORDS = {Kind.SR: "report", Kind.KOS: "key object", Kind.FORWARD: "images"}


def _done(act: Callable[[], object], told: str) -> str:
    act()
    return told


def _count(number: int, word: str, many: str = "") -> str:
    return f"{number} {word if number == 1 else many or word + 's'}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
