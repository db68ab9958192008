"""`qagate models` and `qagate baselines`: from a house's own weights to the champion, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from models.weights_file import WEIGHTS, read_tensors
from qagate.cli import main


def qagate(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def heads(path: Path, shift: float) -> Path:
    """The shipped heads, whose scores are shifted."""
    tensors = load_file(WEIGHTS / "default.safetensors")
    for modality in ("CT", "MR"):
        bias = tensors[f"{modality}.bias"].copy()
        bias[0] += np.float32(shift)
        tensors[f"{modality}.bias"] = bias
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=read_tensors(WEIGHTS / "default.safetensors")[1])
    return path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a place with an empty database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QAGATE_CONFIG", raising=False)
    path = tmp_path / "qagate.toml"
    assert qagate("init", path).exit_code == 0 and qagate("-c", path, "migrate").exit_code == 0
    return path


def names_with_role(config: Path) -> dict[str, str]:
    rows = json.loads(qagate("-c", config, "models", "--json").output)
    return {row["name"]: row["role"] for row in rows if row["role"]}


def test_listing_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = json.loads(qagate("models", "--json").output)
    assert [row["role"] for row in rows if row["name"] == "default"] == ["champion"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "qagate.toml").write_text("")
    assert qagate("models").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["qagate.toml"]


def test_add_shadow_promote_and_back(config: Path, tmp_path: Path) -> None:
    run = heads(tmp_path / "run" / "heads.safetensors", -0.05).parent
    added = qagate("-c", config, "models", "add", run, "--name", "ours")
    assert added.exit_code == 0 and "for CT and MR" in added.output, added.output
    again = qagate("-c", config, "models", "add", run, "--name", "ours")
    assert again.exit_code == 1 and "already" in again.output
    assert names_with_role(config) == {"default": "champion"}

    none = qagate("-c", config, "models", "compare")
    assert none.exit_code == 1 and "no challenger" in none.output
    assert qagate("-c", config, "models", "shadow").exit_code == 2
    champion = qagate("-c", config, "models", "shadow", "default")
    assert champion.exit_code == 1 and "is champion" in champion.output
    assert qagate("-c", config, "models", "shadow", "ours", "--by", "anna").exit_code == 0
    assert names_with_role(config) == {"default": "champion", "ours": "challenger"}
    status = json.loads(qagate("-c", config, "status", "--json").output)["models"]
    assert (status["champion"]["name"], status["challenger"]["name"]) == ("default", "ours")
    assert status["challenger"]["actor"] == "anna"
    assert "challenger ours: 0 series scored" in qagate("-c", config, "status").output

    compared = qagate("-c", config, "models", "compare")
    assert compared.exit_code == 0 and "nothing was compared" in compared.output
    refused = qagate("-c", config, "models", "promote", "ours")
    assert refused.exit_code == 1 and "nothing was compared" in refused.output and "--force" in refused.output
    silent = qagate("-c", config, "models", "promote", "ours", "--force")
    assert silent.exit_code == 1 and "needs a reason" in silent.output
    assert names_with_role(config)["default"] == "champion"
    forced = qagate(
        "-c", config, "models", "promote", "ours", "--force", "--reason", "a test", "--by", "anna"
    )
    assert forced.exit_code == 0 and "forced" in forced.output
    assert names_with_role(config) == {"ours": "champion"}
    assert "model: ours" in qagate("-c", config, "check").output
    twice = qagate("-c", config, "models", "promote", "ours")
    assert twice.exit_code == 1 and "champion already" in twice.output

    assert qagate("-c", config, "models", "rollback").output == "default is champion\n"
    assert names_with_role(config) == {"default": "champion"}
    nothing = qagate("-c", config, "models", "rollback")
    assert nothing.exit_code == 1 and "no former champion" in nothing.output
    acts = json.loads(qagate("-c", config, "models", "history", "--json").output)
    assert [act["act"] for act in acts] == ["rollback", "promote", "shadow"]
    assert (acts[1]["actor"], acts[1]["reason"], acts[1]["forced"]) == ("anna", "a test", True)
    assert "nothing was compared" in acts[1]["evidence"]["objections"][0]
    assert "promote (forced) ours" in qagate("-c", config, "models", "history").output
    off = qagate("-c", config, "models", "shadow", "--off")
    assert off.exit_code == 1 and "no challenger" in off.output


def test_files_that_changed_get_no_role(config: Path, tmp_path: Path) -> None:
    weights = heads(tmp_path / "heads.safetensors", -0.05)
    assert qagate("-c", config, "models", "add", weights, "--name", "ours").exit_code == 0
    assert qagate("-c", config, "models", "shadow", "ours").exit_code == 0
    (file,) = (tmp_path / "var" / "models").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    for act in (["promote", "ours", "--force", "--reason", "x"], ["shadow", "ours"]):
        refused = qagate("-c", config, "models", *act)
        assert refused.exit_code == 1 and "sha256" in refused.output, refused.output
    checked = qagate("-c", config, "check")
    assert checked.exit_code == 1 and "FAILED  challenger" in checked.output
    unknown = qagate("-c", config, "models", "promote", "unheard-of")
    assert unknown.exit_code == 1 and "there is no model 'unheard-of'" in unknown.output


def test_baselines_of_a_new_place(config: Path) -> None:
    assert "no series was decided" in qagate("-c", config, "baselines").output
    assert json.loads(qagate("-c", config, "baselines", "--json").output) == []
    silent = qagate("-c", config, "baselines", "accept", 1)
    assert silent.exit_code == 1 and "--reason" in silent.output
    unknown = qagate("-c", config, "baselines", "accept", 1, "--reason", "new coil")
    assert unknown.exit_code == 1 and "no baseline 1" in unknown.output


def test_a_running_gate_takes_up_the_promoted_model(
    make_gate: Callable[..., Any], made: Any, tmp_path: Path
) -> None:
    gate = make_gate(
        promotion={"min_cases": 3},
        baseline={"warm_up": 3, "recent": 3, "window": 10, "drift_series": 2},
        alerts={"physicist_urls": ["console://"]},
        rule=[
            {"name": "low", "review_below": 0.05, "repeat_below": 0.02}
            | {"review_below_baseline": 0.5, "repeat_below_baseline": 1.0}
        ],
    )

    def decided(**values: Any) -> Any:
        uid, files = made.series(3, ProtocolName="Head", **values)
        gate.send(files)
        return gate.ended(uid).results[-1]

    def run(*arguments: object) -> Result:
        return qagate("-c", gate.config, *arguments)

    assert decided().assessment.model == "default"
    assert run("models", "add", heads(tmp_path / "a.safetensors", -0.001), "--name", "near").exit_code == 0
    assert run("models", "add", heads(tmp_path / "b.safetensors", -1.0), "--name", "far").exit_code == 0
    assert run("models", "shadow", "near").exit_code == 0
    for _ in range(3):
        assert decided().assessment.model == "default"

    def scored() -> bool:
        return json.loads(run("status", "--json").output)["models"]["shadow_scored"] == 3

    assert gate.until(scored), run("status").output
    compared = json.loads(run("models", "compare", "--json").output)
    assert compared["objections"] == [] and compared["groups"][0]["cases"] == 3
    assert {group["by"] for group in compared["groups"]} >= {"all", "scanner", "region", "modality"}
    reported = run("models", "report", "--out", tmp_path / "acceptance.html", "--pdf")
    assert reported.exit_code == 0 and "nothing speaks against" in reported.output, reported.output
    told = (tmp_path / "acceptance.html").read_text()
    assert "3, 3 of them with a quality from both" in told and "acceptance report: near" in told.casefold()
    assert "NOBODY" not in told and not re.search(r"\b\d(\.\d+){5,}", told), "no patient, no UID"
    assert (tmp_path / "acceptance.pdf").read_bytes().startswith(b"%PDF-")
    promoted = run("models", "promote", "near", "--reason", "agrees")
    assert promoted.exit_code == 0, promoted.output
    pids = {event["pid"] for event in gate.events("role_started")}
    first = decided()
    assert first.assessment.model == "near" and first.decision.baseline is not None, "its baseline is warm"

    forced = run("models", "promote", "far", "--force", "--reason", "to see it drift")
    assert forced.exit_code == 0, forced.output
    for _ in range(4):
        result = decided()
        assert result.assessment.model == "far" and result.decision.verdict.value == "REPEAT", result
    shown = run("status").output
    assert "champion far" in shown and "baselines that need the physicist" in shown, shown
    (row,) = json.loads(run("baselines", "--json").output)
    assert row["alarm"] == "low" and row["protocol_name"] == "Head"
    accepted = run("baselines", "accept", str(row["baseline_id"]), "--reason", "a test")
    assert accepted.exit_code == 0 and "its median is" in accepted.output
    assert run("models", "rollback").output == "near is champion\n"
    assert decided().assessment.model == "near"
    assert {event["pid"] for event in gate.events("role_started")} == pids, "without a restart"
    assert gate.until(lambda: "Protocol scores low" in gate.log.read_text())
    assert gate.stop() == 0
