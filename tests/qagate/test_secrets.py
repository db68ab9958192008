"""Secrets come from the environment or a folder, and are in nothing that qagate prints."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from click.testing import CliRunner

from qagate import config, config_template
from qagate.cli import main
from qagate.config import ConfigError, Settings

SECRET = "hUsh-4711"
URLS = {
    "QAGATE_DATABASE_URL": f"postgresql+psycopg://qagate:{SECRET}@127.0.0.1:1/qagate",
    "QAGATE_ALERTS__URLS": f'["mailto://qagate:{SECRET}@127.0.0.1:1"]',
    "QAGATE_ALERTS__PHYSICIST_URLS": f'["json://127.0.0.1:1/{SECRET}"]',
    "QAGATE_WEB__OIDC__CLIENT_SECRET": SECRET,
}


def in_files(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, value in URLS.items():
        (folder / name).write_text(value + "\n")
    return folder


def values(settings: Settings) -> list[str]:
    of = settings.alerts
    found = [settings.database_url, *of.urls, *of.physicist_urls, settings.web.oidc.client_secret]
    return [secret.get_secret_value() for secret in found]


@pytest.mark.parametrize("where", ["QAGATE_SECRETS_DIR", "CREDENTIALS_DIRECTORY", "environment"])
def test_they_are_taken(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if where == "environment":
        for name, value in URLS.items():
            monkeypatch.setenv(name, value)
    else:
        monkeypatch.setenv(where, str(in_files(tmp_path / "secrets")))
    (tmp_path / "qagate.toml").write_text('database_url = "sqlite:////nowhere.db"\n[web]\nenabled = false\n')
    settings = config.load(tmp_path / "qagate.toml")
    assert all(SECRET in value for value in values(settings)) and len(values(settings)) == 4
    assert SECRET in settings.store_url and not settings.web.enabled
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown and "hUsh" not in shown


def test_the_environment_wins_over_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAGATE_SECRETS_DIR", str(in_files(tmp_path / "secrets")))
    monkeypatch.setenv("QAGATE_DATABASE_URL", "sqlite:////other.db")
    assert config.load(None).store_url == "sqlite:////other.db"


def test_other_files_of_the_folder_are_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "other-service").write_bytes(b"\xff")
    (tmp_path / "QAGATE_FOLDER").mkdir()
    assert config.load(None).store_url.startswith("sqlite:")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\xff" + SECRET.encode(), "is no UTF-8 text"), (SECRET.encode() * 9000, "has more than 64 KiB")],
)
def test_a_file_that_is_none(data: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAGATE_SECRETS_DIR", str(tmp_path))
    (tmp_path / "QAGATE_DATABASE_URL").write_bytes(data)
    with pytest.raises(ConfigError, match=said) as raised:
        config.load(None)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_a_value_that_cannot_be_used_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("QAGATE_ALERTS__URLS", f"mailto://{SECRET}"), ("QAGATE_DATABASE_URL", SECRET)):
        monkeypatch.setenv(name, value)
        said = CliRunner().invoke(main, ["check"])
        assert said.exit_code == 1 and SECRET not in said.output, name
        monkeypatch.delenv(name)


def test_no_command_shows_them(tmp_path: Path) -> None:
    """In a process of its own, tracebacks and all; the database and the mail server do not answer."""
    (tmp_path / "qagate.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n')
    environment = os.environ | {"QAGATE_SECRETS_DIR": str(in_files(tmp_path / "secrets"))}
    shown = ""
    for command in (
        ["check"],
        ["serve"],
        ["worker"],
        ["status"],
        ["migrate"],
        ["--help"],
        ["check", "--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "qagate.cli", "--config", str(tmp_path / "qagate.toml"), *command],
            capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert (done.returncode == 0) == ("--help" in command), (command, done.stderr)
        shown += done.stdout + done.stderr
    assert "mailto" in shown and "127.0.0.1" in shown and SECRET not in shown


def test_the_template_shows_defaults_and_no_stars() -> None:
    said = config_template.template()
    assert '#urls = ["console://"]' in said and '#database_url = ""' in said and "***" not in said
