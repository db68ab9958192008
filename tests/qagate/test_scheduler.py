import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from structlog.testing import capture_logs

from qagate.scheduler import Scheduler
from qagate.store.errors import StoreError


def until(condition: Callable[[], object], limit_s: float = 10.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


@contextmanager
def running(jobs: dict[str, tuple[Callable[[], object], float]]) -> Iterator[Scheduler]:
    scheduler = Scheduler(jobs)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


def test_every_job_runs_again_and_again() -> None:
    runs: dict[str, int] = {"a": 0, "b": 0}

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            runs[name] += 1

        return run

    with running({name: (job(name), 0.02) for name in runs}):
        assert until(lambda: min(runs.values()) >= 3)


def test_a_job_that_fails_is_logged_and_runs_again() -> None:
    runs: list[int] = []

    def fail() -> None:
        runs.append(1)
        raise StoreError("the store is away")

    with capture_logs() as logs, running({"fails": (fail, 0.02)}):
        assert until(lambda: len(runs) >= 3)
    first = next(entry for entry in logs if entry["event"] == "job_failed")
    assert (first["job"], first["error"], first["log_level"]) == ("fails", "the store is away", "error")


def test_a_slow_job_never_runs_beside_itself() -> None:
    at_once: list[int] = []
    inside = threading.Semaphore(1)

    def slow() -> None:
        at_once.append(int(inside.acquire(blocking=False)))
        time.sleep(0.1)
        inside.release()

    with running({"slow": (slow, 0.01)}):
        assert until(lambda: len(at_once) >= 3)
    assert all(at_once)


def test_stop_waits_for_the_running_job_and_starts_no_further_one() -> None:
    started, ended = threading.Event(), threading.Event()
    runs: list[int] = []

    def job() -> None:
        runs.append(1)
        started.set()
        time.sleep(0.2)
        ended.set()

    with running({"job": (job, 0.01)}):
        assert started.wait(10)
    assert ended.is_set()
    count = len(runs)
    time.sleep(0.1)
    assert len(runs) == count


def test_every_job_is_due_after_the_clock_was_set_and_only_then() -> None:
    """APScheduler plans by the time of day: set back by an hour, it would run this job two hours from now."""
    set_by, runs = [0.0], list[int]()
    scheduler = Scheduler({"hourly": (lambda: runs.append(1), 3600)}, clock=lambda: time.time() + set_by[0])
    scheduler.start()
    try:
        assert not until(lambda: runs, 2.5)
        set_by[0] = -3600.0
        assert until(lambda: len(runs) == 1)
        assert not until(lambda: len(runs) > 1, 2.5)
    finally:
        scheduler.stop()
