"""The series page and its pictures: what it shows, to whom, and what it says when something is gone."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pictured import MAP, scored_series, write_series
from sqlalchemy import update

from qagate.label import Label, Scale
from qagate.store.labels import Labels
from qagate.store.queue import Queue
from qagate.store.schema import audit, series
from qagate.web.application import create
from qagate.web.site import Site, make_site

UID = "1.2.826.0.1.50"
Seed = Callable[..., str]


@pytest.fixture
def pictured(site: Site, seed: Seed) -> str:
    """A decided CT series of three slices; the second is the worst and has a map."""
    return scored_series(site.spool, seed, UID)


def test_the_page_tells_what_was_concluded_and_why(viewer: TestClient, pictured: str) -> None:
    text = viewer.get(f"/series/{pictured}").text
    for said in (
        "Motion: ghosting along columns, slices 1", "0.45", "Noise in tissue (HU)", "12.5", "default",
        "of 44 series", "what is usual in this protocol", "First image received", "Decided: Look",
        'data-first="2"', 'data-review-below="0.5"', "Quality over the slices",
    ):  # fmt: skip
        assert said in text, said
    assert "Doe" not in text and "Show patient" not in text and "/label?" not in text


def test_measures_stand_beside_what_is_usual(viewer: TestClient, seed: Seed, pictured: str) -> None:
    for number in range(6):
        seed(assessment={"measures": {"noise_hu": 5 + number / 10}})
    text = viewer.get(f"/series/{pictured}").text
    assert re.search(r"5\.25\s.*unusual", text, re.DOTALL)


def test_an_unknown_series_and_an_unknown_state(viewer: TestClient, pictured: str) -> None:
    for path in ("/series/1.9", f"/series/{pictured}?revision=7", "/series/1.9/worst.jpg", "/series/%00"):
        answer = viewer.get(path)
        assert answer.status_code == 404 and "Traceback" not in answer.text


def test_slices_and_scores_for_the_viewer(viewer: TestClient, pictured: str) -> None:
    slices = viewer.get(f"/api/v1/series/{pictured}/slices").json()
    assert [one["number"] for one in slices["slices"]] == [1, 2, 3] and slices["scored_stack"] == 3
    assert slices["slices"][1]["spacing_mm"] == [1.0, 1.0]
    scores = viewer.get(f"/api/v1/series/{pictured}/scores").json()
    assert [one["number"] for one in scores["slices"]] == [1, 2, 3]
    assert base64.b64decode(scores["slices"][1]["quality_map"]["cells"]) == MAP.cells
    assert scores["slices"][0]["quality_map"] is None and scores["map_low"] < scores["map_high"]


def test_pixels_are_hounsfield_units(viewer: TestClient, pictured: str) -> None:
    answer = viewer.get(f"/api/v1/series/{pictured}/slices/3/pixels")
    rows, columns = int(answer.headers["x-rows"]), int(answer.headers["x-columns"])
    stored = np.frombuffer(answer.content, "<u2").reshape(rows, columns)
    values = stored * float(answer.headers["x-slope"]) + float(answer.headers["x-intercept"])
    assert (rows, columns) == (64, 48) and (values[0] == 3).all() and values[-1, -1] == 976
    assert viewer.get(f"/api/v1/series/{pictured}/slices/4/pixels").status_code == 404


def test_pictures(viewer: TestClient, pictured: str) -> None:
    for path, kind in (
        (f"/api/v1/series/{pictured}/slices/1/thumbnail", "image/jpeg"),
        (f"/api/v1/series/{pictured}/slices/1/picture", "image/png"),
        (f"/series/{pictured}/worst.jpg", "image/jpeg"),
    ):
        answer = viewer.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert "private" in answer.headers["cache-control"]


def test_a_slice_that_cannot_be_drawn_says_why(site: Site, viewer: TestClient, seed: Seed) -> None:
    uid = seed(uid="1.2.826.0.1.60", paths=write_series(site.spool, "1.2.826.0.1.60", broken=True))
    assert viewer.get(f"/api/v1/series/{uid}/slices").status_code == 200
    answer = viewer.get(f"/api/v1/series/{uid}/slices/1/pixels")
    assert answer.status_code == 422 and "cannot be drawn" in answer.json()["detail"]
    cross = viewer.get(f"/api/v1/series/{uid}/slices/1/thumbnail")
    assert cross.status_code == 422 and cross.text.startswith("<svg")


def test_a_series_purged_while_it_is_open(site: Site, viewer: TestClient, pictured: str) -> None:
    assert viewer.get(f"/api/v1/series/{pictured}/slices/1/pixels").status_code == 200
    for path in site.spool.folder(pictured).iterdir():
        path.unlink()
    answer = viewer.get(f"/api/v1/series/{pictured}/slices/2/pixels")
    assert answer.status_code == 410 and "the archive has them" in answer.json()["detail"]
    assert viewer.get(f"/series/{pictured}").status_code == 200
    fresh = TestClient(create(make_site(site.settings, site.store)), cookies=viewer.cookies)
    assert fresh.get(f"/api/v1/series/{pictured}/slices").status_code == 410
    assert fresh.get(f"/series/{pictured}/worst.jpg").status_code == 410


def test_the_page_of_a_purged_series_says_so(site: Site, viewer: TestClient, pictured: str) -> None:
    assert "purged" not in viewer.get(f"/series/{pictured}").text
    with site.store.write() as connection:
        connection.execute(
            update(series)
            .where(series.c.series_instance_uid == pictured)
            .values(purged_revision=1, purged_at=datetime(2026, 3, 1, 8, tzinfo=UTC))
        )
    assert re.search(
        r"<dt>Images</dt><dd>purged <time[^>]*2026-03-01", viewer.get(f"/series/{pictured}").text
    )


def test_names_are_shown_to_those_who_may_and_noted(
    site: Site, radiographer: TestClient, physicist: TestClient, pictured: str
) -> None:
    before = site.trail.newest(limit=1)[0].entry_id
    path = f"/series/{pictured}/patient"
    assert radiographer.submit(path).status_code == 403  # type: ignore[attr-defined]
    answer = physicist.submit(path)  # type: ignore[attr-defined]
    assert answer.status_code == 200 and "Doe, Jane" in answer.text and "4711" in answer.text
    with site.store.read() as connection:
        (row,) = connection.execute(audit.select().where(audit.c.id > before)).all()
    assert (row.actor, row.act, row.series_instance_uid) == ("physicist", "show patient", pictured)
    assert "Doe" not in str(row)
    assert "Doe" not in physicist.get(f"/series/{pictured}").text


def test_markup_and_length_do_no_harm(site: Site, physicist: TestClient, seed: Seed) -> None:
    uid = "1.2.826.0.1.70"
    paths = write_series(site.spool, uid, 1, PatientName="<script>alert(1)</script>^<b>")
    seed(uid=uid, paths=paths, count=1, protocol_name="<img src=x>", series_description="long " * 2000)
    text = physicist.submit(f"/series/{uid}/patient").text  # type: ignore[attr-defined]
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert "<img src=x>" not in text and "&lt;img src=x&gt;" in text


def test_states_and_repeats_side_by_side(
    site: Site, viewer: TestClient, seed: Seed, pictured: str, tmp_path: Path
) -> None:
    repeat = seed(study="1.2.826.0.2.1", quality=0.9)
    again = viewer.get(f"/series/{pictured}")
    assert again.text.count(f"/series/{repeat}") >= 1
    beside = viewer.get(f"/series/{pictured}?beside={repeat}")
    assert beside.text.count('<section class="viewer"') == 2
    assert viewer.get(f"/series/{pictured}?beside=9.9").status_code == 404
    Queue(site.store).requeue([pictured])
    text = viewer.get(f"/series/{pictured}").text
    assert "Provisional" in text and "Decided: Look" in text
    earlier = viewer.get(f"/series/{pictured}?revision=2&beside_revision=1").text
    assert earlier.count('<section class="viewer"') == 2 and 'data-revision="1"' in earlier
    assert 'data-revision="2"' in earlier and "waiting" in earlier


def test_ratings_stay_hidden_until_one_has_rated(site: Site, physicist: TestClient, pictured: str) -> None:
    rating = Label(series_instance_uid=pictured, rater="ben", score=1.25, scale=Scale(0, 4))
    Labels(site.store).add([rating])
    text = physicist.get(f"/series/{pictured}").text
    assert "ben" not in text and "hidden until you have rated it" in text
    Labels(site.store).add([replace(rating, rater="physicist", score=3.0)])
    assert "ben: <b>1.25</b>" in physicist.get(f"/series/{pictured}").text


def test_a_report_is_for_those_who_may_see_names(
    site: Site, radiographer: TestClient, physicist: TestClient, pictured: str
) -> None:
    path = f"/series/{pictured}/report.dcm?revision=1"
    assert radiographer.get(path).status_code == 403
    assert physicist.get(path).status_code == 404
    folder: Any = site.settings.report_dir / pictured
    folder.mkdir(parents=True)
    (folder / "1-comprehensive3d.dcm").write_bytes(b"not a report")
    assert "cannot be read" in physicist.get(f"/series/{pictured}").text
    saved = physicist.get(path)
    assert saved.status_code == 200 and saved.headers["content-disposition"].startswith("attachment")


def test_the_pacs_viewer(site: Site, viewer: TestClient, pictured: str) -> None:
    web = site.settings.web.model_copy(update={"viewer_url": "https://pacs.example/?s={series_uid}"})
    other = make_site(site.settings.model_copy(update={"web": web}), site.store)
    client = TestClient(create(other), cookies=viewer.cookies)
    assert f'href="https://pacs.example/?s={pictured}"' in client.get(f"/series/{pictured}").text
