"""Alerts: their words, and real servers that receive them."""

from __future__ import annotations

import email
import email.policy
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from socketserver import StreamRequestHandler, TCPServer

import pytest

from qagate.alert_text import FIELDS, AlertError, compose
from qagate.alerts import Alerter
from qagate.assessment import Artefact, Assessment, Decision, Finding, Prompt, SliceScore, Verdict
from qagate.series import Series, SeriesHeader, State

PATIENT = "DOE JANE 1970"
GHOSTING = "ghosting along columns, slices 9–15"


def a_series(**header: object) -> Series:
    values: dict[str, object] = {
        "modality": "MR",
        "body_part_examined": PATIENT,
        "protocol_name": f"t2 {PATIENT}",
        "series_description": f"for {PATIENT}",
        "station_name": "MRC25326",
        "series_number": 4,
    }
    when = datetime(2026, 3, 1, 3, tzinfo=UTC)
    return Series(
        series_id=1,
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        revision=2,
        state=State.DECIDED,
        attempts=1,
        header=SeriesHeader(**(values | header)),  # type: ignore[arg-type]
        calling_ae_title="SCANNER",
        first_received_at=when,
        last_received_at=when,
    )


def a_result(verdict: Verdict = Verdict.REPEAT) -> tuple[Assessment, Decision]:
    slices = tuple(
        SliceScore(sop_instance_uid=f"1.2.{n}", slice_number=n, score=1.0, quality=q)
        for n, q in ((3, 0.5), (9, 0.1), (10, 0.2), (15, 0.15))
    )
    assessment = Assessment(
        prompt=Prompt(dimension="3D", modality="MR", region="head"),
        quality=0.314,
        score=1.0,
        slices=slices,
        findings=(Finding(artefact=Artefact.GHOSTING, severity=0.8, text=GHOSTING),),
        slice_count=24,
    )
    return assessment, Decision(verdict=verdict, reasons=(GHOSTING,))


def abstained() -> tuple[Assessment, Decision]:
    assessment = Assessment(prompt=Prompt(dimension="2D", modality="unknown"), quality=None, score=None)
    return assessment, Decision(verdict=Verdict.NOT_ASSESSED, reasons=("a localiser is not assessed",))


@contextmanager
def running(server: TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[int, list[dict[str, str]]]]:
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with running(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, received


@contextmanager
def smtp() -> Iterator[tuple[int, list[bytes]]]:
    """A server that speaks as much of RFC 5321 as one message needs."""
    received: list[bytes] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            while line := self.rfile.readline():
                command = line[:4].upper()
                if command == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    received.append(b"".join(lines))
                self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
                if command == b"QUIT":
                    return

    with running(TCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, received


def test_the_verdict_comes_first_and_the_rest_is_plain() -> None:
    message = compose(a_series(), *a_result())
    assert message.title == "Repeat suggested: MR head series 4 on MRC25326"
    assert message.body.splitlines() == [
        "The images are probably not good enough to read.",
        "Scanner: MRC25326 (MR)",
        "Series: 4 head",
        "Why: ghosting along columns, slices 9–15",
        "Quality: 31%",
        "Slices: 24, 4 of them checked; the worst: 9, 10, 15",
        "What to do: Keep the patient on the table and look at the images. If you agree, repeat the series.",
    ]


def test_what_is_unknown_is_left_out() -> None:
    bare = a_series(modality="", station_name="", series_number=None)
    message = compose(bare, *abstained())
    assert message.title == "Not checked: images on calling AE title SCANNER"
    assert message.body.splitlines() == [
        "The gate did not judge these images.",
        "Scanner: calling AE title SCANNER (images)",
        "Why: a localiser is not assessed",
        "What to do: Check the images yourself, as without the gate.",
    ]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_no_patient_data_unless_allowed(verdict: Verdict) -> None:
    everything = "\n".join(f"{{{name}}}" for name in FIELDS)
    result = abstained() if verdict is Verdict.NOT_ASSESSED else a_result(verdict)
    for body in (None, everything):
        message = compose(a_series(), *result, body=body)
        assert "DOE" not in message.title + message.body
    allowed = compose(a_series(), *result, include_patient=True)
    assert f"Protocol: t2 {PATIENT}" in allowed.body
    assert f"Description: for {PATIENT}" in allowed.body


def test_templates() -> None:
    message = compose(
        a_series(), *a_result(), title="{verdict} {{r{revision}}}", body="{modality}{protocol}\n{protocol}"
    )
    assert message.title == "REPEAT {r2}"
    assert message.body == "MR"


@pytest.mark.parametrize("template", ["{patient_name}", "{station.__class__}", "{station!r}", "{", "{}"])
def test_a_wrong_template_is_refused_at_the_start(template: str) -> None:
    with pytest.raises(AlertError, match="template"):
        Alerter(["console://"], body=template)


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    alerter = Alerter(["console://"])
    alerter.send(alerter.compose(a_series(), *a_result()))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("REPEAT  Repeat suggested: MR head series 4 on MRC25326 | The images are probably")
    assert err.count("\n") == 1


def test_webhook() -> None:
    with webhook() as (port, received):
        alerter = Alerter([f"json://127.0.0.1:{port}/hook"])
        message = alerter.compose(a_series(), *a_result())
        alerter.send(message)
    assert len(received) == 1
    assert (received[0]["title"], received[0]["message"]) == (message.title, message.body)
    assert received[0]["type"] == "failure"
    assert "DOE" not in json.dumps(received)


def test_mail() -> None:
    with smtp() as (port, received):
        sender = f"mailto://127.0.0.1:{port}/?from=gate@example.org&to=radiographer@example.org&format=text"
        alerter = Alerter([sender])
        message = alerter.compose(a_series(), *a_result(Verdict.REVIEW))
        alerter.send(message)
    assert len(received) == 1
    mail = email.message_from_bytes(received[0], policy=email.policy.default)
    part = mail.get_body(("plain",)) if isinstance(mail, email.message.EmailMessage) else None
    assert mail["Subject"] == message.title
    assert part is not None and part.get_content().strip().splitlines() == message.body.splitlines()
    assert b"DOE" not in received[0]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_one_failure_does_not_keep_the_others_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    with webhook(503) as (port, _):
        alerter = Alerter(
            [
                f"json://user:hunter2@127.0.0.1:{free_port()}/secret-token",
                f"json://user:hunter2@127.0.0.1:{port}/secret-token?+X-Key=secret",
                "console://",
            ]
        )
        assert alerter.destinations == ("json-1", "json-2", "console-3")
        with pytest.raises(AlertError) as error:
            alerter.send(alerter.compose(a_series(), *a_result()))
    assert str(error.value) == "alert not accepted by json-1 (no connection), json-2 (answered 503)"
    assert error.value.failed == ("json-1", "json-2")
    assert capsys.readouterr().err.count("REPEAT") == 1


def test_only_the_failed_ones_are_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    with webhook() as (port, received):
        alerter = Alerter(["console://", f"json://127.0.0.1:{port}"])
        alerter.send(alerter.compose(a_series(), *a_result()), only=["json-2"])
        with pytest.raises(AlertError, match="json-9 \\(no longer in the settings\\)"):
            alerter.send(alerter.compose(a_series(), *a_result()), only=["json-9"])
    assert len(received) == 1
    assert capsys.readouterr().err == ""


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """What a log set to show everything would hold."""
    stream, root = StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize("url", ["hunter2", "nosuch://hunter2@host", "json://", "slack://hunter2"])
def test_a_url_that_is_not_understood(url: str, capfd: pytest.CaptureFixture[str], logged: StringIO) -> None:
    with pytest.raises(AlertError, match="alert destination 2") as error:
        Alerter(["console://", url])
    seen = str(error.value) + "".join(capfd.readouterr()) + logged.getvalue()
    assert "hunter2" not in seen


def test_failures_leave_no_secret_in_logs(capfd: pytest.CaptureFixture[str], logged: StringIO) -> None:
    alerter = Alerter([f"json://user:hunter2@127.0.0.1:{free_port()}/hunter2"])
    with pytest.raises(AlertError) as error:
        alerter.send(alerter.compose(a_series(), *a_result()))
    assert "hunter2" not in str(error.value) + "".join(capfd.readouterr()) + logged.getvalue()
