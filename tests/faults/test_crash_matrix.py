"""kill -9 at every named step of the path; the role starts anew, and four promises hold.

No accepted instance is lost; each revision is decided once; the archive holds one report of each revision;
an alert is heard once, or is a dead letter that says so.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_gate import LIMIT_S, cell
from crash_series import series
from databases import execute, with_database
from neighbours import until
from steps import ALERTING, CLOSING, RECEPTION, SCORING, SENDING, Step

pytest_plugins = ("databases",)
pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

STEPS = (*RECEPTION, *CLOSING, *SCORING, *SENDING, *ALERTING)
IMAGES = 3


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database."""
    if database == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        yield f"sqlite:///{shutil.copy(template, tmp_path / 'qagate.db')}"
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"qagate_{uuid.uuid4().hex[:12]}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {request.getfixturevalue('postgres_template')}")
    yield with_database(server, name)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_kill(step: Step, database: str, url: str, tmp_path: Path) -> None:
    files = series(tmp_path / "made", IMAGES)
    with cell(tmp_path, url) as gate:
        armed = gate.start_all(step)
        gate.send(files)
        assert until(lambda: armed.killed, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
        gate.start(step.role)
        assert until(lambda: gate.send(files), LIMIT_S, 0.05), gate.logs()
        gate.settle()
        gate.keeps_its_promises("kill -9", step, database, revived=gate.revive())
