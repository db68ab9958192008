"""The worklist's page, its CSV, acknowledging many, and the API that says the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qagate.assessment import Verdict
from qagate.store.outbox import Kind, Outbox, OutboxItem
from qagate.web.sheets import cell
from qagate.web.site import Site
from qagate.web.worklist import COLUMNS


def rows(browser: Any, query: str = "") -> list[dict[str, str]]:
    text = browser.get(f"/worklist.csv{query}").content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def protocols(browser: Any, query: str = "") -> list[str]:
    return [row["protocol"] for row in rows(browser, query)]


def test_filters_by_address(viewer: Any, seed: Callable[..., str]) -> None:
    day = datetime(2026, 3, 1, 12, tzinfo=UTC)
    seed(Verdict.PASS, protocol_name="A", received_at=day)
    seed(Verdict.REPEAT, quality=0.1, protocol_name="B", station_name="MR1", modality="MR",
         received_at=day + timedelta(days=1))  # fmt: skip
    seed(Verdict.REVIEW, quality=0.4, protocol_name="C", received_at=day + timedelta(days=2))
    expected = {
        "": "CBA", "?order=oldest": "ABC", "?order=worst": "BCA", "?verdict=repeat": "B",
        "?station=MR1&modality=": "B", "?station=&verdict=": "CBA", "?protocol=c": "C", "?only=open": "CB",
        "?since=2026-03-02": "CB", "?until=2026-03-02": "BA", "?since=2026-03-02&until=2026-03-02": "B",
        "?since=2026-03-01T13:00:00%2B00:00": "CB", "?region=head&state=delivered": "CBA", "?uid=1.2.3": "",
    }  # fmt: skip
    assert {query: "".join(protocols(viewer, query)) for query in expected} == expected
    page = viewer.get("/worklist?verdict=repeat&order=worst").text
    assert "<b>1 series</b>" in page and 'value="repeat" selected' in page


@pytest.mark.parametrize(
    "query",
    ["verdict=GREAT", "state=x", "only=x", "order=x", "since=yesterday", "until=2026-13-01", "after=x",
     "since=9999-12-31T23:59:59-23:59", "station=%00", "before=%C3%A9", "protocol=" + "x" * 201],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/worklist", "/api/v1/series"])
def test_an_address_that_makes_no_sense_is_answered(viewer: Any, path: str, query: str) -> None:
    assert viewer.get(f"{path}?{query}").status_code == 422


def test_pages_of_the_list(viewer: Any, seed: Callable[..., str]) -> None:
    for number in range(53):
        seed(protocol_name=f"P{number:02}")
    page = viewer.get("/worklist").text
    assert page.count("/series/1.") == 50 and 'rel="prev"' not in page
    further = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    last = viewer.get(further).text
    assert last.count('href="/series/1.') == 3 and 'rel="next"' not in last and 'rel="prev"' in last


def test_csv(viewer: Any, site: Site, seed: Callable[..., str]) -> None:
    uid = seed(Verdict.REVIEW, quality=0.5, protocol_name="=cmd|' /C calc'!A0", series_description='a,"b\nc')
    (row,) = rows(viewer)
    assert tuple(row) == COLUMNS
    assert (row["series_instance_uid"], row["verdict"], row["quality"]) == (uid, "REVIEW", "0.5")
    assert row["protocol"] == "'=cmd|' /C calc'!A0"
    assert row["description"] == 'a,"b\nc'
    assert row["received_at"].endswith("Z")
    assert site.trail.newest()[0].act == "export worklist"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell(-1.5) == "-1.5" and cell("a=1") == "a=1"


def test_acknowledge_many(radiographer: Any, site: Site, seed: Callable[..., str]) -> None:
    uids = [seed(Verdict.REPEAT, quality=0.1) for _ in range(3)]
    ticked = [f"{uid} 1" for uid in uids[:2]]
    back = "/worklist?only=open"
    answer = radiographer.submit("/worklist/acknowledge", seen=ticked, next=back)
    assert (answer.status_code, answer.headers["location"]) == (303, back)
    assert [row["series_instance_uid"] for row in rows(radiographer, "?only=open")] == uids[2:]
    acts = [one.act for one in site.trail.newest()]
    assert acts.count("acknowledge") == 2
    assert radiographer.submit("/worklist/acknowledge", next=back).status_code == 303, "none ticked"


@pytest.mark.parametrize("seen", [["9.9 1"], ["x"], ["1.2 3 4"], [f"1.2 {10**12}"], ["1.2.826.0.1.1 2"]])
def test_ticks_that_make_no_sense(radiographer: Any, seed: Callable[..., str], seen: list[str]) -> None:
    uid = seed(Verdict.REPEAT, quality=0.1)
    answer = radiographer.submit("/worklist/acknowledge", seen=[f"{uid} 1", *seen])
    assert answer.status_code in (409, 422)
    assert len(rows(radiographer, "?only=open")) == 1, "all or none"


def test_what_was_not_delivered_never_hides(viewer: Any, site: Site, seed: Callable[..., str]) -> None:
    seed(outbox=[OutboxItem(kind=Kind.SR, destination="pacs", payload="a.dcm")], protocol_name="Stuck")
    delivery = Outbox(site.store).claim(60)
    assert delivery is not None
    Outbox(site.store).mark_dead(delivery, "the archive refuses it")
    page = viewer.get("/worklist?verdict=repeat").text
    assert "1 not delivered" in page and "Stuck" in page and "the archive refuses it" in page
    assert protocols(viewer, "?only=problems") == ["Stuck"]
    assert "1 series not delivered" in viewer.get("/console").text
    assert viewer.get("/api/v1/attention").json() == {"failed": 0, "undelivered": 1, "waiting": 0, "held": 0}


def test_the_api_says_what_the_pages_show(radiographer: Any, seed: Callable[..., str]) -> None:
    uids = [seed(Verdict.REPEAT, quality=0.25, reasons=("a", "b")) for _ in range(3)]
    first = radiographer.get("/api/v1/series?limit=2&verdict=repeat").json()
    rest = radiographer.get(f"/api/v1/series?limit=2&verdict=repeat&after={first['after']}").json()
    found = [one["series_instance_uid"] for one in first["series"] + rest["series"]]
    assert found == uids[::-1] and rest["after"] is None
    assert radiographer.get("/api/v1/series/count?verdict=repeat").json() == {"count": 3}
    (tile, *_) = radiographer.get("/api/v1/console?station=CT1").json()
    assert tile["series"]["verdict"] == "REPEAT" and tile["worst_slice"] == 1
    assert radiographer.get("/api/v1/stations").json()[0]["name"] == "CT1"

    headers = {"X-CSRF-Token": radiographer.proof()}
    body = {"act": "disagree", "revision": 1, "because": "worse", "reason": "motion"}
    acted = radiographer.post(f"/api/v1/series/{uids[0]}/acts", json=body, headers=headers)
    assert acted.status_code == 201
    (said,) = acted.json()["series"]["said"]
    assert (said["actor"], said["act"], said["revision"]) == ("radiographer", "disagree", 1)
    seen = {"seen": [{"series_instance_uid": uids[1], "revision": 1}]}
    noted = radiographer.post("/api/v1/acknowledgements", json=seen, headers=headers)
    assert (noted.status_code, noted.json()) == (201, {"series_instance_uids": [uids[1]]})
    assert radiographer.post("/api/v1/acknowledgements", json=seen, headers=headers).status_code == 200
    assert radiographer.get("/api/v1/series/count?only=open").json() == {"count": 1}
    assert radiographer.get("/api/v1/console/9.9").status_code == 404
    assert radiographer.post(f"/api/v1/series/{uids[0]}/acts", json=body).status_code == 403, "no proof"
