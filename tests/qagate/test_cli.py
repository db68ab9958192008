"""Every command: its help, its exit codes, its machine-readable output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from qagate import __version__
from qagate.cli import main

OWN = (
    *("audit", "backup", "baselines", "check", "echo", "fsck", "init", "migrate", "models", "receiver"),
    *("reconcile", "release", "replay", "requeue", "restore", "score", "send"),
    *("serve", "services", "status", "worker"),
)
PARTS_OF_PROMPT = {"dimension", "modality", "region", "type", "evidence"}


def qagate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ./qagate.toml and no setting of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QAGATE_CONFIG", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A settings file as `init` writes it."""
    path = tmp_path / "qagate.toml"
    assert qagate("init", path).exit_code == 0
    return path


# -- help and usage ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *OWN])
def test_help(command: str) -> None:
    for flag in ("--help", "-h"):
        said = qagate(*command.split(), flag)
        assert said.exit_code == 0 and said.output.startswith("Usage: ")
    if not command:
        assert all(f"  {name} " in said.output for name in OWN)


def test_version() -> None:
    assert __version__ in qagate("--version").output


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["score"], ["send"], ["echo"], ["status", "--limit", "x"], ["score", "/no/such/place"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    said = qagate(*arguments)
    assert said.exit_code == 2 and "Usage: " in said.output


def test_requeue_needs_to_be_told_what(config: Path) -> None:
    said = qagate("-c", config, "requeue")
    assert said.exit_code == 2 and "--failed" in said.output


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "qagate.cli", "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("Error: no settings: run `qagate init`") and "Traceback" not in done.stderr


# -- settings ----------------------------------------------------------------------------------


def test_init(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    assert qagate("init", path).exit_code == 0
    written = path.read_text()
    assert "[receiver]" in written and "#port = 11112" in written
    again = qagate("init", path)
    assert again.exit_code == 1 and "--force" in again.output
    assert qagate("init", path, "--force").exit_code == 0
    assert qagate("init", "--stdout").output == written
    assert qagate("init", tmp_path / "no" / "such" / "folder.toml").exit_code == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[receiver]\nport = 'eleven'\n", "receiver.port"),
        ("[receiver]\nprot = 11112\n", "receiver.prot: no such setting"),
        ("mode = 'forward'\n", "no [[archive]] takes images"),
        ("this is no TOML\n", "not valid TOML"),
        ("[assembly]\nshort_quiet_s = 20\n", "short_quiet_s"),
        ("[[rule]]\nname = 'a'\nreview_below = 0.2\nrepeat_below = 0.4\n", "repeat_below"),
        ("[[archive]]\nname = 'p'\nhost = 'h'\nae_title = 'MUCH TOO LONG A TITLE'\n", "ae_title"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    for command in ("check", "status", "migrate"):
        result = qagate("-c", path, command)
        assert result.exit_code == 1 and said in result.output, result.output


def test_missing_settings_are_named(tmp_path: Path) -> None:
    result = qagate("-c", tmp_path / "none.toml", "check")
    assert result.exit_code == 1 and "qagate init" in result.output


# -- check, migrate, models, echo, send --------------------------------------------------------


def test_check_migrate_status_of_a_new_place(config: Path) -> None:
    checked = qagate("-c", config, "check")
    assert checked.exit_code == 0, checked.output
    for line in ("settings", "spool", "database: empty", "model: default", "policy", "alerts", "archives"):
        assert f"ok      {line}" in checked.output
    assert "schema (none) -> " in qagate("-c", config, "migrate").output
    assert "nothing to do" in qagate("-c", config, "migrate").output
    assert "ok      database: schema " in qagate("-c", config, "check").output
    shown = qagate("-c", config, "status")
    assert shown.exit_code == 0 and "no series yet" in shown.output
    empty = {"counts": {}, "series": [], "stuck": [], "refused": [], "conflicts": []}
    empty |= {"held": {"count": 0, "since": None}}
    told = json.loads(qagate("-c", config, "status", "--json").output)
    assert {key: told[key] for key in empty} == empty and set(told) == {*empty, "models", "baselines"}
    assert (told["models"]["champion"]["name"], told["baselines"]["warm"]) == ("default", 0)
    assert qagate("-c", config, "requeue", "--dead", "--failed").output == "requeued 0\n"
    unknown = qagate("-c", config, "status", "1.2.3")
    assert unknown.exit_code == 1 and "1.2.3 is not known" in unknown.output


def test_check_names_what_fails(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    archive = "[[archive]]\nname = 'gone'\nae_title = 'GONE'\nhost = '127.0.0.1'\nport = 1\n"
    top = f"data_dir = {json.dumps(str(tmp_path / 'file' / 'data'))}\n"
    config.write_text(f"{top}[worker]\nmodel = 'unheard-of'\n{archive}")
    said = qagate("-c", config, "check")
    assert said.exit_code == 1 and "Traceback" not in said.output
    failed = [line for line in said.output.splitlines() if line.startswith("FAILED")]
    assert [line.split(":")[0].split("  ")[1] for line in failed] == [
        "spool", "database", "model", "archive gone",
    ]  # fmt: skip
    assert "there is no model 'unheard-of'" in said.output


def test_models() -> None:
    (default,) = [row for row in json.loads(qagate("models", "--json").output) if row["default"]]
    assert default["name"] == "default" and default["parameters"] > 0
    shown = qagate("models")
    assert shown.exit_code == 0 and "default" in shown.output


def test_nobody_there(config: Path, made: Any) -> None:
    assert qagate("echo", "127.0.0.1:1").exit_code == 1
    unknown = qagate("-c", config, "echo", "pacs")
    assert unknown.exit_code == 1 and "no archive is named 'pacs'" in unknown.output
    assert qagate("send", made.slice(), "--to", "127.0.0.1:1").exit_code == 1
    assert "HOST:PORT" in qagate("send", made.slice(), "--to", "nowhere").output


# -- score -------------------------------------------------------------------------------------


def check_score(row: dict[str, Any]) -> None:
    """One line of `score --json`."""
    assert isinstance(row["series_instance_uid"], str) and Path(row["path"]).exists()
    assert row["verdict"] in ("PASS", "REVIEW", "REPEAT", "NOT_ASSESSED")
    for key in ("quality", "score"):
        assert isinstance(row[key], float) != (row["verdict"] == "NOT_ASSESSED" and row[key] is None)
    assert row["quality"] is None or 0 <= row["quality"] <= 1
    assert isinstance(row["reasons"], list) and row["reasons"]
    assert all(isinstance(reason, str) and reason for reason in row["reasons"])
    assert all(isinstance(value, int | float) for value in row["measures"].values())
    assert set(row["prompt"]) >= PARTS_OF_PROMPT
    assert row["model"]["name"] == "default" and len(row["model"]["weights_sha256"]) == 64


def test_score(made: Any, tmp_path: Path) -> None:
    uid, files = made.series(9)
    other, (lone,) = made.series(1, PixelData=None)
    said = qagate("score", "--json", *files, lone)
    assert said.exit_code == 0, said.output
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert [row["series_instance_uid"] for row in rows] == [uid, other]
    for row in rows:
        check_score(row)
    assert rows[0]["quality"] is not None and "noise_hu" in rows[0]["measures"]
    assert rows[1]["verdict"] == "NOT_ASSESSED" and rows[1]["path"] == str(lone)
    shown = qagate("score", *files)
    assert shown.exit_code == 0 and rows[0]["verdict"] in shown.output and "CT head" in shown.output


def test_score_names_files_that_are_none(made: Any, tmp_path: Path) -> None:
    junk = tmp_path / "junk.dcm"
    junk.write_bytes(b"no image")
    said = qagate("score", "--json", junk, made.slice())
    assert said.exit_code == 1 and str(junk) in said.stderr
    check_score(json.loads(said.stdout))
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert qagate("score", nothing).exit_code == 1
    assert qagate("score", made.slice(), "--model", "unheard-of").exit_code == 1


def test_score_of_a_real_series(real_series: dict[str, list[Path]]) -> None:
    folder = real_series["mr_head_t1_defaced_pddl"][0].parent
    said = qagate("score", "--json", folder)
    assert said.exit_code == 0, said.stderr
    (row,) = [json.loads(line) for line in said.stdout.splitlines()]
    check_score(row)
    assert row["path"] == str(folder) and row["prompt"]["modality"] == "MR"


# -- a gate that runs --------------------------------------------------------------------------


def test_send_echo_status_requeue_and_stop(make_gate: Callable, made: Any) -> None:
    gate = make_gate()
    address = f"127.0.0.1:{gate.port}"
    assert qagate("echo", address, "--called", "QAGATE").output == f"{address} answers\n"
    assert qagate("echo", address, "--called", "NOT-IT").exit_code == 1
    uid, files = made.series(4)
    sent = qagate("send", *files, "--to", address)
    assert sent.exit_code == 0 and "sent 4 of 4 files" in sent.output
    bad = qagate("send", made.slice(StudyInstanceUID=None), "--to", address)
    assert bad.exit_code == 1 and "sent 0 of 1 files" in bad.output
    gate.ended(uid)
    status = json.loads(qagate("-c", gate.config, "status", "--json").output)
    (row,) = status["series"]
    assert row["series_instance_uid"] == uid and row["instance_count"] == 4 and row["verdict"]
    refused, rejected = status["refused"]
    assert refused["status"] == 0xC000 and "StudyInstanceUID" in refused["reason"]
    assert "calls another AE title" in rejected["reason"]
    assert (
        json.loads(qagate("-c", gate.config, "status", "--state", "failed", "--json").output)["series"] == []
    )
    shown = qagate("-c", gate.config, "status")
    assert uid[-9:] in shown.output and "StudyInstanceUID is missing" in shown.output
    again = qagate("-c", gate.config, "requeue", uid[-12:])
    assert again.output == "requeued 1\n"
    history = gate.ended(uid, revision=2)
    assert [result.revision for result in history.results] == [1, 2]
    text = qagate("-c", gate.config, "status", uid).output
    assert "revision 2, decided" in text and f"{uid}, revision 2\nReport" in text
    told = json.loads(qagate("-c", gate.config, "status", uid, "--json").output)
    assert [result["revision"] for result in told["results"]] == [1, 2]
    second = gate.run("receiver")
    assert second.returncode == 1 and "Error: " in second.stderr and "Traceback" not in second.stderr
    assert gate.stop() == 0
