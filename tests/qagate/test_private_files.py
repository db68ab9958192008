"""What the gate writes can be read by its own user alone, whatever the shell's umask was."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (("init", "qagate.toml"), ("migrate",), ("check",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings, database and spool, made by commands under the usual umask."""
    folder = tmp_path_factory.mktemp("gate")
    for words in COMMANDS:
        settings = ("--config", "qagate.toml") if words[0] != "init" else ()
        command = [sys.executable, "-m", "qagate.cli", *settings, *words]
        subprocess.run(command, cwd=folder, umask=0o022, capture_output=True, check=False, timeout=120)
    return folder


@pytest.mark.parametrize("name", ["qagate.toml", "var", "var/qagate.db", "var/spool", "var/spool/incoming"])
def test_nobody_else_may_look(folder: Path, name: str) -> None:
    assert (folder / name).stat().st_mode & 0o077 == 0
