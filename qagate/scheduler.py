"""The periodic jobs: close complete series, take back leases. Runs them, knows nothing of their work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from qagate.clocks import steady_s
from qagate.reason import why

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
_JUMP_S = 2.0  #: by which the time of day may drift from the steady clock between two looks


class Scheduler:
    """APScheduler with our loop edge: a job that fails is logged and runs again next time.

    APScheduler plans by the time of day: set back, it would stand still for as long. A jump is noticed within
    a second, and every job is due then.
    """

    def __init__(
        self,
        jobs: Mapping[str, tuple[Callable[[], object], float]],
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_s,
    ) -> None:
        """Take jobs as name -> (function, seconds between runs)."""
        self._clock, self._steady = clock, steady
        self._scheduler = BackgroundScheduler(timezone="UTC")
        for name, (job, every_s) in jobs.items():
            self._scheduler.add_job(
                _guarded(name, job), "interval", seconds=every_s, id=name,
                coalesce=True, max_instances=1, misfire_grace_time=None,
            )  # fmt: skip
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watch_clock, name="clock-watch", daemon=True)

    def start(self) -> None:
        """Start running the jobs."""
        self._scheduler.start()
        self._watch.start()

    def stop(self) -> None:
        """Let running jobs end, start no further one."""
        self._stop.set()
        self._watch.join()
        self._scheduler.shutdown(wait=True)

    def _watch_clock(self) -> None:
        apart = self._clock() - self._steady()
        while not self._stop.wait(_LOOK_S):
            now = self._clock() - self._steady()
            if abs(now - apart) > _JUMP_S:
                log.warning("clock_was_set", by_s=round(now - apart, 1))
                for job in self._scheduler.get_jobs():
                    job.modify(next_run_time=datetime.now(UTC))
            apart = now


def _guarded(name: str, job: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except Exception as error:  # loop edge
            log.error("job_failed", job=name, error=why(error))

    return run
