import json

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
    structlog.get_logger().info("read", dataset=patient, name=patient["PatientName"].value, rows=3)
    line = json.loads(capsys.readouterr().err)
    assert line["dataset"] == "<Dataset>" and line["name"] == "<PersonName>"
    assert (line["event"], line["rows"], line["role"]) == ("read", 3, "worker")


def test_level_is_respected(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level="warning")
    structlog.get_logger().info("unseen")
    structlog.get_logger().warning("seen")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["seen"]
