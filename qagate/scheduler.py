"""The periodic jobs: close complete series, take back leases. Runs them, knows nothing of their work."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from qagate.reason import why

log = structlog.get_logger(__name__)


class Scheduler:
    """APScheduler with our loop edge: a job that fails is logged and runs again next time."""

    def __init__(self, jobs: Mapping[str, tuple[Callable[[], object], float]]) -> None:
        """Take jobs as name -> (function, seconds between runs)."""
        self._scheduler = BackgroundScheduler(timezone="UTC")
        for name, (job, every_s) in jobs.items():
            self._scheduler.add_job(
                _guarded(name, job), "interval", seconds=every_s, id=name, coalesce=True, max_instances=1
            )

    def start(self) -> None:
        """Start running the jobs."""
        self._scheduler.start()

    def stop(self) -> None:
        """Let running jobs end, start no further one."""
        self._scheduler.shutdown(wait=True)


def _guarded(name: str, job: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        try:
            job()
        except Exception as error:  # loop edge
            log.error("job_failed", job=name, error=why(error))

    return run
