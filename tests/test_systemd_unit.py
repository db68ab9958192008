"""The unit: systemd itself reads it without complaint, and its limits fit those of the settings."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qagate import app
from qagate.config import Settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy/systemd"
ANALYZE = shutil.which("systemd-analyze") or ""


def unit() -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(FOLDER / "qagate.service")
    return dict(parser["Service"])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as it is installed, with a program that exists here."""
    if not ANALYZE:
        pytest.skip("systemd-analyze is not installed (Debian systemd)")
    text = (FOLDER / "qagate.service").read_text(encoding="utf-8")
    path = tmp_path / "qagate.service"
    path.write_text(text.replace("/opt/qagate/bin/qagate", sys.executable), encoding="utf-8")
    return path


def test_systemd_takes_it(installed: Path) -> None:
    done = subprocess.run([ANALYZE, "verify", str(installed)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("extra", ["gpu.conf", "port-104.conf"])
def test_systemd_takes_it_with_a_drop_in(installed: Path, extra: str) -> None:
    folder = installed.with_name("qagate.service.d")
    folder.mkdir()
    shutil.copy(FOLDER / extra, folder)
    done = subprocess.run([ANALYZE, "verify", str(installed)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_its_exposure_is_the_figure_of_the_docs(installed: Path) -> None:
    done = subprocess.run(
        [ANALYZE, "security", "--offline=yes", "--threshold=20", str(installed)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found and done.returncode == 0, "more than 2.0"
    version = subprocess.run([ANALYZE, "--version"], capture_output=True, text=True, check=True).stdout
    if version.startswith("systemd 252"):
        assert f"exposure {found[1]}" in (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def test_its_limits_fit_the_settings() -> None:
    of = unit()
    assert int(of["TimeoutStopSec"]) > Settings().drain_s + app._ABORT_S, "drained before systemd kills"
    assert (of["Type"], of["KillMode"], of["Restart"]) == ("notify", "mixed", "on-failure")
    assert of["UMask"] == "0077" and of["NoNewPrivileges"] == "yes" and of["CapabilityBoundingSet"] == ""
    assert int(of["WatchdogSec"]) >= 30, "a role that died is started again within 30 s"
