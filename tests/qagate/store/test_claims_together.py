"""Claims from several processes at once, and from one that is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

from qagate.assessment import Assessment, Decision
from qagate.series import Received
from qagate.store.engine import Store, open_store, utc_now
from qagate.store.queue import Queue
from qagate.store.views import Views

CLAIM_ALL = """
import sys
from qagate.store.engine import open_store
from qagate.store.queue import Queue
queue = Queue(open_store(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
while (series := queue.claim(sys.argv[2], 600)) is not None:
    print(series.series_instance_uid, series.revision, len(series.instances), flush=True)
"""

CLAIM_AND_HANG = """
import sys, time
from qagate.store.engine import open_store
from qagate.store.queue import Queue
print(Queue(open_store(sys.argv[1])).claim("doomed", 1.0).series_instance_uid, flush=True)
time.sleep(600)
"""


def _start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_four_processes_claim_every_series_once(
    url: str, store: Store, queue: Queue, arrive: Callable[..., Received]
) -> None:
    uids = [f"1.2.{number}" for number in range(400)]
    queue.record([arrive(uid, number) for uid in uids for number in (1, 2)])
    for series in queue.receiving():
        assert queue.close(series, "quiet")
    workers = [_start(CLAIM_ALL, url, f"worker-{number}") for number in range(4)]
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    outputs = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        outputs.append(worker.communicate(timeout=120)[0].splitlines())
        assert worker.returncode == 0
    claimed = Counter(line for output in outputs for line in output)
    assert claimed == Counter(f"{uid} 1 2" for uid in uids)
    assert Views(store).overview().counts == {"SCORING": 400}


def test_kill_9_of_the_claimer(
    url: str, arrive: Callable[..., Received], result: tuple[Assessment, Decision]
) -> None:
    with open_store(url, clock=utc_now) as store:
        queue = Queue(store)
        queue.record([arrive()])
        assert queue.close(queue.receiving()[0], "quiet")
        victim = _start(CLAIM_AND_HANG, url)
        assert victim.stdout is not None and victim.stdout.readline() == "1.2.1\n"
        victim.kill()
        victim.communicate()
        assert queue.claim("next", 60) is None, "the lease still runs"
        assert queue.reap(3) == 0
        deadline = time.monotonic() + 30
        while queue.reap(3) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        series = queue.claim("next", 60)
        assert series is not None
        assert (series.attempts, series.revision) == (2, 1)
        assert queue.finish(series, *result, [])
        assert Views(store).overview().counts == {"DELIVERED": 1}
