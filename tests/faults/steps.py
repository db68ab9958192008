"""Every step of the path from scanner to archive, named once, and where the program takes it.

The product knows nothing of this: a test's child process wraps the function of a step from outside
(`arm`) and sends itself a signal just before or just after the call.
"""

from __future__ import annotations

import importlib
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qagate.store.outbox import Delivery, Kind

_DATA = 0x04  #: type of a P-DATA-TF PDU (PS3.8 9.3.5)

Fits = Callable[[tuple[Any, ...], Any], bool]  #: of the call's arguments and, after it, its result


def _always(arguments: tuple[Any, ...], result: Any) -> bool:
    return True


def _got_one(arguments: tuple[Any, ...], result: Any) -> bool:
    return bool(result)


def _published(arguments: tuple[Any, ...], result: Any) -> bool:
    return any(Path(arguments[0]).glob("*.dcm"))


def _answers(arguments: tuple[Any, ...], result: Any) -> bool:
    return bytes(arguments[1][:1]) == bytes([_DATA])


def _document(kind: str) -> Fits:
    return lambda arguments, result: (arguments[2] == "kos") == (kind == "kos")


def _claimed(*kinds: Kind) -> Fits:
    return lambda arguments, result: result is not None and result.kind in kinds


def _sends(*kinds: Kind) -> Fits:
    return lambda arguments, result: arguments[1] in kinds


def _marks(*kinds: Kind) -> Fits:
    return lambda arguments, result: any(isinstance(one, Delivery) and one.kind in kinds for one in arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. Its function is wrapped in the process of its role."""

    name: str
    role: str  #: receiver, worker or services
    call: str  #: module:function or module:class.method, as the role looks it up
    after: bool  #: the signal comes after the call; else before it
    fits: Fits = _always
    nth: int = 1  #: the call that counts, of those that fit


def _step(name: str, role: str, when: str, call: str, fits: Fits = _always, nth: int = 1) -> Step:
    return Step(name=name, role=role, call=call, after=when == "after", fits=fits, nth=nth)


_PDU = "pynetdicom.transport:AssociationSocket.send"
_QUEUE = "qagate.store.queue:Queue"
_OUTBOX = "qagate.store.outbox:Outbox"
_TO_ARCHIVE, _TO_PEOPLE = "qagate.delivery:ArchiveChannel.send", "qagate.delivery:AlertChannel.send"
_PROMISES = "qagate.store.commitments:Commitments"

RECEPTION = (
    _step("temporary file written", "receiver", "after", "qagate.dicom.incoming:Incoming.complete", nth=2),
    _step("file fsynced", "receiver", "after", "qagate.dicom.spool:sync_file", nth=2),
    _step("file under its name", "receiver", "after", "qagate.dicom.spool:_link", nth=2),
    _step("folder fsynced", "receiver", "after", "qagate.dicom.spool:sync_folder", _published, nth=2),
    _step("before 0x0000", "receiver", "before", _PDU, _answers, nth=2),
    _step("after 0x0000", "receiver", "after", _PDU, _answers, nth=2),
    _step("before the record", "receiver", "before", f"{_QUEUE}.record"),
    _step("in the record, before COMMIT", "receiver", "after", "qagate.store.intake:record"),
    _step("after the record", "receiver", "after", f"{_QUEUE}.record"),
    _step("before the release is noted", "receiver", "before", f"{_QUEUE}.released"),
    _step("after the release is noted", "receiver", "after", f"{_QUEUE}.released"),
)
CLOSING = (
    _step("before the series is closed", "services", "before", f"{_QUEUE}.close"),
    _step("closing, before COMMIT", "services", "after", "qagate.store.queue:_hit"),
    _step("after the series is closed", "services", "after", f"{_QUEUE}.close", _got_one),
)
SCORING = (
    _step("series claimed", "worker", "after", f"{_QUEUE}.claim", _got_one),
    _step("images read", "worker", "after", "qagate.worker:prepare"),
    _step("scored", "worker", "after", "qagate.worker:examine"),
    _step("SR written", "worker", "after", "qagate.reporting:Reporter._write", _document("sr")),
    _step("KOS written", "worker", "after", "qagate.reporting:Reporter._write", _document("kos")),
    _step("before the decision", "worker", "before", f"{_QUEUE}.finish"),
    _step("in the decision, before COMMIT", "worker", "after", "qagate.store.queue:deliver_if_done"),
    _step("after the decision", "worker", "after", f"{_QUEUE}.finish", _got_one),
)
#: In the archive, and unanswered: the archive itself sends the signal.
HELD_BY_ARCHIVE = Step(name="stored, not yet answered", role="services", call="", after=True)
SENDING = (
    _step("report claimed", "services", "after", f"{_OUTBOX}.claim", _claimed(Kind.SR)),
    _step("before the report is sent", "services", "before", _TO_ARCHIVE, _sends(Kind.SR)),
    HELD_BY_ARCHIVE,
    _step("report answered", "services", "before", f"{_OUTBOX}.mark_sent", _marks(Kind.SR)),
    _step("marking it sent, before COMMIT", "services", "after", "qagate.store.outbox:deliver_if_done"),
    _step("report marked sent", "services", "after", f"{_OUTBOX}.mark_sent", _marks(Kind.SR)),
    _step("images half-way", "services", "before", f"{_OUTBOX}.mark_sent", _marks(Kind.FORWARD)),
)
HELD_BY_WEBHOOK = Step(name="alert heard, not yet answered", role="services", call="", after=True)
ALERTING = (
    _step("alert claimed", "services", "after", f"{_OUTBOX}.claim", _claimed(Kind.ALERT)),
    _step("before the alert is sent", "services", "before", _TO_PEOPLE, _sends(Kind.ALERT)),
    HELD_BY_WEBHOOK,
    _step(
        "alert answered, before it is marked",
        "services",
        "before",
        f"{_OUTBOX}.mark_sent",
        _marks(Kind.ALERT),
    ),
    _step("alert marked sent", "services", "after", f"{_OUTBOX}.mark_sent", _marks(Kind.ALERT)),
)
_HOLDS = "qagate.store.holds"
RELEASING = (
    _step("before a held series is released", "services", "before", f"{_HOLDS}:Holds.release"),
    _step("releasing a held series, before COMMIT", "services", "after", f"{_HOLDS}:let_go"),
    _step("held series released", "services", "after", f"{_HOLDS}:Holds.release", _got_one),
)
REAPING = (
    _step("before a worker's lease is taken back", "services", "before", f"{_QUEUE}.reap"),
    _step("a worker's lease taken back", "services", "after", f"{_QUEUE}.reap", _got_one),
)
ASKING = (
    _step("request for commitment kept", "services", "after", "qagate.store.asked:Asked.ask"),
    _step("commitment asked", "services", "after", "qagate.dicom.commitment:ask"),
    _step("before the archive's report is kept", "receiver", "before", "qagate.store.asked:Asked.settle"),
    _step("the archive's report kept", "receiver", "after", "qagate.store.asked:Asked.settle"),
)
PROMISING = (
    _step("sender's request kept", "receiver", "after", f"{_PROMISES}.keep"),
    _step("report to the sender, not yet noted", "receiver", "before", f"{_PROMISES}.mark_reported"),
    _step("report to the sender noted", "receiver", "after", f"{_PROMISES}.mark_reported"),
)

STEPS = {
    step.name: step
    for step in (
        *(*RECEPTION, *CLOSING, *SCORING, *SENDING),
        *(*ALERTING, *RELEASING, *REAPING, *ASKING, *PROMISING),
    )
}


def arm(step: Step, signal: int) -> None:
    """Let this process send itself `signal` when it takes the step."""
    module, _, path = step.call.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    inner, count = getattr(owner, name), itertools.count(1)

    def reached(arguments: tuple[Any, ...], result: Any) -> None:
        if step.fits(arguments, result) and next(count) == step.nth:
            os.kill(os.getpid(), signal)
            time.sleep(0.05)  # a stop reaches each thread at its next turn

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        if not step.after:
            reached((*arguments, *keywords.values()), None)
        result = inner(*arguments, **keywords)
        if step.after:
            reached((*arguments, *keywords.values()), result)
        return result

    setattr(owner, name, wrapped)
