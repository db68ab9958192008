"""A Postgres of one's own: stopped, halted, started again, and listening where it is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest
from neighbours import free_port


class Postgres:
    """One cluster; `within` is a command that runs another, such as `ip netns exec NAME`."""

    def __init__(self, host: str = "127.0.0.1", within: tuple[str, ...] = ()) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        on_path = shutil.which("initdb")
        if not found and on_path is None:
            pytest.skip("no Postgres: install Debian's postgresql")
        if os.geteuid() == 0 and shutil.which("runuser") is None:
            pytest.skip("no runuser, and Postgres refuses to run as root")
        self._bin = found[-1].parent if found else Path(on_path or "").parent
        self.host, self.port, self._within = host, free_port(), within
        self.folder = Path(tempfile.mkdtemp(prefix="qagate-fault-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self.data = self.folder / "data"
        self._run("initdb", "-D", str(self.data), "-U", "qagate", "-A", "trust", "-E", "UTF8")
        with (self.data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write("host all all all trust\n")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://qagate@{self.host}:{self.port}/postgres"

    def start(self) -> Postgres:
        options = (
            f"-c listen_addresses={self.host} -c port={self.port} -c unix_socket_directories={self.folder}"
        )
        log = ("-l", str(self.folder / "log"))
        self._run("pg_ctl", "-D", str(self.data), "-w", *log, "-o", options, "start")
        return self

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", mode, "stop")

    def close(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.signal(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def signal(self, number: int) -> None:
        """Send a signal to the server and to every process of it."""
        head = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{head}/task/{head}/children").read_text().split()
        for process in (head, *map(int, children)):
            os.kill(process, number)

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement through the server's socket, whatever became of its network."""
        where = {"host": str(self.folder), "port": self.port, "user": "qagate", "dbname": "postgres"}
        with psycopg.connect(**where, autocommit=True) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(statement.encode())
            return list(cursor.fetchall()) if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._within]
        command += ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        # To a file, not a pipe: the server inherits it and would hold a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*command, str(self._bin / program), *arguments],
                stdout=output, stderr=output, cwd="/", check=False,
            )  # fmt: skip
            output.seek(0)
            assert done.returncode == 0, output.read().decode()[-2000:]
