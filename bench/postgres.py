"""A PostgreSQL server of the bench's own, with Debian's programs, on 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import free_port


@contextmanager
def postgres() -> Iterator[str]:
    """SQLAlchemy URL of an empty database, until the end of the block. Flushes to disk, as in service."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise SystemExit("DATABASE=postgres needs PostgreSQL: make system-test-deps")
    programs, port = found[-1].parent, free_port()
    folder = Path(tempfile.mkdtemp(prefix="qagate-bench-pg-"))
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
    data, log = str(folder / "data"), str(folder / "log")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
    try:
        _run(programs / "initdb", "-D", data, "-U", "qagate", "-A", "trust", "-E", "UTF8")
        _run(programs / "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            yield f"postgresql+psycopg://qagate@127.0.0.1:{port}/postgres"
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str | Path) -> None:
    owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryFile() as output:  # a pipe would be held open by the server
        done = subprocess.run(
            [*owner, *map(str, command)], stdout=output, stderr=output, cwd="/", check=False
        )
        output.seek(0)
        if done.returncode:
            raise SystemExit(f"{command[0]} failed: {output.read().decode()[-2000:]}")
