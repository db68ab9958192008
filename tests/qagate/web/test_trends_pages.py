"""The trends: pages for every role, charts as files, service events and accepted levels with their audit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from qagate.assessment import Artefact, Finding, Verdict
from qagate.baseline import BaselineAlarm, BaselineKey, BaselineState, Point
from qagate.store.baselines import BaselineChange, apply
from qagate.store.service_events import ServiceEvents
from qagate.web import texts
from qagate.web.site import Site

Seed = Callable[..., str]
PAGES = ("/trends", "/trends/chart", "/trends/alerts", "/trends/dose")


@pytest.fixture
def baseline(site: Site) -> int:
    """A baseline with an alarm; its number."""
    points = tuple(Point(series_id=n, quality=0.7 - n / 100) for n in range(20))
    state = BaselineState(
        sample=points, recent=points, median=0.7, mad=0.04, anchor_median=0.8, anchor_mad=0.04, evidence=20,
        alarm=BaselineAlarm.DRIFT,
    )  # fmt: skip
    key = BaselineKey(
        station="CT1", protocol_name="Head <b>", modality="CT", region="head", type="soft",
        weights_sha256="0" * 64,
    )  # fmt: skip
    with site.store.write() as connection:
        apply(connection, BaselineChange(key=key, change=lambda _: state), site.store.now())
    return 1


@pytest.fixture
def scored(seed: Seed, baseline: int) -> None:
    """Some CT series with dose and noise, one of them to be repeated."""
    for number in range(12):
        seed(
            quality=0.7 + number / 1000,
            protocol_name="Head <b>",
            assessment={
                "measures": {"noise_hu": 5.0 + number % 3},
                "technique": {"ctdi_vol_mgy": 10.0 + number, "kernel": "B30f"},
            },
        )
    motion = Finding(artefact=Artefact.MOTION, severity=0.9, text="ghosts")
    seed(Verdict.REPEAT, quality=0.1, protocol_name="Head <b>", assessment={"findings": (motion,)})


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_gate_says_what_will_be_there(viewer: Any, path: str) -> None:
    answer = viewer.get(path)
    assert answer.status_code == 200 and 'class="empty"' in answer.text


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("lang", ["en", "de"])
def test_pages_show_charts_without_inline_style(viewer: Any, scored: None, path: str, lang: str) -> None:
    answer = viewer.get(path, params={"lang": lang})
    assert answer.status_code == 200
    assert "<svg" in answer.text and " style=" not in answer.text and "<style" not in answer.text
    assert "<b>" not in answer.text.replace("<b>Head", "").replace("<br>", "")


def test_filters_lead_to_the_same_elsewhere(viewer: Any, scored: None) -> None:
    text = viewer.get("/trends/chart", params={"station": "CT1", "figure": "noise_hu", "days": 30}).text
    assert "Noise in tissue (HU) · CT1" in text and "12 values" in text
    assert "/trends/alerts?station=CT1&amp;figure=noise_hu&amp;days=30" in text
    assert "/trends/control.svg?station=CT1" in text
    assert 'class="empty"' in viewer.get("/trends/chart", params={"coil": "Knee"}).text
    assert viewer.get("/trends/chart", params={"figure": "beauty"}).status_code == 422
    assert viewer.get("/trends/chart", params={"station": "a\x00b"}).status_code == 422


@pytest.mark.parametrize("name", ["control", "alerts", "repeats", "dose"])
@pytest.mark.parametrize(("kind", "start"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("csv", b"\xef\xbb\xbf")])
def test_every_chart_is_a_file(viewer: Any, scored: None, name: str, kind: str, start: bytes) -> None:
    answer = viewer.get(f"/trends/{name}.{kind}")
    assert answer.status_code == 200 and answer.content.startswith(start)
    assert f'filename="qagate-{name}-' in answer.headers["content-disposition"]


def test_no_file_without_series_and_no_other_files(viewer: Any) -> None:
    assert viewer.get("/trends/control.svg").status_code == 404
    assert viewer.get("/trends/secret.svg").status_code == 404
    assert viewer.get("/trends/control.exe").status_code == 404


def test_a_service_event_is_noted_marked_and_audited(physicist: Any, scored: None, site: Site) -> None:
    at = site.clock.local(site.store.now() - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M")
    fields = {"scanner": "CT1", "when": at, "text": "tube <i>replaced</i>"}
    answer = physicist.submit("/trends/events?days=30", **fields)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/trends/chart?days=30&station=CT1"
    (event,) = ServiceEvents(site.store).of("CT1")
    assert (event.text, event.actor) == ("tube <i>replaced</i>", "physicist")
    assert site.trail.newest(act="service event")[0].actor == "physicist"
    text = physicist.get(answer.headers["location"]).text
    assert "<i>" not in text and "tube &lt;i&gt;replaced" in text and 'class="c-flag"' in text


@pytest.mark.parametrize(
    "wrong",
    [{"text": " "}, {"scanner": "CT9"}, {"when": "yesterday"}, {"text": "x" * 501}, {"when": "0001-01-01"}],
)
def test_a_service_event_that_makes_no_sense_is_refused(
    physicist: Any, scored: None, wrong: dict[str, str], site: Site
) -> None:
    fields = {"scanner": "CT1", "when": "2026-03-01T12:00", "text": "tube"} | wrong
    assert physicist.submit("/trends/events", **fields).status_code == 422
    assert ServiceEvents(site.store).of(None) == ()


def test_an_alarm_is_shown_and_its_level_accepted_with_a_reason(
    physicist: Any, viewer: Any, scored: None, site: Site
) -> None:
    text = physicist.get("/trends").text
    assert texts.gettext("Drift") in text and "/trends/baselines/1/accept" in text
    assert "/trends/baselines/1/accept" not in viewer.get("/trends").text
    assert physicist.submit("/trends/baselines/1/accept", reason=" ").status_code == 422
    assert viewer.submit("/trends/baselines/1/accept", reason="new coil").status_code == 403
    assert physicist.submit("/trends/baselines/1/accept", reason="new coil").status_code == 303
    assert "/trends/baselines/1/accept" not in physicist.get("/trends").text
    assert site.trail.newest(act="accept baseline")[0].details["reason"] == "new coil"
    assert physicist.submit("/trends/baselines/77/accept", reason="why").status_code == 409


def test_qualities_are_of_one_model_and_measures_of_any(viewer: Any, seed: Seed) -> None:
    measured = {"measures": {"noise_hu": 5.0}}
    seed(assessment=measured | {"weights_sha256": "b" * 64})
    seed(assessment=measured)

    def count(**asked: str) -> int:
        return len(viewer.get("/api/v1/trends/control", params=asked).json()["points"])

    assert (count(), count(model="all")) == (1, 2)
    assert (count(figure="noise_hu"), count(figure="noise_hu", model="last")) == (2, 1)
    assert sum(viewer.get("/api/v1/trends/weeks").json()[0]["verdicts"].values()) == 2
    assert viewer.get("/api/v1/trends/control", params={"model": "x"}).status_code == 422
    assert ",2," in viewer.get("/trends/alerts.csv").text.splitlines()[1], "the file is the page's chart"


def test_many_series_become_days(viewer: Any, seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qagate.web.trend_charts.MOST_VALUES", 3)
    for _ in range(5):
        seed()
    text = viewer.get("/trends/chart").text
    assert "mean of each day" in text and "5 series" in text
