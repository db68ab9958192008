"""A day of 20 scanners in half an hour, and what it does to the gate: `make soak`.

Starts `qagate serve` (forward mode), an archive that notes every object, an alert receiver and the scanners;
looks at every process every five seconds; at the end holds all books against each other. Writes
bench/soak-latest.json and docs/figures/soak-*.svg; ends with 1 when a check fails. docs/soak.md says more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import servers
import soak_archive
import soak_facts
import soak_report
from latency import machine
from postgres import postgres
from soak_checks import LEAST_MINUTES, Check, books, flatness, unchanged
from soak_plan import DOWN, HOURS, Planned, ae_title, day, warm_up
from soak_scanners import Ledger, Scanner, Templates, templates
from soak_watch import Sample, Watch, as_json

from qagate import __version__
from qagate.dicom.scu import Archive
from qagate.store.engine import Store, open_store

HERE = Path(__file__).parent
FIGURES = HERE.parent / "docs" / "figures"
_DRAIN_S = 900.0  #: the last series must be delivered within this time
_SETTINGS = """\
mode = "forward"
data_dir = "data"
database_url = "{database}"
[receiver]
port = {port}
min_free_mb = 256
acse_timeout_s = 10
network_timeout_s = 20
[web]
port = {web_port}
[alerts]
urls = ["{alerts_to}"]
physicist_urls = ["console://"]
verdicts = ["PASS", "REVIEW", "REPEAT", "NOT_ASSESSED"]
title = "{{verdict}}"
body = "{{series_instance_uid}} {{revision}}"
[[archive]]
name = "archive"
ae_title = "{archive_title}"
host = "127.0.0.1"
port = {archive_port}
"""
_PEER = """\
[[peer]]
ae_title = "{ae_title}"
addresses = ["127.0.0.0/8"]
"""


@dataclass(frozen=True, slots=True)
class Soak:
    """How long, how many."""

    minutes: float
    scanners: int
    rate: float  #: series a minute, mean over the run
    slices: tuple[int, int]
    database: str

    @property
    def hour_s(self) -> float:
        """Seconds of the run for one hour of the day."""
        return self.minutes * 60 / HOURS

    @property
    def planned(self) -> list[Planned]:
        """The day."""
        return day(self.scanners, round(self.rate * self.minutes), slices=self.slices)


def main() -> None:
    """Run, print, write, and say by the exit status whether all is well."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--minutes", type=float, default=30, help="the day's length; default 30")
    options.add_argument("--scanners", type=int, default=20)
    options.add_argument("--rate", type=float, default=33, help="series a minute, mean; default 33")
    options.add_argument("--slices", type=int, nargs=2, default=(20, 200), metavar=("LEAST", "MOST"))
    options.add_argument("--database", default="sqlite", help="sqlite, postgres or a SQLAlchemy URL")
    options.add_argument(
        "--output",
        type=Path,
        help="file of the figures; default: bench/soak-latest.json, with the plots and the "
        f"table of docs/soak.md, by a run of {LEAST_MINUTES:g} minutes or more",
    )
    chosen = options.parse_args()
    soak = Soak(chosen.minutes, chosen.scanners, chosen.rate, tuple(chosen.slices), chosen.database)
    server = postgres() if chosen.database == "postgres" else nullcontext(chosen.database)
    with tempfile.TemporaryDirectory(prefix="qagate-soak-") as name, server as url:
        result, checks = run(soak, Path(name), "" if url == "sqlite" else url)
    _write(result, chosen.output)
    soak_report.show(result, checks)
    sys.exit(any(check.passed is False for check in checks))


def _write(result: dict[str, Any], output: Path | None) -> None:
    if output is not None:
        output.write_text(json.dumps(result) + "\n")
        soak_report.figures(result, output.parent)
    elif result["minutes"] >= LEAST_MINUTES:
        (HERE / "soak-latest.json").write_text(json.dumps(result) + "\n")
        soak_report.figures(result, FIGURES)
        soak_report.document(result)


def run(soak: Soak, folder: Path, database: str) -> tuple[dict[str, Any], list[Check]]:
    """Live through the day; everything that is started ends here."""
    at_first, planned, made = machine(), soak.planned, templates(soak.slices[1])
    with ExitStack() as stack:
        alerts = servers.Webhook()
        stack.callback(alerts.close)
        archive = _Archive(folder)
        stack.callback(archive.stop)
        gate = _gate(folder, alerts.url, archive.port, database, soak.scanners)
        stack.callback(gate.stop)
        store = stack.enter_context(open_store(database or f"sqlite:///{folder / 'data' / 'qagate.db'}"))
        ward = _Ward(gate.at, made, folder / "outgoing", soak.hour_s)
        stack.callback(ward.stop.set)
        ledger, database_file = ward.ledger, folder / "data" / "qagate.db"
        for scanner in ward.start(warm_up(soak.scanners, soak.slices[1]), time.time()):
            scanner.join()
        _drained(store)
        began = time.time() + 1
        watch = Watch(gate.process.pid, store, database_file, began, lambda: ledger.open)
        before = watch.look()
        watch.start()
        scanners = ward.start(planned, began)
        _night(soak, archive, began)
        _wait(scanners, watch, len(planned), ledger)
        drained_s = _drained(store)
        watch.stop()
        after = watch.look()
        fsck = _fsck(folder)
        facts = soak_facts.gather(
            store, folder / "data" / "spool", archive.noted, gate.log, alerts.taken(), ledger, fsck
        )
        samples = watch.samples
    for line in facts.error_lines[:10]:
        print(line)
    checks = [
        *books(facts.facts),
        *_flat(soak, samples, before, after),
        unchanged([before.pids, *(one.pids for one in samples), after.pids]),
    ]
    return {
        "qagate": __version__,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": at_first | {"load_average_after": round(os.getloadavg()[0], 2)},
        "database": "SQLite" if not database else "PostgreSQL",
        "minutes": soak.minutes,
        "compressed": HOURS * 60 / soak.minutes,
        "scanners": soak.scanners,
        "series": len(facts.facts.current),
        "instances": len(facts.facts.recorded),
        "most_associations": ledger.most_open,
        "associations": ledger.tries,
        "unusable_associations": ledger.failed,
        "drained_s": round(drained_s, 1),
        "cpu_s": round(after.cpu_s - before.cpu_s, 1),
        "sent_again": facts.sent_again,
        "verdicts": facts.verdicts,
        "alert_latency_s": facts.latency,
        "latencies": [(round(at - began, 2), round(value, 3)) for at, value in facts.latencies],
        "checks": [asdict(check) for check in checks],
        "samples": [as_json(one) for one in (before, *samples, after)],
    }, checks


class _Ward:
    """The scanners' side."""

    def __init__(self, gate: Archive, made: Templates, folder: Path, hour_s: float) -> None:
        self.ledger, self.stop = Ledger(), threading.Event()
        self._gate, self._made, self._folder, self._hour_s = gate, made, folder, hour_s

    def start(self, planned: Sequence[Planned], at: float) -> list[Scanner]:
        scanners = [
            Scanner(
                number, [one for one in planned if one.scanner == number], gate=self._gate, made=self._made,
                ledger=self.ledger, folder=self._folder, starts_at=at, hour_s=self._hour_s, stop=self.stop,
            )
            for number in sorted({one.scanner for one in planned})
        ]  # fmt: skip
        for scanner in scanners:
            scanner.start()
        return scanners


class _Archive:
    """The archive's process, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port, self.noted, self._folder = servers.free_port(), folder / "archived", folder
        self._server: servers.Server | None = None
        self.noted.touch()
        self.start()

    def start(self) -> None:
        script = str(HERE / "soak_archive.py")
        command = [sys.executable, script, str(self.port), str(self.noted)]
        self._server = servers.Server("archive", soak_archive.AE_TITLE, self.port, command, self._folder)
        self._server.wait()

    def stop(self) -> None:
        if self._server is not None:
            self._server.process.kill()
            self._server.process.wait()
            self._server = None


def _gate(folder: Path, alerts_to: str, archive_port: int, database: str, scanners: int) -> servers.Server:
    port, config = servers.free_port(), folder / "qagate.toml"
    peers = [servers.CALLING, *(ae_title(number) for number in range(scanners))]
    config.write_text(
        _SETTINGS.format(
            port=port, web_port=servers.free_port(), alerts_to=alerts_to, archive_port=archive_port,
            archive_title=soak_archive.AE_TITLE, database=database,
        )
        + "".join(_PEER.format(ae_title=name) for name in peers)
    )  # fmt: skip
    command = [sys.executable, "-m", "qagate.cli", "--config", str(config), "serve"]
    server = servers.Server("qagate", "QAGATE", port, command, folder)
    server.wait(lambda: "worker_ready" in server.log.read_text(), timeout_s=300)
    return server


def _night(soak: Soak, archive: _Archive, began: float) -> None:
    """Kill the archive for an hour of the night."""
    time.sleep(max(0.0, began + DOWN[0] * soak.hour_s - time.time()))
    archive.stop()
    time.sleep(max(0.0, began + DOWN[1] * soak.hour_s - time.time()))
    archive.start()


def _wait(scanners: Sequence[Scanner], watch: Watch, count: int, ledger: Ledger) -> None:
    shown = 0
    while any(scanner.is_alive() for scanner in scanners):
        time.sleep(1)
        if len(watch.samples) > shown:
            last, shown = watch.samples[-1], len(watch.samples)
            waiting = sum(number for state, number in last.series.items() if state != "DELIVERED")
            told = f"{len(ledger.series)} of {count} series begun, {waiting} under way, {last.rss:.0f} MB"
            print(f"\r{last.at_s:6.0f} s  {told}   ", end="", flush=True)
    print()


def _drained(store: Store) -> float:
    """Wait until nothing is under way; how long that took."""
    began = time.time()
    while not soak_facts.settled(store) and time.time() - began < _DRAIN_S:
        time.sleep(0.5)
    return time.time() - began


def _fsck(folder: Path) -> str:
    command = [sys.executable, "-m", "qagate.cli", "--config", str(folder / "qagate.toml"), "fsck", "--deep"]
    done = subprocess.run(
        [*command, "--no-archives"], capture_output=True, text=True, check=False, env=servers.ENVIRONMENT
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-500:].strip()


def _flat(soak: Soak, samples: Sequence[Sample], before: Sample, after: Sample) -> Iterator[Check]:
    memory = {role: [one.rss_mb.get(role, 0.0) for one in samples] for role in before.pids}
    first, last = (before.handles, before.threads), (after.handles, after.threads)
    times_s = [one.at_s for one in samples]
    yield from flatness(times_s, memory, first, last, hour_s=soak.hour_s, minutes=soak.minutes)


if __name__ == "__main__":
    main()
