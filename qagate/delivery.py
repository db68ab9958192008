"""Outbox row -> archive or people. One sender a destination, so that one that is down holds up no other."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from qagate.alert_text import AlertError, AlertMessage
from qagate.alerts import Alerter
from qagate.assessment import Verdict
from qagate.dicom import scu
from qagate.dicom.spool import Spool
from qagate.lease import kept
from qagate.reason import why
from qagate.store.outbox import Delivery, Kind, Outbox, RetryPolicy

log = structlog.get_logger(__name__)

_STORE_AWAY_S = 2.0


class SendError(RuntimeError):
    """A delivery was not acknowledged; the message says by whom and why."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient  #: worth another try without anyone mending something


class Channel(Protocol):
    """One way out of the gate."""

    @property
    def destination(self) -> str:
        """Its name in the outbox."""
        ...

    def send(self, kind: Kind, payload: str) -> None:
        """Deliver; SendError when it was not acknowledged."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveChannel:
    """C-STORE to one archive. Payload: the path of a document, or a JSON list of spool paths."""

    archive: scu.Archive
    spool: Spool

    @property
    def destination(self) -> str:
        """The archive's name."""
        return self.archive.name

    def send(self, kind: Kind, payload: str) -> None:
        """Send every file and check every answer."""
        self.store(self.paths(kind, payload))

    def paths(self, kind: Kind, payload: str) -> list[Path]:
        """The files of a delivery."""
        if kind is Kind.FORWARD:
            return [self.spool.absolute(path) for path in json.loads(payload)]
        return [Path(payload)]

    def store(self, paths: Sequence[Path]) -> None:
        """Send files and check every answer.

        What an association that broke left over goes over the next one at once, as long as each takes
        something: an archive that ends them early would otherwise never have the whole series.
        """
        left = list(paths)
        while left:
            taken = self._taken(left)
            if not taken:
                raise SendError(f"{self.archive} acknowledged none of {len(left)} files")
            left = [path for path in left if path not in taken]

    def _taken(self, paths: Sequence[Path]) -> set[Path]:
        """Those that one association took; SendError when it took none of them, or refused one."""
        taken: set[Path] = set()
        try:
            for result in scu.store(self.archive, paths):
                if result.delivery is scu.Delivery.DELIVERED:
                    taken.add(result.path)
                elif result.status is not None or result.delivery is scu.Delivery.REJECTED or not taken:
                    transient = result.delivery is scu.Delivery.RETRY
                    raise SendError(f"{result.sop_instance_uid}: {result.message}", transient=transient)
        except scu.DeliveryError as error:
            # Most of what an administrator mends at an archive needs no second command here.
            if not taken:
                raise SendError(str(error)) from error
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChannel:
    """One alert destination. Payload: the message as JSON."""

    alerter: Alerter
    destination: str

    def send(self, kind: Kind, payload: str) -> None:
        """Send the message."""
        try:
            self.alerter.send(parse_alert(payload), only=(self.destination,))
        except AlertError as error:
            raise SendError(str(error)) from error


def alert_payload(message: AlertMessage) -> str:
    """An alert as it lies in the outbox."""
    verdict = message.verdict.value if message.verdict else None
    return json.dumps({"verdict": verdict, "title": message.title, "body": message.body})


def parse_alert(payload: str) -> AlertMessage:
    """What `alert_payload` wrote."""
    values = json.loads(payload)
    verdict = Verdict(values["verdict"]) if values["verdict"] else None
    return AlertMessage(verdict=verdict, title=values["title"], body=values["body"])


class Sender:
    """Delivers what waits for one channel, until told to stop."""

    def __init__(
        self, *, outbox: Outbox, channel: Channel, policy: RetryPolicy, lease_s: float, poll_s: float
    ) -> None:
        self._outbox, self._channel, self._policy = outbox, channel, policy
        self._lease_s, self._poll_s = lease_s, poll_s

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop`; the delivery in hand is finished first."""
        while not stop.is_set():
            try:
                delivery = self._outbox.claim(self._lease_s, destination=self._channel.destination)
                if delivery is None:
                    stop.wait(self._poll_s)
                    continue
                self._deliver(delivery)
            except Exception as error:  # loop edge: a store that is away comes back
                log.error("delivery_failed", destination=self._channel.destination, error=why(error))
                stop.wait(_STORE_AWAY_S)

    def _send(self, delivery: Delivery) -> None:
        self._channel.send(delivery.kind, delivery.payload)

    def _acknowledge(self, delivery: Delivery, about: Mapping[str, object]) -> None:
        self._outbox.mark_sent(delivery)
        log.info("delivered", **about)

    def _deliver(self, delivery: Delivery) -> None:
        about = {
            "destination": delivery.destination,
            "kind": delivery.kind.value,
            "series_instance_uid": delivery.series_instance_uid,
            "revision": delivery.revision,
            "attempts": delivery.attempts,
            "associations": delivery.associations,
        }
        try:
            with kept(lambda: self._outbox.heartbeat(delivery, self._lease_s), self._lease_s):
                self._send(delivery)
        except SendError as error:
            reason, transient = why(error), error.transient
        except Exception as error:  # loop edge: a lost file or a bug is one delivery's trouble
            reason, transient = why(error), True
        else:
            self._acknowledge(delivery, about)
            return
        mark = self._outbox.mark_retry(delivery, reason, self._policy) if transient else None
        retry = mark or self._outbox.mark_dead(delivery, reason)
        log.warning("not_delivered", **about, reason=reason, state=retry.state.value if retry else "lost")
