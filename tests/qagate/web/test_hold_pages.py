"""Held series on the pages and for programs: who may release or reject, what they are shown, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pictured import scored_series
from pydicom import dcmread

from qagate.assessment import Verdict
from qagate.config import Settings
from qagate.store.holds import Holds
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.store.queue import Queue
from qagate.web.site import Site

Seed = Callable[..., str]
UID = "1.2.826.0.1.50"
ARCHIVES = [
    {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1"},
    {"name": "images only", "ae_title": "STORE", "host": "127.0.0.1", "results": False},
]
HELD = [OutboxItem(kind=Kind.FORWARD, destination="pacs", payload="[]", held=True)]


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    """A gate in hold mode."""
    return Settings(mode="hold", data_dir=tmp_path, archive=ARCHIVES)


@pytest.fixture
def held(site: Site, seed: Seed) -> str:
    """A held series whose three images are in the spool."""
    return scored_series(site.spool, seed, UID, outbox=HELD)


def form(**changes: Any) -> dict[str, Any]:
    return {"revision": 1, "instances": 3, "reason": "111210", "confirmed": "yes"} | changes


def notes(site: Site) -> list[Any]:
    found = []
    while (delivery := Outbox(site.store).claim(60)) is not None:
        found.append(delivery)
        assert Outbox(site.store).mark_sent(delivery)
    return [one for one in found if one.kind is Kind.REJECTION]


def test_a_held_series_says_so_and_until_when(radiographer: Any, viewer: Any, held: str) -> None:
    page = radiographer.get(f"/series/{held}").text
    assert "These images have not been sent to the archive; they are held here until <time" in " ".join(
        page.split()
    )
    assert "Release</button>" in page and "The repeat was taken" in page
    looked = viewer.get(f"/series/{held}").text
    assert "have not been sent" in looked and "Release</button>" not in looked and "/reject" not in looked
    assert "1 held" in viewer.get("/worklist").text and "held <time" in viewer.get("/worklist?only=held").text
    assert "Held, not sent to the archive" in viewer.get("/console").text
    assert "1 series is held" in viewer.get("/console").text


def test_one_click_releases_and_the_next_changes_nothing(radiographer: Any, site: Site, held: str) -> None:
    for _ in range(2):
        answer = radiographer.submit(f"/series/{held}/release")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/series/{held}")
    (entry,) = site.trail.newest(act="release")
    assert (entry.actor, entry.series_instance_uid) == ("radiographer", held)
    page = radiographer.get(f"/series/{held}").text
    assert "Released to the archive." in page and "radiographer: released it" in page
    assert radiographer.submit("/series/1.9/release").status_code == 404


def test_several_are_released_from_the_worklist(radiographer: Any, site: Site, seed: Seed) -> None:
    held = [seed(Verdict.REPEAT, quality=0.1, outbox=HELD) for _ in range(3)]
    good = seed(Verdict.PASS)
    assert "Release the ticked" in radiographer.get("/worklist").text
    ticked = [f"{uid} 1" for uid in (*held[:2], good)]
    answer = radiographer.submit("/worklist/release", seen=ticked)
    assert answer.status_code == 303
    assert [one.series_instance_uid for one in Holds(site.store).all()] == held[2:]
    assert [one.series_instance_uid for one in site.trail.newest(act="release")] == held[1::-1]
    assert radiographer.submit("/worklist/release", seen=[f"{n} 1" for n in range(501)]).status_code == 422


def test_programs_list_and_release(radiographer: Any, viewer: Any, site: Site, held: str) -> None:
    (found,) = viewer.get("/api/v1/held").json()
    assert found["series_instance_uid"] == held and found["until"] > found["since"]
    (row,) = viewer.get("/api/v1/series?only=held").json()["series"]
    assert row["held_since"] == found["since"] and row["rejected"] is False
    proof = {"x-csrf-token": radiographer.proof()}
    path = f"/api/v1/series/{held}/release"
    assert viewer.post(path, json={}, headers={"x-csrf-token": viewer.proof()}).status_code == 403
    for released in (True, False):
        answer = radiographer.post(path, json={"reason": "seen"}, headers=proof)
        assert (answer.status_code, answer.json()) == (200, {"released": released}), answer.text
    assert site.trail.newest(act="release")[0].details["reason"] == "seen"
    paths = viewer.get("/api/v1/openapi.json").json()["paths"]
    assert not [one for one in paths if "reject" in one], "a rejection needs a person before a page"


def test_the_preview_shows_what_would_be_hidden(radiographer: Any, viewer: Any, held: str) -> None:
    page = radiographer.get(f"/series/{held}/reject").text
    for said in (
        "All 3 images of this series", "cannot be undone from here", f"{held}.1", f"{held}.3", "pacs",
        "images only. Images go there without results", "sent first, then the note", "Release, hide nothing",
        "3 SOP Instance UIDs", 'value="111215" selected',
    ):  # fmt: skip
        assert said in page, said
    assert viewer.get(f"/series/{held}/reject").status_code == 403
    assert viewer.submit(f"/series/{held}/reject", **form()).status_code == 403
    assert radiographer.get("/series/1.9/reject").status_code == 404


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"confirmed": ""}, 422, "tick that the archives"),
        ({"reason": ""}, 422, "choose the reason"),
        ({"reason": "1"}, 422, "choose the reason"),
        ({"revision": 2}, 409, "has changed"),
        ({"instances": 2}, 409, "has changed"),
    ],
)
def test_without_confirmation_nothing_is_rejected(
    radiographer: Any, site: Site, held: str, changes: dict[str, Any], status: int, said: str
) -> None:
    answer = radiographer.submit(f"/series/{held}/reject", **form(**changes))
    assert answer.status_code == status and said in answer.text
    assert Holds(site.store).waiting().count == 1 and not site.trail.newest(act="reject")


def test_a_rejection_sends_the_images_and_then_the_note(radiographer: Any, site: Site, held: str) -> None:
    for _ in range(2):
        answer = radiographer.submit(f"/series/{held}/reject", **form(words=" patient\nmoved "))
        assert (answer.status_code, answer.headers["location"]) == (303, f"/series/{held}"), answer.text
    (entry,) = site.trail.newest(act="reject")
    assert (entry.actor, entry.details["instances"]) == ("radiographer", 3)
    assert entry.details["reason"] == "111210 patient moved"
    page = radiographer.get(f"/series/{held}").text
    assert "Rejected: the archives are told to hide these images." in page
    assert "rejected already" in radiographer.get(f"/series/{held}/reject").text
    (note,) = notes(site)
    assert note.destination == "pacs"
    document = dcmread(note.payload)
    assert document.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert sum(one.ValueType == "IMAGE" for one in document.ContentSequence) == 3
    assert "rejected" in radiographer.get("/worklist").text


def test_what_cannot_be_rejected_says_why(radiographer: Any, site: Site, seed: Seed, held: str) -> None:
    gone = seed(Verdict.REPEAT, quality=0.1)
    answer = radiographer.submit(f"/series/{gone}/reject", **form())
    assert answer.status_code == 409 and "No note can be made" in answer.text
    Queue(site.store).requeue([held])
    assert "still at work" in radiographer.get(f"/series/{held}/reject").text
    assert radiographer.submit(f"/series/{held}/reject", **form(revision=2)).status_code == 409


def test_in_observe_mode_a_series_can_be_rejected_too(
    radiographer: TestClient, site: Site, seed: Seed
) -> None:
    uid = scored_series(site.spool, seed, UID)
    page = radiographer.get(f"/series/{uid}").text
    assert "Reject…" in page and "held here" not in page
    answer = radiographer.submit(f"/series/{uid}/reject", **form())  # type: ignore[attr-defined]
    assert answer.status_code == 303
    assert len(notes(site)) == 1, "nothing is forwarded, so nothing is waited for"
