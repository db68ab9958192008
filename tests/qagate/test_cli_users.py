"""`qagate users` and the role `web` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from neighbours import ENVIRONMENT, free_port, until

from qagate.cli import main
from qagate.config import load
from qagate.store.engine import open_store
from qagate.store.logins import Logins
from qagate.web.security.sessions import fingerprint

PASSWORD = "three quiet lemons"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "qagate.toml"
    path.write_text("data_dir = 'data'\n", encoding="utf-8")
    return path


def users(config: Path, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, ["--config", str(config), "users", *arguments], input=typed)


def test_users_from_first_to_last(config: Path) -> None:
    assert "makes the first" in users(config, "list").output
    made = users(config, "add", "Anna", "--role", "admin", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert (made.exit_code, made.output.splitlines()[-1]) == (0, "added anna, admin")
    assert PASSWORD not in made.output
    assert users(config, "add", "rudi", "--role", "viewer", "--password-stdin", typed=PASSWORD).exit_code == 0
    assert users(config, "role", "rudi", "radiographer").output == "rudi is radiographer now\n"
    assert users(config, "password", "rudi", "--password-stdin", typed="five loud lemons\n").exit_code == 0
    token = users(config, "token", "rudi", "--for", "grafana").output.strip()
    with open_store(load(config).store_url) as store:
        owner = Logins(store).whose_token(fingerprint(token))
    assert owner is not None and owner.name == "rudi"
    assert "may not log in any more" in users(config, "disable", "rudi").output
    listed = [json.loads(line) for line in users(config, "list", "--json").output.splitlines()]
    assert [(one["name"], one["role"], one["notes"]) for one in listed] == [
        ("anna", "admin", []),
        ("rudi", "radiographer", ["disabled"]),
    ]
    assert "may log in again" in users(config, "disable", "rudi", "--undo").output


@pytest.mark.parametrize(
    ("arguments", "typed", "said"),
    [
        (["add", "anna", "--role", "viewer"], "", "already; `qagate users password anna`"),
        (["add", "a b", "--role", "viewer", "--no-password"], "", "no user name"),
        (["add", "eve", "--role", "viewer", "--password-stdin"], "short\n", "has 5 characters"),
        (["add", "eve", "--role", "viewer", "--password-stdin"], "eve-eve-eve-eve\n", "easy to guess"),
        (["add", "eve", "--role", "admin", "--wall", "--no-password"], "", "viewer or radiographer"),
        (["role", "nobody", "viewer"], "", "`qagate users list`"),
        (["disable", "anna"], "", "only administrator left"),
        (["token", "nobody", "--for", "x"], "", "`qagate users list`"),
        (["password", "machine", "--password-stdin"], PASSWORD, "logs in by proxy"),
    ],
)
def test_what_does_not_go_names_the_mend(config: Path, arguments: list[str], typed: str, said: str) -> None:
    users(config, "add", "anna", "--role", "admin", "--password-stdin", typed=PASSWORD)
    users(config, "add", "machine", "--role", "viewer", "--no-password")
    done = users(config, *arguments, typed=typed)
    assert done.exit_code == 1 and said in done.output and "Traceback" not in done.output


def start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        command = [sys.executable, "-m", "qagate.cli", "--config", str(config), "web"]
        return subprocess.Popen(command, stdout=out, stderr=out, env=ENVIRONMENT)


def test_the_role_web_serves_and_drains(config: Path, tmp_path: Path) -> None:
    port = free_port()
    config.write_text(f"data_dir = 'data'\n[web]\nport = {port}\n", encoding="utf-8")
    process = start(config, tmp_path / "log")

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                return bool(answer.read() == b"ok\n")
        except OSError:
            return False

    try:
        assert until(answers, 60), (tmp_path / "log").read_text()
        second = start(config, tmp_path / "log2")
        assert second.wait(60) == 1, "the port is taken"
        assert "set web.port to a free one" in (tmp_path / "log2").read_text()
    finally:
        process.terminate()
    assert process.wait(30) == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["web_ready", "no_user_yet", "web_stopped"]
    assert "torch" not in subprocess.run(
        [sys.executable, "-c", "import sys, qagate.web.serve; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
