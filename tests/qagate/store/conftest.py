"""Every store test runs on SQLite and on a real Postgres, started here or named by the environment."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

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
from qagate.store.migrate import migrate
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


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _as_owner(command: list[str]) -> list[str]:
    """Postgres refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


def _run(command: list[str]) -> None:
    # To a file, not a pipe: the server inherits it and would hold a pipe open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(_as_owner(command), stdout=output, stderr=output, cwd="/", check=False)
        output.seek(0)
        if done.returncode:
            pytest.fail(f"{Path(command[0]).name} failed: {output.read().decode()[-2000:]}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a Postgres where databases may be created."""
    given = os.environ.get("QAGATE_TEST_POSTGRES_URL")
    if given:
        yield given.replace("postgresql+psycopg://", "postgresql://")
        return
    programs = _postgres_bin()
    if programs is None:
        pytest.skip("no Postgres: install Debian's postgresql or set QAGATE_TEST_POSTGRES_URL")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("no runuser, and Postgres refuses to run as root")
    folder = Path(tempfile.mkdtemp(prefix="qagate-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    try:
        _run([str(programs / "initdb"), "-D", str(data), "-U", "qagate", "-A", "trust", "-E", "UTF8"])
        _run(
            [
                str(programs / "pg_ctl"),
                "-D",
                str(data),
                "-w",
                "-l",
                str(folder / "log"),
                "-o",
                options,
                "start",
            ]
        )
        try:
            yield f"postgresql://qagate@127.0.0.1:{port}/postgres"
        finally:
            _run([str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_database(server: str, name: str) -> str:
    base, _, rest = server.rpartition("/")
    _, mark, query = rest.partition("?")
    return f"{base}/{name}{mark}{query}"


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """Name of a migrated database, to be copied."""
    name = f"qagate_template_{uuid.uuid4().hex[:8]}"
    _execute(postgres_server, f"CREATE DATABASE {name}")
    migrate(_with_database(postgres_server, name))
    yield name
    _execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without schema."""
    if request.param == "sqlite":
        (tmp_path / "qagate.db").touch()
        yield f"sqlite:///{tmp_path / 'qagate.db'}"
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"qagate_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name}")
    yield _with_database(server, name)
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


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
        _execute(server, f"CREATE DATABASE {name} TEMPLATE {source}")
        made.append(name)
        return _with_database(server, name)

    yield make_postgres
    for name in made:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


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
