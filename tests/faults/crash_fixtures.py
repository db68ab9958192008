"""A database for each cell of the crash matrix: SQLite and Postgres."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import (  # noqa: F401
    execute,
    postgres_server,
    postgres_template,
    sqlite_template,
    with_database,
)


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
