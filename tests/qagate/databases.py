"""A real Postgres, started here or named by the environment, and migrated databases to copy."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from qagate.store.migrate import migrate


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


def with_database(server: str, name: str) -> str:
    """URL of another database of the same server."""
    base, _, rest = server.rpartition("/")
    _, mark, query = rest.partition("?")
    return f"{base}/{name}{mark}{query}"


def execute(server: str, statement: str) -> None:
    """Run one statement outside a transaction."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """Name of a migrated database, to be copied."""
    name = f"qagate_template_{uuid.uuid4().hex[:8]}"
    execute(postgres_server, f"CREATE DATABASE {name}")
    migrate(with_database(postgres_server, name))
    yield name
    execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path
