import json
import subprocess
import sys

import pytest
import structlog
from pydicom.dataset import Dataset

from qagate import telemetry


@pytest.fixture(autouse=True)
def _reset():
    yield
    structlog.reset_defaults()


def test_a_data_set_never_prints(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(role="worker")
    patient = Dataset()
    patient.PatientName = "Somebody^Real"
    structlog.get_logger().info("read", reason=patient, model=patient["PatientName"].value, count=3)
    line = json.loads(capsys.readouterr().err)
    assert line["reason"] == "<Dataset>" and line["model"] == "<PersonName>"
    assert (line["event"], line["count"], line["role"]) == ("read", 3, "worker")


def test_level_is_respected(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="warning")
    structlog.get_logger().info("unseen")
    structlog.get_logger().warning("seen")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["seen"]


@pytest.mark.parametrize(
    "dies",
    [
        "raise ValueError('DOE^JANE')",
        "import threading; t = threading.Thread(target=int, args=('DOE^JANE',)); t.start(); t.join()",
        "import warnings; warnings.warn('Invalid value for VR DA: DOE^JANE'); raise KeyError('DOE^JANE')",
    ],
    ids=["main", "thread", "warning"],
)
def test_what_nobody_caught_is_told_without_its_text(dies: str) -> None:
    code = f"from qagate import telemetry; telemetry.configure(); telemetry.keep_own_words(); {dies}"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = json.loads(said.stderr)
    assert (line["event"], line["error"] in ("ValueError", "KeyError")) == ("uncaught", True)
    assert "DOE" not in said.stderr + said.stdout
