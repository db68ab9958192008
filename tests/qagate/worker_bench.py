"""A worker at the bench: a real queue and spool, and a network that misbehaves on demand."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from models.inputs import SliceInput, SliceOutput
from models.weights_file import WeightsError
from qagate.alerts import Alerter
from qagate.dicom.headers import read_header
from qagate.dicom.report import ReportIdentity
from qagate.dicom.spool import Spool
from qagate.gate.baseline import BaselineRules
from qagate.gate.policy import Policy
from qagate.gate.scoring import Scorer
from qagate.reporting import Destination, Reporter
from qagate.series import Series, State
from qagate.serving import Fixed, Models, Served, Serving
from qagate.shadow import Shadow
from qagate.store.baselines import Baselines
from qagate.store.calibrations import Calibrations
from qagate.store.engine import Store
from qagate.store.queue import Queue
from qagate.store.returns import Returns
from qagate.store.roles import Act, Roles
from qagate.store.shadows import Shadows
from qagate.store.views import SeriesHistory, Views
from qagate.watch import Watch
from qagate.worker import Worker

Logs = list[MutableMapping[str, Any]]
PHYSICIST = Alerter(("console://",), prefix="physicist-")
RULES = BaselineRules(warm_up=4, recent=4, drift_series=3)
POISON = {"RescaleIntercept": 3000}  # no tissue is so dense; the network below cannot bear it


class Network:
    """Judges slices by nothing; fails on poison, and waits when told to."""

    version, score_range, modalities = "1", (0.0, 1.0), ("CT",)

    def __init__(self, name: str = "test", quality: float = 0.9) -> None:
        self.name, self.weights_sha256, self.quality = name, name[0] * 64, quality
        self.batches: list[int] = []
        self.before: Callable[[], None] = lambda: None

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        self.batches.append(len(slices))
        self.before()
        if any(one.pixels.max() > 2500 for one in slices):
            raise RuntimeError("the network cannot bear this")
        good = SliceOutput(score=0.9, quality=self.quality, artefacts={"none": 1.0}, out_of_distribution=0.1)
        return [good] * len(slices)


class Bench:
    """A worker, and what it works on."""

    def __init__(self, store: Store, folder: Path, made: Any) -> None:
        self.store, self.queue, self.made = store, Queue(store), made
        self.returns = Returns(store)
        self.network, self.spool = Network(), Spool(folder / "spool")
        self.reports = folder / "reports"

    def worker(self, models: Models | None = None, **settings: Any) -> Worker:
        policy, watch = Policy(), Watch(baselines=Baselines(self.store), rules=RULES, physicist=PHYSICIST)
        reporter = Reporter(
            spool=self.spool,
            folder=self.reports,
            destinations=[Destination(name="pacs", results=True, images=True)],
            alerter=Alerter(()),
            alert_verdicts=(),
            identity=identity,
        )
        values: dict[str, Any] = {
            "batch_series": 4,
            "lease_s": 30.0,
            "timeout_s": 900.0,
            "max_attempts": 2,
            "poll_s": 0.01,
            "reporter": reporter,
        }
        return Worker(
            name="w1", queue=self.queue, returns=self.returns, spool=self.spool,
            policy=policy, watch=watch, models=models or Fixed(champion=Served(scorer=Scorer(self.network))),
            shadow=Shadow(shadows=Shadows(self.store), watch=watch, policy=policy), **(values | settings),
        )  # fmt: skip

    def receive(self, count: int = 3, **values: Any) -> str:
        """Spool and record one series that is not closed yet."""
        uid, paths = self.made.series(count, **values)
        self.arrive(paths)
        return str(uid)

    def arrive(self, paths: Sequence[Path]) -> None:
        for path in paths:
            temporary = Path(shutil.copy(path, self.spool.temporary()))
            placed = self.spool.place(temporary, read_header(path))
            self.queue.record([self.spool.read(placed.path)])

    def complete(self, count: int = 3, **values: Any) -> str:
        uid = self.receive(count, **values)
        self.close()
        return uid

    def close(self) -> None:
        for series in self.queue.receiving():
            assert self.queue.close(series, "quiet")

    def history(self, uid: str) -> SeriesHistory:
        found = Views(self.store).history(uid)
        assert found is not None
        return found

    def state(self, uid: str) -> State:
        return State(self.history(uid).row.state)

    def hurry(self) -> None:
        """Let the pause of a failed series be over."""
        with self.store.write() as connection:
            connection.exec_driver_sql("UPDATE series SET not_before = '2000-01-01 00:00:00.000000'")


def identity(series: Series) -> ReportIdentity:
    return ReportIdentity(
        series_instance_uid=series.series_instance_uid, revision=series.revision,
        device_uid="2.25.1", ae_title="QAGATE", software_version="0",
    )  # fmt: skip


@contextmanager
def working(worker: Worker) -> Iterator[Logs]:
    """Run the worker meanwhile; gives what it logs."""
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    with capture_logs() as logs:
        thread.start()
        try:
            yield logs
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()


def until(condition: Callable[[], object], limit_s: float = 30.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


class House:
    """Networks by name, some of which cannot be loaded."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.roles, self.loaded = bench, Roles(bench.store), []
        self.networks = {None: bench.network} | {
            name: Network(name, quality) for name, quality in (("alpha", 0.6), ("beta", 0.2))
        }
        self.broken: set[str] = set()

    def load(self, name: str | None) -> Scorer:
        self.loaded.append(name)
        if name in self.broken:
            raise WeightsError(f"weights of {name} are broken")
        return Scorer(self.networks[name])

    def serving(self) -> Serving:
        return Serving(
            roles=self.roles, calibrations=Calibrations(self.bench.store), load=self.load, worker="w1"
        )

    def act(self, act: Act, name: str | None = None, sha: str | None = None) -> None:
        sha = (name or "")[:1] * 64 if sha is None else sha
        self.roles.act(act, name=name, weights_sha256=sha, actor="anna", standing=self.roles.standing())

    def decided(self, **values: Any) -> tuple[str, str]:
        """One series through the worker that runs: its UID, and which model decided it."""
        uid = self.bench.complete(**values)
        assert until(lambda: self.bench.state(uid) is State.DECIDED)
        return uid, self.bench.history(uid).results[-1].assessment.model
