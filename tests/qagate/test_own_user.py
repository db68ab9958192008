"""Who runs the gate, and who else may read what it keeps."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from qagate import checks
from qagate.cli import main
from qagate.config import Settings


def user(data: Path) -> checks.CheckResult:
    return next(one for one in checks.run(Settings(data_dir=data)) if one.name == "user")


@pytest.mark.parametrize(("mode", "ok"), [(0o700, True), (0o750, True), (0o755, False), (0o701, False)])
def test_a_data_folder_that_is_open_to_all(mode: int, ok: bool, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    found = user(tmp_path / "data")
    assert found.ok is ok and (ok or "chmod -R o=" in found.message)


@pytest.mark.parametrize("number", [0, 1000])
def test_root_is_told(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: number)
    found = user(tmp_path / "data")
    assert found.ok and ("run it as a user of its own" in found.message) is (number == 0)


def test_a_commands_files_are_its_users_alone(tmp_path: Path) -> None:
    config = tmp_path / "qagate.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    assert CliRunner().invoke(main, ["-c", str(config), "migrate"]).exit_code == 0
    assert CliRunner().invoke(main, ["-c", str(config), "backup", str(tmp_path / "backup")]).exit_code == 0
    assert CliRunner().invoke(main, ["init", str(tmp_path / "new.toml")]).exit_code == 0
    made = [tmp_path / "data", tmp_path / "backup", tmp_path / "new.toml"]
    made += [one for folder in made[:2] for one in folder.rglob("*")]
    assert len(made) > 5
    assert not [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077]
