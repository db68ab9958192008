"""Claim, read, score, decide, finish: the loop that turns complete series into decided ones."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog

from qagate.dicom.spool import Spool
from qagate.examine import Examination, Prepared, examine, prepare
from qagate.gate.policy import Policy
from qagate.gate.scoring import DeviceLost
from qagate.lease import kept
from qagate.reason import Reason, why
from qagate.reporting import Reporter
from qagate.series import Series
from qagate.serving import Models
from qagate.shadow import Done, Shadow
from qagate.store.baselines import BaselineChange
from qagate.store.errors import StoreUnavailable, StoreUnusable
from qagate.store.queue import Queue
from qagate.store.returns import PAUSE_S, Returns
from qagate.timelimit import within
from qagate.watch import Watch, key_of

log = structlog.get_logger(__name__)

_STORE_AWAY_S = 2.0
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}


class Worker:
    """Scores claimed series until told to stop.

    Series of one batch are scored in one pass. A series that was claimed before is taken alone, so
    that one which kills workers does not use up its neighbours' tries. Before each batch it takes up the
    champion and challenger of the moment; the challenger's turn comes when the batch is decided.
    """

    def __init__(
        self,
        *,
        name: str,
        queue: Queue,
        returns: Returns,
        spool: Spool,
        models: Models,
        policy: Policy,
        reporter: Reporter,
        watch: Watch,
        shadow: Shadow,
        batch_series: int,
        lease_s: float,
        timeout_s: float,
        max_attempts: int,
        poll_s: float,
    ) -> None:
        self._name, self._queue, self._returns, self._spool = name, queue, returns, spool
        self._models, self._policy, self._reporter = models, policy, reporter
        self._watch, self._shadow = watch, shadow
        self._done: list[Done] = []  #: of the batch in hand
        self._batch_series, self._lease_s = batch_series, lease_s
        self._max_attempts, self._poll_s, self._timeout_s = max_attempts, poll_s, timeout_s
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`; the batch in hand is finished first.

        Raises DeviceLost when a model lost its device, after the batch in hand.
        """
        self._stop = stop
        while not stop.is_set():
            try:
                self._models.refresh()
                batch = self._claim()
            except Exception as error:  # loop edge: a store that is away comes back
                log.error("claim_failed", error=why(error))
                stop.wait(_STORE_AWAY_S)
                continue
            if not batch:
                stop.wait(self._poll_s)
                continue
            with kept(partial(self._renew, batch), self._lease_s):
                self._work(batch)
            challenger = self._models.challenger
            if challenger is not None and not self._models.champion.scorer.device_lost:
                with within(self._timeout_s, lambda: None):  # what it began is counted against it
                    self._shadow.score(self._done, self._models.champion, challenger)
            self._done.clear()
            if any(one is not None and one.scorer.device_lost for one in (self._models.champion, challenger)):
                raise DeviceLost(
                    "the graphics card stopped answering: the worker starts anew to find it again"
                )

    def _claim(self) -> list[Series]:
        batch: list[Series] = []
        while len(batch) < self._batch_series:
            series = self._queue.claim(self._name, self._lease_s)
            if series is None:
                break
            batch.append(series)
            log.info(
                "claimed",
                series_instance_uid=series.series_instance_uid,
                revision=series.revision,
                attempts=series.attempts,
                associations=series.associations,
            )
            if series.attempts > 1:
                break
        return batch

    def _work(self, batch: Sequence[Series]) -> None:
        for group in _by_attempts(batch):
            try:
                with within(self._timeout_s, partial(self._time_is_up, group, batch)):
                    self._examine(group)
            except Exception as error:  # loop edge: the state moves on, the loop goes on
                if _of_the_gate(error):
                    self._put_back(group, error)
                elif len(group) > 1:
                    for series in group:
                        self._work([series])
                else:
                    self._give_up(group[0], why(error))

    def _time_is_up(self, group: Sequence[Series], batch: Sequence[Series]) -> None:
        """End the try of the series in hand; those of the batch that wait behind them keep theirs."""
        reason = Reason(
            f"scoring took longer than worker.timeout_s ({self._timeout_s:g} s): its worker was ended"
        )
        for series in batch:
            if series in group:
                log.error("scoring_hangs", series_instance_uid=series.series_instance_uid, reason=reason)
                self._queue.fail(series, reason, self._max_attempts, self._reporter.failed(series))
            else:
                self._returns.put_back(series, Reason("its worker was ended over another series"), 0.0)

    def _put_back(self, group: Sequence[Series], error: Exception) -> None:
        """Let series wait that failed by no fault of theirs, as long as the store takes to hear of it."""
        reason = why(error)
        log.error("scoring_put_off", series=len(group), reason=reason, retry_in_s=PAUSE_S)
        for series in group:
            while True:
                try:
                    self._returns.put_back(series, reason, PAUSE_S)
                    break
                except Exception as away:  # loop edge: a worker without a store has nothing else to do
                    log.error("store_failed", error=why(away))
                    if self._stop.wait(_STORE_AWAY_S):
                        return

    def _give_up(self, series: Series, reason: Reason) -> None:
        log.exception(
            "scoring_failed",
            series_instance_uid=series.series_instance_uid,
            revision=series.revision,
            associations=series.associations,
            reason=reason,
        )
        images = self._reporter.failed(series)
        self._guarded(lambda: self._queue.fail(series, reason, self._max_attempts, images))

    def _examine(self, group: Sequence[Series]) -> None:
        started = time.perf_counter()
        prepared = [self._prepare(series) for series in group]
        ready = time.perf_counter()
        champion = self._models.champion
        keys = [
            key_of(series, one.prompt, champion.scorer.weights_sha256)
            for series, one in zip(group, prepared, strict=True)
        ]
        examinations = examine(
            prepared,
            [series.header for series in group],
            champion.scorer,
            self._policy,
            baselines=self._watch.usual(keys),
            readers=champion.readers,
        )
        spent = {"prepare_s": round(ready - started, 3), "score_s": round(time.perf_counter() - ready, 3)}
        for series, one, key, examination in zip(group, prepared, keys, examinations, strict=True):
            if self._finish(series, examination, self._watch.change(key, series, examination), spent):
                self._done.append(Done(series=series, prepared=one))

    def _prepare(self, series: Series) -> Prepared:
        prepared = prepare([self._spool.absolute(one.path) for one in series.instances])
        if series.purged and prepared.not_assessed is None:
            # A verdict on what came late would stand for the whole series.
            return replace(prepared, not_assessed="its earlier images were purged from the gate")
        return prepared

    def _finish(
        self,
        series: Series,
        examination: Examination,
        change: BaselineChange | None,
        spent: Mapping[str, float],
    ) -> bool:
        try:
            deliveries = self._reporter.deliveries(series, examination)
            decided = self._queue.finish(
                series,
                examination.assessment,
                examination.decision,
                deliveries,
                change,
                publish=partial(self._reporter.publish, series),
            )
        finally:
            self._reporter.discard(series)
        if not decided:
            log.info("superseded", series_instance_uid=series.series_instance_uid, revision=series.revision)
            return False
        log.info(
            "decided",
            series_instance_uid=series.series_instance_uid,
            revision=series.revision,
            verdict=examination.decision.verdict.value,
            quality=examination.assessment.quality,
            associations=series.associations,
            **spent,
        )
        return True

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # loop edge: the lease runs out and the series returns by itself
            log.error("store_failed", error=why(error))

    def _renew(self, batch: Sequence[Series]) -> None:
        for series in batch:
            self._guarded(partial(self._queue.heartbeat, series, self._lease_s))


def _of_the_gate(error: Exception) -> bool:
    """Tell whether an error says nothing of the series: disk or database take nothing at the moment."""
    if isinstance(error, OSError):
        return error.errno in _DISK
    return isinstance(error, StoreUnavailable | StoreUnusable)


def _by_attempts(batch: Sequence[Series]) -> Iterator[Sequence[Series]]:
    """The fresh series together, each one tried before alone."""
    fresh = [series for series in batch if series.attempts <= 1]
    if fresh:
        yield fresh
    for series in batch:
        if series.attempts > 1:
            yield [series]
