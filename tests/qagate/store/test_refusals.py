"""Refusals are kept and counted, a flood of one kind does not push out the other."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from qagate.refusal import WORDS, Refusal
from qagate.store.engine import Store
from qagate.store.refusals import Refusals
from qagate.store.views import Views


def refusal(status: int, when: datetime, *, reason: str = "why") -> Refusal:
    return Refusal(
        status=status, reason=reason, sop_class_uid="1.2", sop_instance_uid="1.2.3",
        calling_ae_title="SCANNER", address="127.0.0.1", refused_at=when,
    )  # fmt: skip


def test_the_newest_of_each_kind_are_kept(store: Store, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qagate.store.refusals._KEPT", 3)
    monkeypatch.setattr("qagate.store.refusals._LOOK", 1)
    refusals = Refusals(store)
    for number in range(5):
        refusals.record(refusal(0xA900, clock(), reason=f"instance {number}\x00"))
    for number in range(20):
        refusals.record(refusal(0x010103, clock(), reason=f"association {number}"))
    kept = [row.reason for row in Views(store).overview().refused]
    assert kept == [*(f"association {n}" for n in (19, 18, 17)), *(f"instance {n}" for n in (4, 3, 2))]


def test_those_of_a_day_are_counted_by_reason(store: Store, clock: Any) -> None:
    refusals = Refusals(store)
    assert refusals.today() == dict.fromkeys(WORDS.values(), 0)
    for status in (0xA701, 0xA701, 0x010107, 0x1000000, 0xFE00):
        refusals.record(refusal(status, clock()))
    found = {word: count for word, count in refusals.today().items() if count}
    assert found == {"data_set_too_large": 2, "called_ae_title": 1, "tls": 1, "other": 1}
    clock.pass_s(2 * 86_400)
    assert not any(refusals.today().values())
