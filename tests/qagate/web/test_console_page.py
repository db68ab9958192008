"""The console: what a glance tells, what a click keeps, who may click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qagate.assessment import Artefact, Finding, Verdict
from qagate.label import LabelKind
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.labels import Labels
from qagate.store.queue import Queue
from qagate.web.site import Site

GHOSTS = Finding(artefact=Artefact.GHOSTING, severity=0.7, text="ghosting along columns, slices 9-15")


def late_instance(site: Site, uid: str) -> None:
    """One more image of a series that was decided."""
    one = Instance(
        sop_instance_uid=f"{uid}.99", sop_class_uid="1.2", series_instance_uid=uid, study_instance_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1", calling_ae_title="S", path="x.dcm", sha256="f" * 64,
        size=1, received_at=site.store.now(),
    )  # fmt: skip
    Queue(site.store).record([Received(instance=one, header=SeriesHeader(modality="CT"))])


def test_a_glance(viewer: Any, seed: Callable[..., str]) -> None:
    seed(Verdict.PASS, station_name="MR1", protocol_name="Knee")
    uid = seed(
        Verdict.REPEAT, quality=0.2, reasons=("quality 0.20 is below 0.30: repeat suggested", GHOSTS.text),
        assessment={"findings": (GHOSTS,)},
    )  # fmt: skip
    page = viewer.get("/console").text
    lead = page[page.index('class="lead"') : page.index('class="others"')]
    for part in (
        "Repeat",
        "loop-arrow",
        "Ghosting along columns, slices 9\u2060–\u206015",
        "0.20",
        f"/series/{uid}/worst.jpg",
    ):
        assert part in lead
    assert "Knee" in page and "Knee" not in lead
    assert "Agree" not in page, "a viewer only looks"
    assert "Knee" not in viewer.get("/console?station=CT1").text
    assert "Nothing has arrived yet" in viewer.get("/console?station=nowhere").text


def test_what_is_under_way_stands_above_the_verdict_before(viewer: Any, seed: Callable[..., str]) -> None:
    seed(Verdict.PASS, protocol_name="Former")
    seed(None, protocol_name="Newer", count=7)
    page = viewer.get("/console/tiles").text
    assert "<html" not in page
    assert page.index("Newer") < page.index("7 images, receiving") < page.index("The series before that")
    assert page.index("The series before that") < page.index("Former")


def test_a_provisional_verdict_says_so(viewer: Any, site: Site, seed: Callable[..., str]) -> None:
    late_instance(site, seed(Verdict.PASS))
    assert "Provisional" in viewer.get("/console").text
    assert "provisional" in viewer.get("/worklist").text


def test_a_failed_series_says_so(viewer: Any, site: Site, seed: Callable[..., str]) -> None:
    seed(None)
    queue = Queue(site.store)
    for one in queue.receiving():
        queue.close(one, "quiet")
    claimed = queue.claim("w", 60)
    assert claimed is not None
    queue.fail(claimed, "broken <i>file</i>", max_attempts=1)
    page = viewer.get("/console").text
    assert "could not judge this series" in page and "1 series failed" in page
    listed = viewer.get("/worklist?verdict=pass").text
    assert "Needs a person" in listed and "broken &lt;i&gt;file" in listed, "no filter hides it"


def test_an_unanswered_repeat_does_not_scroll_away(radiographer: Any, seed: Callable[..., str]) -> None:
    uid = seed(Verdict.REPEAT, quality=0.1)
    seed(Verdict.PASS)
    assert "nobody has answered" in radiographer.get("/console").text
    answered = radiographer.submit(f"/series/{uid}/acts", kind="repeating", revision="1", next="/console")
    assert (answered.status_code, answered.headers["location"]) == (303, "/console")
    page = radiographer.get("/console").text
    assert "nobody has answered" not in page and "is repeating" in page


def test_a_click_is_a_label_and_an_audit_line(
    radiographer: Any, site: Site, seed: Callable[..., str]
) -> None:
    uid = seed(Verdict.REPEAT, quality=0.1)
    sent = {"kind": "disagree", "revision": "1", "because": "better", "reason": " fine for the neck "}
    assert radiographer.submit(f"/series/{uid}/acts", **sent).status_code == 303
    (stored,) = Labels(site.store).of_series(uid)
    label = stored.label
    assert (label.rater, label.kind, label.revision) == ("radiographer", LabelKind.DISAGREE, 1)
    assert label.reason == "images are better than the gate says; fine for the neck"
    assert label.created_at is not None
    entry = site.trail.newest()[0]
    assert (entry.actor, entry.act, entry.series_instance_uid) == ("radiographer", "disagree", uid)
    assert "neck" not in str(entry.details), "free words stay with the label"
    page = radiographer.get("/console").text
    assert "<b>radiographer</b>: disagrees" in page


def test_two_people_act_on_one_series(
    login: Callable[..., Any], site: Site, seed: Callable[..., str]
) -> None:
    uid = seed(Verdict.REVIEW, quality=0.4)
    login("radiographer", name="anna").submit(f"/series/{uid}/acts", kind="agree", revision="1")
    ben = login("radiographer", name="ben")
    ben.submit(f"/series/{uid}/acts", kind="disagree", revision="1")
    ben.submit(f"/series/{uid}/acts", kind="agree", revision="1")
    page = ben.get("/console").text
    assert "<b>anna</b>: agrees" in page and page.count("<b>ben</b>: ") == 1, "what each says at last"
    assert len(Labels(site.store).of_series(uid)) == 3, "all of it is kept"
    assert 'value="agree" aria-pressed="true"' in page
    assert 'value="agree" aria-pressed="true"' not in login("radiographer", name="cleo").get("/console").text


def test_a_click_on_a_series_that_was_purged(radiographer: Any, seed: Callable[..., str]) -> None:
    seed()
    answer = radiographer.submit("/series/9.9.9/acts", kind="agree", revision="1")
    assert answer.status_code == 404 and "nothing was recorded" in answer.text


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "agree", "revision": "2"},
        {"kind": "agree", "revision": "0"},
        {"kind": "rating", "revision": "1"},
        {"kind": "agree", "revision": "x"},
        {"kind": "disagree", "revision": "1", "reason": "x" * 1001},
        {"kind": "disagree", "revision": "1", "reason": "\x00"},
        {},
    ],
)
def test_a_click_that_makes_no_sense(
    radiographer: Any, site: Site, seed: Callable[..., str], fields: dict[str, str]
) -> None:
    uid = seed()
    assert radiographer.submit(f"/series/{uid}/acts", **fields).status_code in (409, 422)
    assert Labels(site.store).of_series(uid) == ()


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"]
)
def test_a_click_never_leads_elsewhere(radiographer: Any, seed: Callable[..., str], back: str) -> None:
    uid = seed()
    answer = radiographer.submit(f"/series/{uid}/acts", kind="agree", revision="1", next=back)
    assert answer.headers["location"] == "/console"


def test_a_viewer_cannot_click(viewer: Any, site: Site, seed: Callable[..., str]) -> None:
    uid = seed()
    assert viewer.submit(f"/series/{uid}/acts", kind="agree", revision="1").status_code == 403
    assert Labels(site.store).of_series(uid) == ()


def test_markup_and_long_texts_are_harmless(viewer: Any, seed: Callable[..., str]) -> None:
    seed(protocol_name="<script>alert(1)</script>", series_description="x" * 20_000, station_name="<b>CT</b>")
    for path in ("/console", "/worklist"):
        page = viewer.get(path).text
        assert "<script>alert" not in page and "<b>CT</b>" not in page
        assert "&lt;script&gt;" in page
