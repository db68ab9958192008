"""Every store test runs on SQLite and on a real Postgres, started here or named by the environment."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from databases import (  # noqa: F401
    execute,
    postgres_server,
    postgres_template,
    sqlite_template,
    with_database,
)

from qagate.assessment import (
    Artefact,
    Assessment,
    Decision,
    Finding,
    Prompt,
    QualityMap,
    SliceScore,
    Verdict,
)
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.engine import Store, open_store
from qagate.store.queue import Queue

START = datetime(2026, 3, 1, 8, 0, 0, 250_000, tzinfo=UTC)


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without schema."""
    if request.param == "sqlite":
        (tmp_path / "qagate.db").touch()
        yield f"sqlite:///{tmp_path / 'qagate.db'}"
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"qagate_{uuid.uuid4().hex[:12]}"
    execute(server, f"CREATE DATABASE {name}")
    yield with_database(server, name)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes migrated, empty databases."""
    made: list[str] = []
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")

        def make() -> str:
            path = tmp_path / f"{uuid.uuid4().hex[:12]}.db"
            shutil.copy(template, path)
            return f"sqlite:///{path}"

        yield make
        return
    server: str = request.getfixturevalue("postgres_server")
    source: str = request.getfixturevalue("postgres_template")

    def make_postgres() -> str:
        name = f"qagate_{uuid.uuid4().hex[:12]}"
        execute(server, f"CREATE DATABASE {name} TEMPLATE {source}")
        made.append(name)
        return with_database(server, name)

    yield make_postgres
    for name in made:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def url(make_url: Callable[[], str]) -> str:
    """URL of a migrated, empty database."""
    return make_url()


@pytest.fixture
def clock() -> Clock:
    """The clock of `store`."""
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Store]:
    """An open store with that clock."""
    with open_store(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def queue(store: Store) -> Queue:
    """The queue of `store`."""
    return Queue(store)


Arrive = Callable[..., Received]


@pytest.fixture
def arrive(clock: Clock) -> Arrive:
    """Makes what a C-STORE would have reported, received now."""

    def make(series: str = "1.2.1", number: int = 1, *, sha256: str = "", **header: object) -> Received:
        values = {"modality": "CT", "station_name": "CT1"} | header
        return Received(
            instance=Instance(
                sop_instance_uid=f"{series}.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                series_instance_uid=series,
                study_instance_uid="1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                calling_ae_title="SCANNER",
                path=f"series/{series}/{number}{sha256}.dcm",
                sha256=sha256 or f"{number:064x}",
                size=1000,
                received_at=clock(),
            ),
            header=SeriesHeader(**values),  # type: ignore[arg-type]
        )

    return make


@pytest.fixture
def complete(queue: Queue, arrive: Arrive) -> Callable[..., None]:
    """Records a series and closes it."""

    def make(series: str = "1.2.1", count: int = 2, **header: object) -> None:
        queue.record([arrive(series, number, **header) for number in range(1, count + 1)])
        for open_series in queue.receiving():
            if open_series.series_instance_uid == series:
                assert queue.close(open_series, "quiet")

    return make


ASSESSMENT = Assessment(prompt=Prompt(dimension="3D", modality="CT"), quality=0.75, score=3.5, slice_count=2)
DECISION = Decision(verdict=Verdict.PASS, reasons=("good enough",), review_below=0.5, repeat_below=0.3)


MAP = QualityMap(rows=1, columns=2, low=0.25, high=1.5, cells=b"\x00\xff")


@pytest.fixture
def result() -> tuple[Assessment, Decision]:
    """Something to finish a series with."""
    return ASSESSMENT, DECISION


@pytest.fixture
def full_result() -> tuple[Assessment, Decision]:
    """Every field filled."""
    assessment = Assessment(
        prompt=Prompt(dimension="3D", modality="MR", region="head", type="t1", evidence=("EchoTime",)),
        quality=0.25,
        score=1.5,
        slices=(
            SliceScore(
                sop_instance_uid="1.2.1.1", frame_number=3, slice_number=1, score=1.0, quality=0.2,
                artefacts={"motion": 0.9}, quality_map=MAP,
            ),
        ),
        measures={"snr": 12.5},
        findings=(
            Finding(artefact=Artefact.MOTION, severity=0.5, text="ghosts", sop_instance_uids=("1.2.1.1",)),
        ),
        slice_count=9,
        model="default",
        model_version="1",
        weights_sha256="0" * 64,
    )  # fmt: skip
    decision = Decision(
        verdict=Verdict.REPEAT, reasons=("a", "b"), review_below=0.5, repeat_below=0.3, rule="r",
        policy_version="1",
    )  # fmt: skip
    return assessment, decision
