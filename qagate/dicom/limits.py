"""What one peer may ask of the gate: how many associations, how much on each, how fast.

What a peer sends too fast is taken more slowly, so nothing is lost; what is too large or too many is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from qagate.refusal import ASSOCIATION_FULL, DATA_SET_TOO_LARGE, NOT_AUTHORIZED

_log = structlog.get_logger()
_MOST_ACCOUNTS = 1024  #: peers whose rates are remembered; one that is idle is soon back at its full rate
LONGEST_PAUSE_S = 20.0  #: no answer is held back longer: senders commonly give up after 30 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one peer; 0: no limit."""

    associations: int = 0  #: open at one time
    dataset_bytes: int = 0  #: of one encoded data set
    association_instances: int = 0  #: C-STOREs on one association
    association_bytes: int = 0  #: of all data sets on one association
    instances_per_minute: float = 0  #: answers are held back above it
    bytes_per_minute: float = 0  #: the connection is read more slowly above it


NO_LIMITS = Limits()


class OverLimit(Exception):
    """A data set is not taken; `status` is the C-STORE's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Bucket:
    """A token bucket that may be overdrawn: who takes too much is told how long to wait.

    per_minute: tokens that come back in a minute, which is also the most that it holds, or is overdrawn by;
    0: no limit.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._lock = threading.Lock()
        self._tokens, self._at = per_minute, clock()

    def take(self, amount: float) -> float:
        """Take tokens; seconds until what was taken is there, from 0 to 60."""
        if not self._most:
            return 0.0
        with self._lock:
            now = self._clock()
            back = (now - self._at) * self._most / 60
            self._tokens = max(min(self._tokens + back, self._most) - amount, -self._most)
            self._at = now
            return max(-self._tokens / self._most * 60, 0.0)


class Account:
    """One peer's open associations and rates, shared by its associations."""

    def __init__(self, peer: tuple[str, str], limits: Limits) -> None:
        self.peer, self.limits, self.associations = peer, limits, 0
        self.instances, self.bytes = Bucket(limits.instances_per_minute), Bucket(limits.bytes_per_minute)


class Share:
    """What one association may do, and did."""

    def __init__(self, account: Account, pause: Callable[[float], object], *, may_store: bool) -> None:
        """Keep the account; `pause(seconds)` returns early when the gate is to stop."""
        self.account, self._pause, self._may_store = account, pause, may_store
        self._instances = self._bytes = 0
        self._slowed = False  #: logged once an association

    def begin(self) -> None:
        """Count one data set. Raises OverLimit when it is not to be taken."""
        most = self.account.limits.association_instances
        if not self._may_store:
            raise OverLimit(NOT_AUTHORIZED, "this AE title may not store")
        self._instances += 1
        if most and self._instances > most:
            raise OverLimit(ASSOCIATION_FULL, f"more than {most} instances on one association")

    def take(self, length: int, size: int) -> None:
        """Count one fragment of a data set that has `size` bytes with it. Raises OverLimit."""
        limits = self.account.limits
        self._bytes += length
        if limits.dataset_bytes and size > limits.dataset_bytes:
            raise OverLimit(DATA_SET_TOO_LARGE, f"the data set has more than {limits.dataset_bytes:,} bytes")
        if limits.association_bytes and self._bytes > limits.association_bytes:
            raise OverLimit(
                ASSOCIATION_FULL, f"more than {limits.association_bytes:,} bytes on one association"
            )

    def pace(self, length: int) -> None:
        """Wait until the peer may send on, taken or not: the network does the rest."""
        self._wait(self.account.bytes.take(length))

    def answer(self) -> None:
        """Wait until the next answer is due."""
        self._wait(self.account.instances.take(1))

    def _wait(self, wait_s: float) -> None:
        if wait_s <= 0:
            return
        if not self._slowed:
            _log.info("slow_down", calling_ae_title=self.account.peer[0], address=self.account.peer[1])
        self._slowed = True
        self._pause(wait_s)


class Accounts:
    """Every peer's account, and how many associations are open."""

    def __init__(self, *, most: int, longest_pause_s: float = LONGEST_PAUSE_S) -> None:
        """Keep the limits; most: associations open at one time, of all peers."""
        self._most, self._longest_pause_s = most, longest_pause_s
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._accounts: dict[tuple[str, str], Account] = {}
        self.open = 0  #: associations of all peers

    def admit(self, peer: tuple[str, str], limits: Limits, *, may_store: bool) -> Share | None:
        """Open an association; None when this peer, or all together, have too many."""
        with self._lock:
            if len(self._accounts) >= _MOST_ACCOUNTS:
                self._accounts = {key: one for key, one in self._accounts.items() if one.associations}
            account = self._accounts.get(peer)
            if self.open >= self._most or (
                account and limits.associations and account.associations >= limits.associations
            ):
                return None
            account = self._accounts.setdefault(peer, account or Account(peer, limits))
            account.associations += 1
            self.open += 1
        return Share(account, self._pause, may_store=may_store)

    def leave(self, share: Share) -> None:
        """Close an association."""
        with self._lock:
            share.account.associations -= 1
            self.open -= 1

    def stop(self) -> None:
        """Let nobody wait any more."""
        self._stopping.set()

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(min(seconds, self._longest_pause_s))
