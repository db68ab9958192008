"""Markup, control characters and formulas in what a scanner sends: in each page, file, terminal, alert."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import apprise
import pytest
from fastapi import FastAPI

from qagate import present, telemetry
from qagate.alert_text import compose
from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.series import Series, SeriesHeader, State
from qagate.store.views import Views
from qagate.web import chart_files
from qagate.web.security import Role
from qagate.web.site import Site

MARKUP = "<script>alert(7)</script>"
BREAKOUT = "\"'><img src=x onerror=alert(7)>"
TERMINAL = "\x1b[2J\x1b]0;owned\x07\rFAKE\u202egnp"
FORMULA = "=cmd|'/C calc'!A0"
HEADER = {
    "station_name": BREAKOUT,
    "protocol_name": MARKUP,
    "series_description": MARKUP,
    "manufacturer_model_name": BREAKOUT,
    "body_part_examined": MARKUP,
}
RAW = ("<script>alert", "<img src=x", "\"'><img", "onerror=alert(7)>")


@pytest.fixture
def hostile(seed: Callable[..., str]) -> list[str]:
    """Series of each verdict whose texts are hostile; their reasons too."""
    reasons = (f"{MARKUP} {BREAKOUT} {TERMINAL}",)
    return [
        seed(verdict, reasons=reasons, **HEADER)
        for verdict in (Verdict.PASS, Verdict.REVIEW, Verdict.REPEAT, Verdict.NOT_ASSESSED)
    ]


def addresses(app: FastAPI, uid: str) -> list[str]:
    """Every address that can be asked for, with the UID where one belongs."""
    paths = []
    for route in app.routes:
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or ()
        if "GET" in methods and "events" not in path:
            path = path.replace("{uid}", uid).replace("{series_instance_uid}", uid)
            paths.append(path)
    return [path for path in paths if "{" not in path]


def test_no_page_repeats_markup(app: FastAPI, login: Callable[..., Any], hostile: list[str]) -> None:
    browser = login(Role.ADMIN)
    seen, escaped = 0, 0
    for uid in hostile:
        for path in addresses(app, uid):
            answer = browser.get(path, follow_redirects=True)
            kind = answer.headers.get("content-type", "")
            if "html" in kind or "svg" in kind:
                assert [raw for raw in RAW if raw in answer.text] == [], path
                seen, escaped = seen + 1, escaped + ("&lt;script&gt;alert" in answer.text)
            elif "json" in kind:
                assert answer.headers["x-content-type-options"] == "nosniff"
    assert seen > 20
    assert escaped >= 4  # it was there to be repeated


def test_no_export_holds_a_formula(
    login: Callable[..., Any], seed: Callable[..., str], hostile: list[str]
) -> None:
    for start in ("=", "+", "-", "@", "\t=", " ="):
        seed(Verdict.REPEAT, station_name=f"{start}1+{FORMULA}", protocol_name=f"{start}2+3")
    browser = login(Role.ADMIN)
    for path in ("/worklist.csv", "/control/audit.csv", "/label/labels.csv"):
        answer = browser.get(path)
        assert answer.status_code == 200, path
        for row in csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))):
            bad = [one for one in row if one.lstrip(" ")[:1] in tuple("=+-@\t\r") and not _number(one)]
            assert bad == [], path
    assert FORMULA in browser.get("/worklist.csv").text


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("cell", ["-2+3+cmd|' /C calc'!A0", " =1+1", "@SUM(1)", "+1-2"])
def test_a_chart_as_csv_holds_no_formula(cell: str) -> None:
    assert chart_files._harmless(cell) == f"'{cell}"
    assert chart_files._harmless("-0.5") == "-0.5"


def test_the_terminal_gets_no_control_characters(
    site: Site, hostile: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    views = Views(site.store)
    for row in views.overview(limit=10).series:
        present._series_line(row)
    for uid in hostile:
        found = views.history(uid)
        assert found is not None
        present.history(found, f"Decision  PASS\nBecause   {TERMINAL}", False)
    said = capsys.readouterr().out
    assert "FAKE" in said
    assert [one for one in said if not one.isprintable() and one != "\n"] == []


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_log_line_stays_one_line(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    import structlog

    telemetry.configure(format=format)
    try:
        structlog.get_logger().warning("refuse", calling_ae_title=f"A\n{TERMINAL}\r\nB")
    finally:
        structlog.reset_defaults()
    (line,) = capfd.readouterr().err.splitlines()
    assert "\x1b[2J" not in line and "\x07" not in line and "\u202e" not in line
    if format == "json":
        assert json.loads(line)["calling_ae_title"] == "<str>"


def test_an_alert_holds_no_markup() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    header = SeriesHeader(
        modality="CT", station_name=f"{BREAKOUT}[here](http://evil)`x`", protocol_name=MARKUP,
        series_description=TERMINAL,
    )  # fmt: skip
    series = Series(
        series_id=1, study_instance_uid="1.2", series_instance_uid="1.2.3", revision=1, state=State.SCORING,
        attempts=1, header=header, calling_ae_title="CT1", first_received_at=now, last_received_at=now,
    )  # fmt: skip
    assessment = Assessment(
        prompt=Prompt(dimension="3D", modality="CT", region="head"), quality=0.1, score=0.4
    )
    decision = Decision(verdict=Verdict.REPEAT, reasons=(f"{MARKUP} {TERMINAL}",))
    message = compose(series, assessment, decision, include_patient=True)
    for text in (message.title, message.body.replace("\n", "")):
        assert text.isprintable()
        assert not set("<>[]`") & set(text)
    html = apprise.conversion.convert_between(
        apprise.NotifyFormat.TEXT, apprise.NotifyFormat.HTML, message.body
    )
    assert "<script" not in html and "<img" not in html
