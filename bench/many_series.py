"""Fills a store with a hospital's series of months: results, deliveries, labels, and what went wrong."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from qagate.assessment import (
    Artefact,
    Assessment,
    Decision,
    Finding,
    Prompt,
    SliceScore,
    Verdict,
)
from qagate.series import Series, SeriesHeader, State
from qagate.store.codec import dumps
from qagate.store.engine import Store
from qagate.store.observations import observed
from qagate.store.schema import acknowledged, label, observation, outbox, result, series

_BATCH = 2000
_SCANNERS = (
    ("CT-ER-1", "CT", "SOMATOM Force"),
    ("CT-2", "CT", "Revolution"),
    ("MR-1", "MR", "MAGNETOM Vida"),
    ("MR-2", "MR", "Ingenia"),
    ("MR-CHILD", "MR", "SIGNA"),
    ("CT-ONCO", "CT", "Aquilion"),
)
_PROTOCOLS = {
    "CT": (("Head routine", "head", "soft"), ("Thorax", "chest", "soft"), ("Abdomen pv", "abdomen", "soft")),
    "MR": (("t1_mprage", "head", "t1"), ("t2_tse knee", "knee", "t2"), ("t2_haste", "abdomen", "t2")),
}
_VERDICTS = (
    (Verdict.PASS, 0.82),
    (Verdict.REVIEW, 0.1),
    (Verdict.REPEAT, 0.03),
    (Verdict.NOT_ASSESSED, 0.05),
)

_PARTS = (
    (result, "result"),
    (observation, "observation"),
    (outbox, "deliveries"),
    (label, "labels"),
    (acknowledged, "acknowledgements"),
)
_GHOSTS = Finding(artefact=Artefact.GHOSTING, severity=0.7, text="ghosting along columns, slices 9-15")


def fill(store: Store, count: int, *, now: datetime | None = None, days: float = 300, seed: int = 1) -> None:
    """Add `count` series that came evenly over the `days` before `now`, decided but for a few."""
    drawn, end = random.Random(seed), now or datetime.now(UTC)
    step = timedelta(days=days) / max(count, 1)
    numbers = iter(range(1, count + 1))
    while batch := list(itertools.islice(numbers, _BATCH)):
        rows = [_Case(number, end - step * (count - number + 1), drawn, count) for number in batch]
        with store.write() as connection:
            connection.execute(sa.insert(series), [row.series() for row in rows])
            for table, name in _PARTS:
                values = [one for row in rows for one in getattr(row, name)()]
                if values:
                    connection.execute(sa.insert(table), values)
    with store.write() as connection:
        connection.execute(sa.text("ANALYZE"))


class _Case:
    """One series and all that belongs to it."""

    def __init__(self, number: int, at: datetime, drawn: random.Random, count: int) -> None:
        self.number, self.at, self.drawn = number, at, drawn
        self.station, self.modality, self.model = drawn.choice(_SCANNERS)
        self.protocol, self.region, self.type = drawn.choice(_PROTOCOLS[self.modality])
        self.uid = f"1.2.826.0.1.3680043.8.498.{number}"
        self.verdict = drawn.choices([v for v, _ in _VERDICTS], [w for _, w in _VERDICTS])[0]
        low, high = {"PASS": (0.6, 0.95), "REVIEW": (0.3, 0.5), "REPEAT": (0.05, 0.3)}.get(
            self.verdict.value, (0.0, 0.0)
        )
        self.quality = drawn.uniform(low, high) if high else None
        self.failed = drawn.random() < 0.0002
        self.undelivered = drawn.random() < 0.0003
        self.under_way = number > count - 2
        self.bad = self.verdict in (Verdict.REVIEW, Verdict.REPEAT)
        self.study = f"1.2.826.0.1.3680043.8.499.{number // 6}"
        self.decided_at = at + timedelta(seconds=4)

    def series(self) -> dict[str, Any]:
        state = "RECEIVING" if self.under_way else "FAILED" if self.failed else "DELIVERED"
        done = state == "DELIVERED"
        return {
            "id": self.number,
            "series_instance_uid": self.uid,
            "study_instance_uid": self.study,
            "revision": 1,
            "state": "DECIDED" if done and self.undelivered else state,
            "modality": self.modality,
            "modalities": self.modality,
            "body_part_examined": self.region.upper(),
            "protocol_name": self.protocol,
            "series_description": f"{self.protocol} {self.number % 9}",
            "station_name": self.station,
            "manufacturer_model_name": self.model,
            "series_number": self.number % 9 + 1,
            "expected_instances": 40,
            "calling_ae_title": self.station.replace("-", ""),
            "instance_count": 40,
            "first_received_at": self.at - timedelta(seconds=40),
            "last_received_at": self.at,
            "revision_started_at": self.at - timedelta(seconds=40),
            "released_at": self.at,
            "closed_at": None if self.under_way else self.at + timedelta(seconds=2),
            "closed_because": None if self.under_way else "association released",
            "attempts": 1,
            "not_before": self.at,
            "last_error": "no worker could read it" if self.failed else None,
            "decided_at": self.decided_at if done else None,
            "verdict": self.verdict.value if done else None,
            "quality": self.quality if done else None,
            "judged_revision": 1 if done else None,
            "region": self.region if done else "",
        }

    def result(self) -> Iterator[dict[str, Any]]:
        if self.under_way or self.failed:
            return
        assessed, decided = self.assessed, self.decided
        yield {
            "id": self.number,
            "series_id": self.number,
            "revision": 1,
            "verdict": decided.verdict.value,
            "quality": assessed.quality,
            "instance_count": 40,
            "last_received_at": self.at,
            "decided_at": self.decided_at,
            "worker": "bench",
            "assessment": dumps(assessed),
            "decision": dumps(decided),
            "weights_sha256": assessed.weights_sha256,
        }

    def observation(self) -> Iterator[dict[str, Any]]:
        if self.under_way or self.failed:
            return
        of = Series(
            series_id=self.number,
            study_instance_uid=self.study,
            series_instance_uid=self.uid,
            revision=1,
            state=State.DELIVERED,
            attempts=1,
            header=SeriesHeader(
                modality=self.modality, station_name=self.station, protocol_name=self.protocol
            ),
            calling_ae_title=self.station,
            first_received_at=self.at,
            last_received_at=self.at,
        )
        yield observed(of, self.assessed, self.decided, self.decided_at)

    @cached_property
    def assessed(self) -> Assessment:
        quality = self.quality
        places = range(1, 17) if quality is not None else ()
        return Assessment(
            prompt=Prompt(dimension="3D", modality=self.modality, region=self.region, type=self.type),
            quality=quality,
            score=quality,
            slices=tuple(
                SliceScore(
                    sop_instance_uid=f"{self.uid}.{place}",
                    slice_number=place,
                    score=quality or 0.0,
                    quality=min(1.0, (quality or 0.0) + place / 100),
                    weight=1 / 16,
                )
                for place in places
            ),
            measures={
                "snr_air": self.drawn.gauss(30, 4),
                "edge_sharpness_per_px": self.drawn.gauss(0.5, 0.05),
            },
            technique={"ctdi_vol_mgy": self.drawn.gauss(40, 5)} if self.modality == "CT" else {},
            findings=(_GHOSTS,) if self.bad else (),
            slice_count=40,
            model="default",
            model_version="1",
            weights_sha256="0" * 64,
        )

    @cached_property
    def decided(self) -> Decision:
        reasons = (_GHOSTS.text,) if self.bad else (f"quality {self.quality or 0:.2f}",)
        return Decision(verdict=self.verdict, reasons=reasons, review_below=0.5, repeat_below=0.3)

    def deliveries(self) -> Iterator[dict[str, Any]]:
        if self.under_way or self.failed:
            return
        for kind, name in (("SR", "pacs"), ("ALERT", "console")):
            sent = not (self.undelivered and kind == "SR")
            yield {
                "series_id": self.number,
                "revision": 1,
                "kind": kind,
                "destination": name,
                "payload": json.dumps({"path": self.uid}),
                "payload_key": kind,
                "state": "SENT" if sent else "DEAD",
                "attempts": 1,
                "not_before": self.at,
                "last_error": None if sent else "the archive refused it",
                "created_at": self.decided_at,
                "sent_at": self.at + timedelta(seconds=5) if sent else None,
            }

    def labels(self) -> Iterator[dict[str, Any]]:
        if self.bad and self.drawn.random() < 0.4:
            yield {
                "series_id": self.number,
                "revision": 1,
                "sop_instance_uid": None,
                "rater": "anna",
                "kind": self.drawn.choice(("agree", "disagree", "repeating", "cannot_repeat")),
                "score": None,
                "scale_low": None,
                "scale_high": None,
                "artefacts": "[]",
                "reason": "",
                "created_at": self.at + timedelta(seconds=30),
            }

    def acknowledgements(self) -> Iterator[dict[str, Any]]:
        if self.bad and self.drawn.random() < 0.5:
            yield {
                "series_id": self.number,
                "revision": 1,
                "actor": "ben",
                "at": self.at + timedelta(seconds=60),
            }
