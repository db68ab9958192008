"""The store's state machine under many more random interleavings than `make test` takes time for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
import store_machine
from ledger import record

from qagate.assessment import Assessment, Decision, Prompt, Verdict
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.engine import open_store

pytest_plugins = ("crash_fixtures",)
pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]

EXAMPLES = {"sqlite": 25, "postgres": 8}
STEPS = 60
RESULT = (
    Assessment(prompt=Prompt(dimension="3D", modality="CT"), quality=0.75, score=3.5, slice_count=2),
    Decision(verdict=Verdict.PASS, reasons=("good enough",), review_below=0.5, repeat_below=0.3),
)


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_s(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def arriving(clock: Clock) -> Callable[..., Received]:
    """What a C-STORE would have reported, received now."""

    def arrive(series: str, number: int, *, sha256: str = "") -> Received:
        return Received(
            instance=Instance(
                sop_instance_uid=f"{series}.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                series_instance_uid=series,
                study_instance_uid="1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                calling_ae_title="SCANNER",
                path=f"series/{series}/{number}{sha256}.dcm",
                sha256=sha256 or f"{number:064x}",
                size=1000,
                received_at=clock(),
            ),
            header=SeriesHeader(modality="CT", station_name="CT1"),
        )

    return arrive


def test_many_interleavings(database: Literal["sqlite", "postgres"], url: str) -> None:
    clock: Any = Clock()
    with open_store(url, clock=clock) as store:
        store_machine.run(store, clock, arriving(clock), RESULT, examples=EXAMPLES[database], steps=STEPS)
    record(
        fault="random interleaving", where="store: state machine",
        database=database, accepted=0, lost=0, duplicated=0,
        outcome="no invariant broke; all ends decided once and delivered",
    )  # fmt: skip
