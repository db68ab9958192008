"""Alarms to the physicist: plain words, no patient data, destinations of their own."""

from __future__ import annotations

import pytest

from qagate import alarms
from qagate.alert_text import AlertMessage
from qagate.alerts import Alerter
from qagate.baseline import BaselineAlarm, BaselineKey, BaselineState, Point
from qagate.config import AlertSettings, Settings
from qagate.delivery import alert_payload, parse_alert
from qagate.parts import physicist

KEY = BaselineKey(
    station="MR1", protocol_name="DOE^JANE\nknee", modality="MR", region="knee", type="unknown",
    weights_sha256="0" * 64,
)  # fmt: skip


def state(alarm: BaselineAlarm, **changes: object) -> BaselineState:
    recent = tuple(Point(series_id=n, quality=0.4 + n / 100, repeat=n < 6) for n in range(9))
    values = {"recent": recent, "alarm": alarm} | changes
    return BaselineState(**values)  # type: ignore[arg-type]


def test_a_drift_in_plain_words() -> None:
    drift = state(BaselineAlarm.DRIFT, median=0.8, mad=0.02, anchor_median=0.8, anchor_mad=0.02)
    message = alarms.compose(7, KEY, drift)
    assert message.verdict is None and message.title == "Baseline has drifted: MR knee on MR1"
    for words in ("last 9 series is 0.44", "built at 0.80", "Baseline: 7", "baselines accept 7 --reason"):
        assert words in message.body
    assert "DOE" not in message.body + message.title and "former baseline" in message.body
    assert "Protocol: DOE^JANE knee" in alarms.compose(7, KEY, drift, include_protocol=True).body


def test_a_low_protocol_in_plain_words() -> None:
    message = alarms.compose(3, KEY, state(BaselineAlarm.LOW))
    assert message.title == "Protocol scores low: MR knee on MR1"
    assert "6 of the last 9 series are REPEAT" in message.body and "absolute thresholds" in message.body


def test_an_alarm_passes_the_outbox_and_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    message = parse_alert(alert_payload(AlertMessage(verdict=None, title="t", body="b")))
    assert message.verdict is None
    alerter = Alerter(("console://",), prefix="physicist-")
    assert alerter.destinations == ("physicist-console-1",)
    alerter.send(message)
    assert capsys.readouterr().err.startswith("ALARM  t | b")


def test_destinations_of_the_physicist() -> None:
    assert physicist(Settings()).destinations == ("console-1",)
    own = Settings(alerts=AlertSettings(physicist_urls=("console://", "json://127.0.0.1/")))
    assert physicist(own).destinations == ("physicist-console-1", "physicist-json-2")
