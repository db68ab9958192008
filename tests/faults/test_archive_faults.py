"""Archives that are down, slow, refuse, answer failures and warnings, or break off: one gate, one of each."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_archives import (
    REJECTIONS,
    Aborting,
    Answering,
    Archive,
    Cutting,
    Down,
    Lazy,
    Rejecting,
    Rude,
    Silent,
    Slow,
)
from fault_gate import EVERYTHING, Books, needs, whole
from neighbours import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
AGAIN = "waits in `qagate status` with the reason, is tried again by itself, then is there once"
REVIVED = "a dead letter with the archive's answer; there once after `qagate requeue --dead`"
NOTED = "counts as stored, and the log notes the warning"
FAULTS: dict[str, tuple[str, str]] = {
    "down": ("archive down", AGAIN),
    "slow": ("archive slow: answers after the time limit", AGAIN),
    "lazy": ("archive slow: answers just within the limit", "there once; other archives wait for nothing"),
    "silent": ("archive takes associations and answers nothing", AGAIN),
    "refuses": ("archive closes every connection", AGAIN),
    "rejects": ("archive rejects associations, with each reason of PS3.8 table 9-21", AGAIN),
    "aborts": (
        "archive aborts after two objects, every time",
        "the rest goes over further associations at once; there once, nobody is asked anything",
    ),
    "cuts": ("archive closes the connection within a data set", AGAIN),
    "a700": ("archive answers 0xA700", AGAIN),
    "a900": ("archive answers 0xA900", REVIVED),
    "c000": ("archive answers 0xC000", REVIVED),
    "0122": ("archive answers 0x0122", REVIVED),
    "b000": ("archive answers the warning 0xB000", NOTED),
    "b006": ("archive answers the warning 0xB006", NOTED),
    "b007": ("archive answers the warning 0xB007", NOTED),
}
SPOOL_TO_ARCHIVE = "delivery"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Archive]]:
    folder = tmp_path_factory.mktemp("archives")
    plain: dict[str, type[Archive]] = {
        "down": Down, "slow": Slow, "lazy": Lazy, "silent": Silent, "refuses": Rude, "rejects": Rejecting,
        "aborts": Aborting, "cuts": Cutting,
    }  # fmt: skip
    there = {name: kind(name, folder) for name, kind in plain.items()}
    there |= {
        name: Answering(name, folder, int(name, 16))
        for name in ("a700", "a900", "c000", "0122", "b000", "b006", "b007")
    }
    assert there.keys() == FAULTS.keys()
    for archive in there.values():
        archive.start()
    yield there
    for archive in there.values():
        archive.close()


@pytest.fixture(scope="module")
def after(make_gate: Callable[..., Any], made: Any, archives: dict[str, Archive]) -> tuple[Books, str]:
    """The books when every archive has misbehaved, was healed and has everything."""
    gate = make_gate(**EVERYTHING, archive=[archive.settings() for archive in archives.values()])
    books = Books(gate, gate.store_url)
    assert books.send(made.series(3)[1]) == 3

    def all_hit() -> bool:
        return all(
            one.faults >= (len(REJECTIONS) if name == "rejects" else 1) for name, one in archives.items()
        )

    assert until(all_hit, 90), {name: one.faults for name, one in archives.items()}
    assert until(lambda: len([one for one in books.errors() if one]) >= 10, 30)
    shown = gate.run("status", "--json").stdout
    for archive in archives.values():
        archive.heal()
    refused = ("a900", "c000", "0122")

    def dead() -> bool:
        return all(f"0x{name.upper()}" in " ".join(books.errors()) for name in refused)

    assert until(dead, 30), books.errors()
    assert gate.run("requeue", "--dead").returncode == 0
    books.settle()
    return books, shown


@pytest.mark.parametrize("name", FAULTS)
def test_an_archive_that_misbehaves_gets_everything_once(
    after: tuple[Books, str], archives: dict[str, Archive], name: str
) -> None:
    books, _ = after
    fault, outcome = FAULTS[name]
    mine = Books(books.gate, books.url, [archives[name]])
    mine.accepted = dict(books.accepted)
    mine.close(fault, SPOOL_TO_ARCHIVE, outcome)
    assert archives[name].reports() == 1


def test_the_status_names_every_archive_that_waits(after: tuple[Books, str]) -> None:
    _, shown = after
    for name in ("down", "slow", "silent", "refuses", "rejects", "cuts", "a700", "a900", "c000", "0122"):
        assert name in shown, shown


class Orthanc:
    """Orthanc as an archive of the books."""

    def __init__(self, folder: Path) -> None:
        self.server = whole().OrthancServer(folder)

    def holds(self, sop_instance_uid: str, sha256: str) -> bool:
        return self.server.file(sop_instance_uid) is not None

    def reports(self) -> int:
        return len(self.server.documents("SR"))


def test_orthanc_stops_hangs_and_comes_back(make_gate: Callable[..., Any], made: Any, tmp_path: Path) -> None:
    needs("Orthanc")
    orthanc = Orthanc(tmp_path / "orthanc")
    gate = make_gate(**EVERYTHING, archive=[orthanc.server.settings(timeout_s=2.0)])
    books = Books(gate, gate.store_url, [orthanc])
    try:
        assert books.send(made.series(3)[1]) == 3
        assert until(lambda: any("connection refused" in one for one in books.errors()), 60), books.errors()
        orthanc.server.start()
        books.close("Orthanc down, then started", SPOOL_TO_ARCHIVE, AGAIN)
        process: subprocess.Popen[bytes] = orthanc.server._process
        os.kill(process.pid, signal.SIGSTOP)
        assert books.send(made.series(3)[1]) == 3
        assert until(lambda: any("did not answer" in one for one in books.errors()), 60), books.errors()
        os.kill(process.pid, signal.SIGCONT)
        books.close("Orthanc hangs (SIGSTOP), then goes on", SPOOL_TO_ARCHIVE, AGAIN)
    finally:
        orthanc.server.stop()
