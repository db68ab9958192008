"""kill -9 at every named step of the path; the role starts anew, and four promises hold.

No accepted instance is lost; each revision is decided once; the archive holds one report of each revision;
an alert is heard once, or is a dead letter that says so.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_gate import LIMIT_S, cell
from crash_series import series
from neighbours import until
from steps import ALERTING, CLOSING, REAPING, RECEPTION, RELEASING, SCORING, SENDING, STEPS, Step

pytest_plugins = ("crash_fixtures",)
pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

ALONE = (*RECEPTION, *CLOSING, *SCORING, *SENDING, *ALERTING)
IMAGES = 3


@pytest.mark.parametrize("step", ALONE, ids=lambda step: step.name)
def test_kill(step: Step, database: str, url: str, tmp_path: Path) -> None:
    files = series(tmp_path / "made", IMAGES)
    with cell(tmp_path, url) as gate:
        armed = gate.start_all(step)
        gate.send(files)
        assert until(lambda: armed.killed, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
        gate.start(step.role)
        assert until(lambda: gate.send(files), LIMIT_S, 0.05), gate.logs()
        gate.settle()
        gate.keeps_its_promises("kill -9", step, database, revived=gate.revive())


@pytest.mark.parametrize("step", RELEASING, ids=lambda step: step.name)
def test_kill_while_a_held_series_is_released(step: Step, database: str, url: str, tmp_path: Path) -> None:
    files = series(tmp_path / "made", IMAGES)
    with cell(tmp_path, url, mode="hold", hold={"limit_s": 0.5}) as gate:
        armed = gate.start_all(step)
        assert gate.send(files)
        assert until(lambda: armed.killed, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
        gate.start(step.role)
        gate.settle()
        gate.keeps_its_promises("kill -9", step, database, revived=gate.revive())


@pytest.mark.parametrize("step", REAPING, ids=lambda step: step.name)
def test_kill_while_a_lease_is_taken_back(step: Step, database: str, url: str, tmp_path: Path) -> None:
    """First the worker dies, and then who would take its lease back."""
    files = series(tmp_path / "made", IMAGES)
    with cell(tmp_path, url) as gate:
        gate.start_all()
        gate.running["worker"].kill()
        claims = gate.start("worker", STEPS["series claimed"])
        assert gate.send(files)
        assert until(lambda: claims.killed, LIMIT_S, 0.02), gate.logs()
        gate.running["services"].kill()
        armed = gate.start("services", step)
        assert until(lambda: armed.killed, LIMIT_S, 0.02), f"{step.name} was not reached\n{gate.logs()}"
        gate.start("services")
        gate.start("worker")
        gate.settle()
        gate.keeps_its_promises("kill -9", step, database, revived=gate.revive())
