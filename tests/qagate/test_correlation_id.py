"""One grep for an association, or for the series it fed, tells the whole story."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

STORY = ["series_arrives", "association_ended", "closed", "claimed", "decided", "delivered"]


def test_from_association_to_delivery(make_gate: Callable, webhook: Any, made: Any) -> None:
    gate = make_gate(alerts={"urls": [webhook.url], "verdicts": ["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"]})
    uid, files = made.series(3)
    other, more = made.series(2)
    gate.send([*files, *more])
    gate.ended(uid, states=("DELIVERED",))
    gate.ended(other, states=("DELIVERED",))
    (arrived,) = [one for one in gate.events("series_arrives") if one["series_instance_uid"] == uid]
    trace = arrived["association"]
    assert len(trace) == 8 and (arrived["calling_ae_title"], arrived["role"]) == ("CT1", "receiver")

    lines = [json.loads(line) for line in gate.log.read_text().splitlines() if trace in line]
    mine = [one["event"] for one in lines if one.get("series_instance_uid", uid) == uid]
    assert sorted(mine, key=STORY.index) == STORY and {one["role"] for one in lines} == {
        "receiver", "services", "worker",
    }  # fmt: skip
    by_series = [json.loads(line) for line in gate.log.read_text().splitlines() if uid in line]
    assert {one["event"] for one in by_series} == set(STORY) - {"association_ended"}
    assert {one["revision"] for one in by_series if one["event"] != "series_arrives"} == {1}

    assert f"associations in the log: {trace}" in gate.run("status", uid).stdout
    gate.send(made.series(1, first=4, SeriesInstanceUID=uid)[1])
    second = gate.ended(uid, revision=2, states=("DELIVERED",)).row.associations
    assert len(second) == 1 and second != (trace,)
