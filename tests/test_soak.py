"""The soak's books tell what is lost, doubled or leaking; and a short day passes them."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))

import soak_report  # noqa: E402
from soak_checks import Check, Facts, books, flatness, growth, unchanged  # noqa: E402
from soak_plan import RUSH, Kind, ae_title, day  # noqa: E402

HOUR_S = 75.0


def facts() -> Facts:
    """Two series, one of them bad, and all is well."""
    results = {("1.1", 1): "PASS", ("1.2", 1): "REPEAT"}
    return Facts(
        acknowledged={"1.1.1", "1.2.1"},
        recorded={"1.1.1": "a", "1.2.1": "b"},
        spooled=2,
        states={"DELIVERED": 2},
        current=set(results),
        decided=list(results),
        results=results,
        key_objects={("1.2", 1)},
        unsent={},
        archived={"1.1.1": ["a"], "1.2.1": ["b", "b"]},
        documents={("SR", "1.1", 1): {"x"}, ("SR", "1.2", 1): {"y"}, ("KO", "1.2", 1): {"z"}},
        alerted=list(results),
        given_up=[],
        cut_off={"says nothing": 10.0, "stops half-way": 20.0},
    )


def failed(checks: list[Check]) -> list[str]:
    return [check.name.partition(":")[0] for check in checks if check.passed is False]


def test_a_day_without_a_fault_passes() -> None:
    assert failed(list(books(facts()))) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"acknowledged": {"1.1.1", "1.2.1", "1.2.2"}}, "accepted"),
        ({"spooled": 1}, "accepted"),
        ({"given_up": ["series 7"]}, "accepted"),
        ({"current": {("1.1", 2), ("1.2", 1)}}, "decided"),
        ({"decided": [("1.1", 1), ("1.2", 1), ("1.2", 1)]}, "decided"),
        ({"archived": {"1.1.1": ["a"]}}, "delivered"),
        ({"archived": {"1.1.1": ["a"], "1.2.1": ["b", "c"]}}, "delivered"),
        ({"unsent": {"SR": 1}}, "delivered"),
        (
            {"documents": facts().documents | {("SR", "1.1", 1): {"x", "w"}}},
            "one SR a revision in the archive",
        ),
        ({"documents": facts().documents | {("SR", "1.3", 1): {"w"}}}, "one SR a revision in the archive"),
        ({"key_objects": set()}, "one KOS a revision in the archive"),
        ({"alerted": [("1.1", 1)]}, "alerts exactly once"),
        ({"alerted": [("1.1", 1), ("1.2", 1), ("1.2", 1)]}, "alerts exactly once"),
        ({"states": {"DELIVERED": 1, "FAILED": 1}}, "every series DELIVERED"),
        ({"fsck": "something"}, "`qagate fsck --deep --no-archives` finds nothing"),
        ({"errors": Counter({"record_failed": 1})}, "no error in the log"),
        ({"cut_off": {"says nothing": 10.0}}, "peers that hang are cut off"),
    ],
)
def test_each_fault_fails_its_own_check(change: dict, name: str) -> None:
    assert failed(list(books(replace(facts(), **change)))) == [name]


def samples(per_hour: float) -> tuple[list[float], list[float]]:
    times = list(np.arange(0, 24 * HOUR_S, 5.0))
    noise = np.random.default_rng(1).normal(0, 2, len(times))
    return times, [1000 + per_hour * at / HOUR_S + one for at, one in zip(times, noise, strict=True)]


@pytest.mark.parametrize("slope", [-3.0, 0.0, 0.5, 4.0])
def test_growth_is_found_with_its_interval(slope: float) -> None:
    found = growth(*samples(slope), HOUR_S)
    assert found.low < slope < found.high
    assert found.high - found.low < 1


@pytest.mark.parametrize(("slope", "minutes", "passed"), [(0.0, 30, True), (4.0, 30, False), (4.0, 2, None)])
def test_memory_is_judged_in_a_long_run(slope: float, minutes: float, passed: bool | None) -> None:
    times, values = samples(slope)
    handles = ({"worker": 6}, {"worker": 4})
    checks = list(flatness(times, {"worker": values}, handles, handles, hour_s=HOUR_S, minutes=minutes))
    assert [check.passed for check in checks] == [passed, passed, True, True]


def test_handles_threads_and_restarts_are_seen() -> None:
    times, values = samples(0.0)
    first, last = ({"worker": 6}, {"worker": 4}), ({"worker": 60}, {"worker": 40})
    *_, handles, threads = flatness(times, {"worker": values}, first, last, hour_s=HOUR_S, minutes=30)
    assert not handles.passed
    assert not threads.passed
    assert unchanged([{"worker": 7}, {"worker": 7}]).passed
    assert not unchanged([{"worker": 7}, {}, {"worker": 8}]).passed


def test_the_day_has_its_rush_and_every_kind() -> None:
    planned = day(20, 990)
    assert len(planned) == 990
    assert len({one.number for one in planned}) == 990
    assert {one.scanner for one in planned if one.hour == RUSH} == set(range(20))
    assert {one.kind for one in planned} == set(Kind)
    night = sum(one.hour < 5 for one in planned)
    morning = sum(7 <= one.hour < 12 for one in planned)
    assert morning > 5 * night
    assert len({ae_title(number) for number in range(20)}) == 20


def test_the_page_has_the_figures_of_the_last_run() -> None:
    result = json.loads((BENCH / "soak-latest.json").read_text(encoding="utf-8"))
    assert soak_report.block(result) in soak_report.PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_day(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    options = ("--minutes", "1", "--scanners", "4", "--slices", "5", "20", "--output", str(output))
    done = subprocess.run(
        [sys.executable, str(BENCH / "soak.py"), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert json.loads(output.read_text())["series"] >= 30
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        "soak-latency.svg",
        "soak-memory.svg",
        "soak-handles.svg",
    }
