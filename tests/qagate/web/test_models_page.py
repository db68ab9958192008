"""The models page: what speaks against a promotion is shown, and overruled only by a reason that is kept."""

from __future__ import annotations

from typing import Any

import pytest

from qagate import stewardship
from qagate.comparison import Comparison, ModelName
from qagate.gate.promotion import Pair, PromotionRules, checks, compare
from qagate.store.roles import Act, Roles
from qagate.web.site import Site

SHA = "b" * 64


@pytest.fixture
def comparison() -> Comparison:
    """A challenger that changes half of the decisions of one scanner."""
    pairs = [
        Pair(
            champion=0.8,
            challenger=0.8 - number % 2 / 2,
            champion_verdict="PASS",
            challenger_verdict="REVIEW" if number % 2 else "PASS",
            groups={"scanner": "CT <1>"},
        )
        for number in range(40)
    ]
    groups = compare(pairs)
    held = checks(groups, PromotionRules(), 0)
    return Comparison(
        champion=ModelName(name="default", weights_sha256="a" * 64, since=None, actor=None),
        challenger=ModelName(name="house-1", weights_sha256=SHA, since=None, actor=None),
        groups=groups,
        failed=2,
        objections=tuple(check.objection for check in held if not check.met),
    )


@pytest.fixture
def stewards(monkeypatch: pytest.MonkeyPatch, comparison: Comparison, site: Site) -> None:
    """The acts without loading a model: what is under test is the page."""

    def promote(settings: Any, name: str, *, actor: str, reason: str = "", force: bool = False) -> Any:
        if force and not reason:
            raise ValueError("a forced promotion needs a reason: --reason")
        if not force:
            raise stewardship.PromotionRefused("objections")
        roles = Roles(site.store)
        return roles.act(
            Act.PROMOTE, name=name, weights_sha256=SHA, actor=actor, reason=reason, forced=True,
            standing=roles.standing(),
        )  # fmt: skip

    monkeypatch.setattr(stewardship, "compare", lambda settings, name: comparison)
    monkeypatch.setattr(stewardship, "promote", promote)


def test_a_comparison_names_groups_changes_and_objections(physicist: Any, stewards: None) -> None:
    text = physicist.get("/control/models?compare=house-1").text
    assert "CT &lt;1&gt;" in text and "20 × Good → Look" in text and "2 series it could not score" in text
    assert "Against a promotion" in text and 'name="force"' in text


def test_a_refused_promotion_shows_why_and_changes_nothing(
    physicist: Any, stewards: None, site: Site, comparison: Comparison
) -> None:
    answer = physicist.submit("/control/models/promote", name="house-1", reason="better")
    assert answer.status_code == 409 and "what speaks against it" in answer.text
    assert comparison.objections and all(
        one.split("<")[0] in answer.text for one in comparison.objections if "<" in one
    )
    assert Roles(site.store).history() == () and site.trail.newest(act="promote model") == ()


def test_a_forced_promotion_needs_a_reason_and_is_audited(physicist: Any, stewards: None, site: Site) -> None:
    forced = {"name": "house-1", "force": "true"}
    answer = physicist.submit("/control/models/promote", **forced, reason=" ")
    assert answer.status_code == 409 and "needs a reason" in answer.text
    answer = physicist.submit("/control/models/promote", **forced, reason="new <b>tube</b>")
    assert answer.headers["location"] == "/control/models?done=promote"
    entry = site.trail.newest(act="promote model")[0]
    assert (entry.actor, entry.details["model"], entry.details["forced"]) == ("physicist", "house-1", True)
    text = physicist.get("/control/models?done=promote").text
    assert "new &lt;b&gt;tube" in text and "against objections" in text and "Roll back to default" in text
