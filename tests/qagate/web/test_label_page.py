"""Rating: what is asked, what is hidden, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pictured import write_series

from qagate.assessment import Artefact, Verdict
from qagate.label import Label, LabelKind, Scale
from qagate.store.labels import Labels
from qagate.store.schema import audit
from qagate.web.security import Role
from qagate.web.site import Site

Seed = Callable[..., str]
UIDS = ("1.2.826.0.1.81", "1.2.826.0.1.82")


@pytest.fixture
def two(site: Site, seed: Seed) -> tuple[str, str]:
    """Two decided series with files; the first lies nearer to its threshold."""
    for uid, quality in zip(UIDS, (0.51, 0.97), strict=True):
        seed(
            Verdict.PASS, uid=uid, quality=quality, reasons=("quality is secret",),
            paths=write_series(site.spool, uid), protocol_name=f"Protocol {uid[-2:]}",
        )  # fmt: skip
    return UIDS


def _send(browser: Any, uid: str, **more: Any) -> Any:
    return browser.submit("/label", series=uid, revision=1, **({"score": 3} | more))


def test_the_page_asks_for_the_most_uncertain_and_hides_what_was_said(
    site: Site, physicist: TestClient, two: tuple[str, str]
) -> None:
    rating = Label(series_instance_uid=two[0], rater="ben", score=1.0, scale=Scale(0, 4))
    click = Label(series_instance_uid=two[0], rater="rita", kind=LabelKind.DISAGREE, reason="blurred")
    Labels(site.store).add([rating, click])
    text = physicist.get("/label").text
    assert f'data-uid="{two[0]}"' in text and "Protocol 81" in text and "data-blind" in text
    for hidden in ("0.51", "secret", "ben", "rita", "blurred", "data-review-below", 'class="verdict'):
        assert hidden not in text, hidden


def test_a_rating_is_kept_with_artefacts_places_and_rater(
    site: Site, physicist: TestClient, two: tuple[str, str]
) -> None:
    places = ["", "slices 2-3 "] + [""] * (len(Artefact) - 2)
    answer = _send(
        physicist, two[0], artefact=["motion"], place=places, comment=" a  little ", queue="random"
    )
    assert answer.status_code == 303 and "queue=random" in answer.headers["location"]
    (stored,) = Labels(site.store).of_series(two[0])
    said = stored.label
    assert (said.rater, said.score, said.scale, said.revision) == ("physicist", 3.0, Scale(0, 4), 1)
    assert said.artefacts == (Artefact.MOTION,) and said.reason == "motion: slices 2-3; a little"
    with site.store.read() as connection:
        assert "rate" in {row.act for row in connection.execute(audit.select())}
    after = physicist.get(answer.headers["location"]).text
    assert f'data-uid="{two[1]}"' in after and "1 rated today" in after and "Change the last one" in after


def test_the_last_one_can_be_changed(site: Site, physicist: TestClient, two: tuple[str, str]) -> None:
    places = ["left"] + [""] * (len(Artefact) - 1)
    _send(physicist, two[0], artefact=["noise"], place=places, comment="why")
    again = physicist.get(f"/label?series={two[0]}").text
    assert "You rated this 3 on 0-4" in again and 'value="left"' in again and 'value="why"' in again
    _send(physicist, two[0], score=1)
    last = [one.label.score for one in Labels(site.store).latest()]
    assert last == [1.0] and len(Labels(site.store).of_series(two[0])) == 2


def test_skipping_and_coming_to_an_end(physicist: TestClient, two: tuple[str, str]) -> None:
    assert f'data-uid="{two[1]}"' in physicist.get(f"/label?skip={two[0]}").text
    _send(physicist, two[1])
    end = physicist.get(f"/label?skip={two[0]}").text
    assert "Nothing is left" in end and "Bring back what I skipped" in end


def test_slices_on_a_hundred(site: Site, physicist: TestClient, two: tuple[str, str]) -> None:
    text = physicist.get("/label?subject=slice&scale=0-100").text
    assert 'max="100"' in text and 'data-sop="1.2.826.0.1.8' in text
    _send(physicist, two[0], instance=f"{two[0]}.2", scale="0-100", score=62.5)
    (stored,) = Labels(site.store).of_series(two[0])
    assert stored.label.sop_instance_uid == f"{two[0]}.2" and stored.label.scale == Scale(0, 100)


def test_the_choice_of_queue_and_scale_is_remembered(physicist: TestClient, two: tuple[str, str]) -> None:
    physicist.get("/label?queue=random&subject=slice&scale=0-100")
    again = physicist.get("/label").text
    assert 'name="queue" value="random"' in again and 'name="scale" value="0-100"' in again
    physicist.cookies.set("desk", "random.slice.1-7", path="/label")
    assert physicist.get("/label").status_code == 200


def test_series_whose_images_are_gone_are_not_asked_for(
    site: Site, physicist: TestClient, two: tuple[str, str]
) -> None:
    for path in site.spool.folder(two[0]).iterdir():
        path.unlink()
    assert f'data-uid="{two[1]}"' in physicist.get("/label").text


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"score": 9}, 422), ({"score": "nan"}, 422), ({"scale": "1-7"}, 422), ({"revision": 0}, 422),
        ({"artefact": ["ufo"]}, 422), ({"revision": 5}, 409), ({"series": "9.9"}, 404),
        ({"instance": "9.9"}, 404), ({"comment": "x\x00"}, 422), ({"queue": "none"}, 422),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(
    site: Site, physicist: TestClient, two: tuple[str, str], wrong: dict[str, Any], status: int
) -> None:
    fields = {"series": two[0], "revision": 1, "score": 3} | wrong
    answer = physicist.submit("/label", **fields)  # type: ignore[attr-defined]
    assert answer.status_code == status and list(Labels(site.store).all()) == []


def test_programs_rate_too(physicist: TestClient, two: tuple[str, str]) -> None:
    tasks = physicist.get("/api/v1/ratings/tasks").json()
    assert [one["series_instance_uid"] for one in tasks] == list(two) and "quality" not in tasks[0]
    body = {"series_instance_uid": two[0], "revision": 1, "score": 2, "artefacts": ["blur"],
            "places": {"blur": "all"}}  # fmt: skip
    proof = {"X-CSRF-Token": physicist.proof()}  # type: ignore[attr-defined]
    answer = physicist.post("/api/v1/ratings", json=body, headers=proof)
    assert answer.status_code == 201 and answer.json()["mine"] == 1
    assert physicist.get("/api/v1/ratings/progress").json() == answer.json()


def test_agreement_of_two_raters(
    login: Callable[..., TestClient], physicist: TestClient, two: tuple[str, str]
) -> None:
    assert "Nobody has rated anything yet" in physicist.get("/label/agreement").text
    assert physicist.get("/api/v1/ratings/agreement").json()["icc_single"] is None
    other = login(Role.PHYSICIST, name="ben")
    for uid, first, second in ((two[0], 1, 2), (two[1], 4, 4)):
        _send(physicist, uid, score=first)
        _send(other, uid, score=second)
    found = physicist.get("/api/v1/ratings/agreement").json()
    assert found["items"] == 2 and 0.7 < found["icc_single"] < 1 and found["alpha_ordinal"] > 0.5
    text = physicist.get("/label/agreement").text
    assert "ben" in text and "2 series or slices were rated by two people" in text
