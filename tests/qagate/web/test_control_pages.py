"""Control: what is stuck is seen and goes on by a click, archives answer or say why, rules are tried out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qagate.assessment import Verdict
from qagate.config import PolicyRuleSettings, Settings
from qagate.gate.policy import Policy, PolicyRule
from qagate.series import State
from qagate.store.health import Health
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.web import rules_form
from qagate.web.site import Site

Seed = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """With an archive where nobody listens."""
    archive: Any = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
    return Settings(data_dir=tmp_path, archive=[archive])


@pytest.fixture
def failed(site: Site, seed: Seed) -> str:
    """A series that could not be scored."""
    uid = seed(None)
    queue = Queue(site.store)
    for one in queue.receiving():
        queue.close(one, "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    assert queue.fail(claimed, "no <b>pixels</b>", 1) is State.FAILED
    return uid


@pytest.fixture
def dead(site: Site, seed: Seed) -> str:
    """A series whose report was given up."""
    uid = seed(outbox=[OutboxItem(kind=Kind.SR, destination="pacs", payload="a.dcm")])
    outbox = Outbox(site.store)
    delivery = outbox.claim(60)
    assert delivery is not None and outbox.mark_dead(delivery, "connection refused")
    return uid


def test_health_shows_what_is_stuck_and_why(physicist: Any, failed: str, dead: str) -> None:
    text = physicist.get("/control").text
    assert "no &lt;b&gt;pixels" in text and "connection refused" in text
    assert text.count('class="tile bad"') == 2 and "PACS" in text


def test_a_failed_series_is_scored_again(physicist: Any, failed: str, site: Site) -> None:
    answer = physicist.submit("/control/requeue", series=failed)
    assert answer.headers["location"] == "/control?requeued=1"
    assert Health(site.store).queue().counts == {"COMPLETE": 1}
    entry = site.trail.newest(act="requeue series")[0]
    assert (entry.actor, entry.series_instance_uid) == ("physicist", failed)
    assert "in the queue again" in physicist.get("/control?requeued=1").text
    assert "somebody was faster" in physicist.get("/control?requeued=0").text


def test_all_failed_and_all_dead_go_on(physicist: Any, failed: str, dead: str, site: Site) -> None:
    assert physicist.submit("/control/requeue", failed="true").status_code == 303
    assert physicist.submit("/control/redeliver").headers["location"] == "/control?requeued=1"
    assert Health(site.store).stuck(9)[0].state == "PENDING" and Health(site.store).failed(9) == ()


def test_a_requeue_of_nothing_is_refused(physicist: Any) -> None:
    assert physicist.submit("/control/requeue").status_code == 422
    assert physicist.submit("/control/requeue", series="9.9").status_code == 404
    assert physicist.post("/api/v1/control/requeue", json={}).status_code in (403, 422)


def test_an_archive_that_is_away_says_so(physicist: Any, site: Site) -> None:
    answer = physicist.submit("/control/archives/pacs/echo")
    assert answer.status_code == 200 and "note bad" in answer.text and "127.0.0.1" in answer.text
    assert site.trail.newest(act="echo")[0].details == {"archive": "pacs", "answered": False}
    assert physicist.submit("/control/archives/other/echo").status_code == 404


@pytest.mark.parametrize("path", ["/control", "/control/models", "/control/thresholds"])
def test_a_radiographer_has_no_control(radiographer: Any, path: str) -> None:
    assert radiographer.get(path).status_code == 403
    assert "/control" not in radiographer.get("/trends").text


def test_models_are_listed_and_absurd_acts_refused(physicist: Any, site: Site) -> None:
    text = physicist.get("/control/models").text
    assert "default" in text and "note bad" not in text
    assert "there is no model" in physicist.get("/control/models?compare=nothing").text
    answer = physicist.submit("/control/models/rollback", reason="worse")
    assert answer.status_code == 409 and "no former champion" in answer.text
    assert physicist.submit("/control/models/off").status_code == 409
    answer = physicist.submit("/control/models/promote", name="nothing")
    assert answer.status_code == 409 and "there is no model" in answer.text
    assert site.trail.newest(act="promote model") == ()


def _form(policy: Policy, **changes: str) -> dict[str, Any]:
    rows = rules_form.rows_of(policy)
    rows[0] |= changes
    return {name: [row[name] for row in rows] for name in rules_form.FIELDS} | {"days": "30"}


def test_a_changed_table_is_held_against_the_last_days(physicist: Any, seed: Seed, site: Site) -> None:
    for quality in (0.95, 0.7, 0.6):
        seed(quality=quality)
    seed(Verdict.NOT_ASSESSED)
    changed = seed(Verdict.REVIEW, quality=0.45, protocol_name="Knee <i>")
    text = physicist.get("/control/thresholds").text
    assert "review_below = 0.5" in text and "Alerts then" not in text
    rule = PolicyRule(name="all", modality="CT", review_below=0.5, repeat_below=0.3)
    form = _form(Policy(rules=(rule,)), review_below="0.8", repeat_below="0,5")
    answer = physicist.submit("/control/thresholds", **form)
    tiles = re.findall(r"<b>([^<]*)</b>", answer.text)
    assert tiles[:4] == ["5", "1", "3", "3"]
    assert f"/series/{changed}" in answer.text and "<i>" not in answer.text
    toml = re.search(r"<pre[^>]*>(.*?)</pre>", answer.text, re.DOTALL)
    assert toml and "review_below = 0.8" in toml[1] and "repeat_below = 0.5" in toml[1]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("review_below", "high", "review_below"),
        ("repeat_below", "0.9", "must not be above"),
        ("review_above", "noise 20", "noise_hu = 20"),
        ("review_below_baseline", "", "set both"),
        ("name", "", "at least one rule"),
    ],
)
def test_a_table_that_cannot_be_used_says_why_and_keeps_the_form(
    physicist: Any, field: str, value: str, said: str
) -> None:
    rule = PolicyRule(
        name="all", review_below=0.5, repeat_below=0.3, review_below_baseline=4, repeat_below_baseline=8
    )
    answer = physicist.submit("/control/thresholds", **_form(Policy(rules=(rule,)), **{field: value}))
    assert answer.status_code == 422 and said in answer.text
    assert f'value="{value or "0.3"}"' in answer.text


def test_an_incomplete_form_is_refused(physicist: Any) -> None:
    form = _form(Policy()) | {"region": ["a"]}
    assert physicist.submit("/control/thresholds", **form).status_code == 422


def test_the_toml_says_the_same_table() -> None:
    strange = PolicyRule(
        name='quote " \\ and \x7f', station="CT*", review_below=0.55, repeat_below=0.25,
        review_above={"noise_hu": 20.5}, review_under={"snr air": 3.0},
    )  # fmt: skip
    policy = Policy(rules=(strange, *Policy().rules))
    read = tomllib.loads(rules_form.toml_of(policy))["rule"]
    again = Policy(rules=tuple(PolicyRule(**PolicyRuleSettings(**one).model_dump()) for one in read))
    assert again == policy and rules_form.policy_of(rules_form.rows_of(policy)) == policy


def test_programs_get_the_same(physicist: Any, failed: str, dead: str, seed: Seed) -> None:
    health = physicist.get("/api/v1/control/health").json()
    assert health["counts"] == {"FAILED": 1, "DECIDED": 1} and health["stuck"][0]["state"] == "DEAD"
    proof = {"X-CSRF-Token": physicist.proof()}
    rules = [{"name": "strict", "review_below": 0.9, "repeat_below": 0.1}]
    found = physicist.post("/api/v1/control/preview", json={"rules": rules}, headers=proof).json()
    assert found["pairs"] == {"PASS to REVIEW": 1} and found["alerts_after"] == 1
    assert physicist.post("/api/v1/control/redeliver", json={}, headers=proof).json() == {"count": 1}
    echoed = physicist.post("/api/v1/control/archives/pacs/echo", headers=proof).json()
    assert echoed["answered"] is False and echoed["error"]
    assert physicist.get("/api/v1/control/models").json()["champion"]["name"] == "default"
    refused = physicist.post("/api/v1/control/models/rollback", json={}, headers=proof)
    assert refused.status_code == 409 and "no former champion" in refused.json()["detail"]


def test_trends_for_programs(physicist: Any, seed: Seed, site: Site) -> None:
    for number in range(12):
        seed(quality=0.7 + number % 2 / 100)
    found = physicist.get("/api/v1/trends/control").json()
    assert len(found["points"]) == 12 and found["limits"]["count"] == 12 and found["points"][3]["ewma"]
    assert physicist.get("/api/v1/trends/weeks").json()[0]["verdicts"]["PASS"] > 0
    assert physicist.get("/api/v1/trends/repeats").json() == {"series": 12, "reasons": []}
    assert physicist.get("/api/v1/trends/doses").json() == []
    assert physicist.get("/api/v1/trends/baselines").json() == []
    event = {"station": "CT1", "at": site.store.now().isoformat(), "text": "tube"}
    proof = {"X-CSRF-Token": physicist.proof()}
    assert physicist.post("/api/v1/trends/events", json=event, headers=proof).status_code == 201
    assert physicist.get("/api/v1/trends/events").json()[0]["actor"] == "physicist"
    for wrong in ({"text": " "}, {"at": "2026-01-01T00:00"}, {"station": ""}):
        answer = physicist.post("/api/v1/trends/events", json=event | wrong, headers=proof)
        assert answer.status_code == 422
