"""A patient's name, identifier and birth date are in no log, alert, status output or database file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

SECRETS = ("XYZZYMANN", "QUUXBERT", "PID-7741-ZQ", "18991231", "1899-12-31", "ACC-5519-ZQ")
PATIENT = {
    "PatientName": "XYZZYMANN^QUUXBERT",
    "PatientID": "PID-7741-ZQ",
    "PatientBirthDate": "18991231",
    "OtherPatientNames": "XYZZYMANN^OTTO",
    "AccessionNumber": "ACC-5519-ZQ",
    "ReferringPhysicianName": "XYZZYMANN^DR",
    "PatientComments": "XYZZYMANN lives",
}


@pytest.fixture(scope="module")
def gate(make_gate: Callable, webhook: Any, made: Any) -> Any:
    """A talkative gate that scored, refused, kept a conflict and failed to deliver, all of one patient."""
    gate = make_gate(
        log_level="debug",
        archive=[{"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": 1}],
        rule=[{"name": "all", "review_below": 1.0, "repeat_below": 1.0}],
        delivery={"max_attempts": 2, "first_retry_s": 0.1, "max_retry_s": 0.1},
        alerts={
            "urls": ["console://", webhook.url],
            "verdicts": ["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"],
        },
    )
    uid, files = made.series(9, **PATIENT)
    other = dcmread(files[0])
    other.RescaleIntercept = 1
    other.save_as(conflict := files[0].with_name("conflict.dcm"))
    broken = [made.slice(**PATIENT, SeriesInstanceUID=None), made.slice(**PATIENT, PixelData=bytes(9))]
    # Patient data where it does not belong, which error texts could quote.
    uids = [uid, wrong := generate_uid()]
    path = made.slice(**PATIENT, SeriesInstanceUID=wrong, RescaleSlope="1234567890.12345")
    path.write_bytes(path.read_bytes().replace(b"1234567890.12345", b"XYZZYMANN".ljust(16)))
    gate.send([*files, conflict, *broken, path])
    for one in uids:
        gate.ended(one)
    assert gate.until(lambda: len(gate.overview().stuck) >= 4 and len(webhook.bodies) >= 3, 40)
    assert gate.until(lambda: gate.overview().conflicts and gate.overview().refused, 10)
    gate.uids = uids
    return gate


def found(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [secret for secret in SECRETS if secret.encode().lower() in data.lower()]


def test_logs_and_console_alerts(gate: Any) -> None:
    log = gate.log.read_text()
    assert "REPEAT  " in log and gate.events("decided") and "role_started" in log
    assert not found(log)


def test_alerts(gate: Any, webhook: Any) -> None:
    assert webhook.bodies
    assert not found(repr(webhook.bodies))


def test_status_output(gate: Any) -> None:
    for arguments in ([], ["--json"], [gate.uids[0], "--json"]):
        said = gate.run("status", *arguments)
        assert said.returncode == 0 and gate.uids[0][-9:] in said.stdout
        assert not found(said.stdout + said.stderr)


def test_database_files(gate: Any) -> None:
    files = sorted(gate.data.glob("qagate.db*"))
    assert files
    for path in files:
        assert not found(path.read_bytes()), path.name


def test_the_report_has_them(gate: Any) -> None:
    """The report is for the patient's own study; without this the other tests could pass for nothing."""
    assert str(dcmread(gate.report(gate.uids[0])).PatientName) == PATIENT["PatientName"]
