"""Simulated scanners: each a thread with an AE title of its own that sends its day and insists on 0x0000.

What they note is what the gate is held against: which instances it acknowledged, and when.
"""

from __future__ import annotations

import heapq
import itertools
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

import synthetic
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom.presentation import build_context
from pynetdicom.transport import AssociationSocket
from soak_plan import SILENT, STUCK, Kind, Planned, ae_title, modality

from qagate.dicom.outgoing import Archive, DeliveryError, associate

SIDE = {"CT": 160, "MR": 128}  #: pixels: small, so that pictures do not limit what the gate's machine can do
LATE_S, AGAIN_S, CUT_S = 15.0, 20.0, 3.0  #: seconds until the rest, the copy, the second try
_LATE_SLICES = 3
_RETRY_S = 2.0
_MOST_TRIES = 200

Templates = Mapping[tuple[str, Kind], synthetic.Template]


def templates(slices: int = 200) -> Templates:
    """What the scanners send, by modality and kind; other kinds are good ones."""
    made = {}
    for name, side in SIDE.items():
        usual = 12.0 if name == "CT" else 25.0
        made[name, Kind.GOOD] = synthetic.template(slices, side=side, noise=usual, modality=name)
        made[name, Kind.BAD] = synthetic.template(slices, side=side, noise=12 * usual, modality=name)
        localiser: dict[str, object] = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
        made[name, Kind.LOCALISER] = synthetic.template(
            3, side=side, noise=usual, modality=name, attributes=localiser
        )
    return made


@dataclass(slots=True)
class Sent:
    """What one scanner knows of one series."""

    planned: Planned
    acknowledged: set[str] = field(default_factory=set)  #: SOP Instance UIDs answered 0x0000
    ended: list[float] = field(default_factory=list)  #: when the last new slice of a batch was answered


@dataclass(slots=True)
class Ledger:
    """What all scanners know together."""

    series: dict[str, Sent] = field(default_factory=dict)  #: by Series Instance UID
    tries: int = 0  #: associations
    failed: dict[str, int] = field(default_factory=dict)  #: why one could not be used -> how often
    open: int = 0
    most_open: int = 0
    given_up: list[str] = field(default_factory=list)  #: series that never got through
    cut_off: dict[str, float] = field(default_factory=dict)  #: what hung -> seconds until the gate ended it
    lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, by: int) -> None:
        """Count open associations."""
        with self.lock:
            self.tries += by > 0
            self.open += by
            self.most_open = max(self.most_open, self.open)

    def fail(self, why: str) -> None:
        """Note an association that could not be used."""
        with self.lock:
            self.failed[why] = self.failed.get(why, 0) + 1


class Scanner(threading.Thread):
    """One scanner and its day."""

    def __init__(
        self, number: int, day: Sequence[Planned], *, gate: Archive, made: Templates, ledger: Ledger,
        folder: Path, starts_at: float, hour_s: float, stop: threading.Event,
    ) -> None:  # fmt: skip
        super().__init__(name=ae_title(number), daemon=True)
        self._gate = replace(gate, name="gate", calling_ae_title=self.name)
        self._made, self._ledger, self._stop_it = made, ledger, stop
        self._modality = modality(number)
        self._folder = folder / self.name
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        for one in day:
            self._at(starts_at + one.hour * hour_s, partial(self._begin, one))
        if number == 0:
            self._at(starts_at + SILENT * hour_s, lambda: self._aside(self._silent))
            self._at(starts_at + STUCK * hour_s, lambda: self._aside(self._stuck))
        self._beside: list[threading.Thread] = []

    def run(self) -> None:
        """Do what is due until nothing is left."""
        while self._due and not self._stop_it.is_set():
            at, _, act = heapq.heappop(self._due)
            if self._stop_it.wait(max(0.0, at - time.time())):
                break
            act()
        for thread in self._beside:
            thread.join()

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), act))

    def _aside(self, act: Callable[[], None]) -> None:
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        self._beside.append(thread)

    def _begin(self, planned: Planned) -> None:
        wanted = (self._modality, planned.kind)
        made = self._made.get(wanted) or self._made[self._modality, Kind.GOOD]
        folder = self._folder / str(planned.number)
        uid, paths = made.write(folder, planned.number, slices=planned.slices, station=self.name)
        uids = {path: synthetic.sop_instance_uid(planned.number, place) for place, path in enumerate(paths)}
        sent = self._ledger.series[uid] = Sent(planned)
        half, now, kind = paths[: len(paths) // 2], time.time(), planned.kind
        then: Callable[[], None] | None = None
        if kind in (Kind.CUT, Kind.LOST):
            self._send(sent, half, uids, abort=True)
            if kind is Kind.CUT:
                then, wait = (lambda: self._insist(sent, paths, uids)), CUT_S
        elif kind is Kind.LATE:
            self._insist(sent, paths[:-_LATE_SLICES], uids)
            then, wait = (lambda: self._insist(sent, paths, uids)), LATE_S
        else:
            self._insist(sent, paths, uids)
            if kind is Kind.AGAIN:
                then, wait = (lambda: self._insist(sent, paths, uids, again=True)), AGAIN_S
        if then is None:
            shutil.rmtree(folder)
            return

        def follow() -> None:
            then()
            shutil.rmtree(folder)

        self._at(now + wait, follow)

    def _insist(
        self, sent: Sent, paths: Sequence[Path], uids: Mapping[Path, str], *, again: bool = False
    ) -> None:
        """Send until every instance was answered 0x0000."""
        for _ in range(_MOST_TRIES):
            left = paths if again else [path for path in paths if uids[path] not in sent.acknowledged]
            if self._send(sent, left, uids) or self._stop_it.wait(_RETRY_S):
                return
        self._ledger.given_up.append(f"series {sent.planned.number}")

    def _send(
        self, sent: Sent, paths: Sequence[Path], uids: Mapping[Path, str], *, abort: bool = False
    ) -> bool:
        """Send in one association; False when not all was answered 0x0000."""
        context = build_context(
            CTImageStorage if self._modality == "CT" else MRImageStorage, ExplicitVRLittleEndian
        )
        try:
            association = associate(self._gate, [context])
        except DeliveryError as error:
            self._ledger.fail(str(error))
            return False
        self._ledger.opened(1)
        fresh, done = False, 0
        try:
            for number, path in enumerate(paths, start=1):
                status = association.send_c_store(path, msg_id=number).get("Status")
                if status != 0x0000:
                    self._ledger.fail("no answer" if status is None else f"answered 0x{status:04X}")
                    break
                fresh |= uids[path] not in sent.acknowledged
                sent.acknowledged.add(uids[path])
                done += 1
            if fresh:
                sent.ended.append(time.time())
        except (ValueError, RuntimeError) as error:
            self._ledger.fail(type(error).__name__)
        finally:
            if abort:
                association.abort()
            elif association.is_established:
                association.release()
            self._ledger.opened(-1)
        return done == len(paths)

    def _silent(self) -> None:
        """Connect and say nothing until the gate hangs up."""
        began = time.time()
        with socket.create_connection((self._gate.host, self._gate.port), 10) as connection:
            connection.settimeout(600)
            connection.recv(1)
        self._ledger.cut_off["says nothing"] = time.time() - began

    def _stuck(self) -> None:
        """Associate, then stop in the middle of a PDU, until the gate hangs up."""
        association = associate(self._gate, [build_context(CTImageStorage, ExplicitVRLittleEndian)])
        association.network_timeout = None
        connection = cast(socket.socket, cast(AssociationSocket, association.dul.socket).socket)
        began = time.time()
        connection.sendall(b"\x04\x00\x00\x00\x10\x00" + bytes(100))
        while association.is_established and time.time() - began < 600:
            time.sleep(0.1)
        self._ledger.cut_off["stops half-way"] = time.time() - began
