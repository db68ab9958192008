"""The periodic jobs: close complete series, take back leases. Runs them, knows nothing of their work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger(__name__)


class Scheduler:
    """A thread a job, which waits by the monotonic clock: the time of day may be set meanwhile.

    (A scheduler that plans by the time of day stands still for as long as the clock was set back.) A job that
    fails is logged and runs again next time.
    """

    def __init__(self, jobs: Mapping[str, tuple[Callable[[], object], float]]) -> None:
        """Take jobs as name -> (function, seconds between runs)."""
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, job, every_s), name=name, daemon=True)
            for name, (job, every_s) in jobs.items()
        ]

    def start(self) -> None:
        """Start running the jobs; the first time after their pause."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let running jobs end, start no further one."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, job: Callable[[], object], every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                job()
            except Exception as error:  # loop edge
                log.error("job_failed", job=name, error=str(error))
