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
from steps import ALERTING, CLOSING, RECEPTION, SCORING, SENDING, Step

pytest_plugins = ("crash_fixtures",)
pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

STEPS = (*RECEPTION, *CLOSING, *SCORING, *SENDING, *ALERTING)
IMAGES = 3


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
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
