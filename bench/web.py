"""How fast the pages are with 100,000 series in the store: `make bench-web`. Writes bench/web-latest.json.

The pages run as `qagate web`, a process of its own on SQLite; each address is asked one after the other on
one connection, so a time is the server's plus a fraction of a millisecond of loopback. The console's delay is
from the decision's commit to the tile in Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import sqlalchemy as sa
from many_series import fill
from rich.console import Console
from rich.table import Table
from servers import ENVIRONMENT, free_port

from qagate import __version__
from qagate.assessment import Assessment, Decision, Prompt, SliceScore, Verdict
from qagate.config import Settings
from qagate.series import Instance, Received, SeriesHeader
from qagate.store.accounts import Accounts
from qagate.store.engine import Store, open_store
from qagate.store.logins import Logins
from qagate.store.migrate import migrate
from qagate.store.queue import Queue
from qagate.store.schema import series
from qagate.web.security import sessions

HERE = Path(__file__).parent
TOKEN = "bench-token-of-one-run"
CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
)
PAGES = (
    "/console", "/console?station=MR-1", "/console/tiles", "/worklist", "/worklist?after=FAR",
    "/worklist?order=worst", "/worklist?order=protocol", "/worklist?only=open", "/worklist?only=problems",
    "/worklist?verdict=repeat&station=MR-1", "/worklist?protocol=nothing-has-this", "/worklist?state=failed",
    "/worklist?since=DAY&until=DAY", "/series/UID", "/label", "/label/agreement", "/trends",
    "/trends/chart?station=MR-1", "/trends/alerts", "/trends/dose", "/control",
    "/control/models", "/control/thresholds", "/control/users",
    "/control/audit", "/help", "/account", "/metrics", "/readyz", "/api/v1/series?limit=50",
    "/api/v1/series/count", "/api/v1/console", "/api/v1/attention",
)  # fmt: skip


def main() -> None:
    """Run everything and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--series", type=int, default=100_000, help="in the store; default 100000")
    options.add_argument("--rounds", type=int, default=40, help="requests of each page; default 40")
    options.add_argument("--tiles", type=int, default=20, help="decisions timed to their tile; default 20")
    options.add_argument("--output", type=Path, default=HERE / "web-latest.json")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="qagate-bench-") as name:
        result = run(Path(name), chosen.series, chosen.rounds, chosen.tiles)
    chosen.output.write_text(json.dumps(result, indent=2) + "\n")
    show(result)


def run(folder: Path, count: int, rounds: int, tiles: int) -> dict[str, Any]:
    """Fill a store, serve it, measure."""
    port = free_port()
    toml = folder / "qagate.toml"
    toml.write_text(f'data_dir = "{folder / "data"}"\n[web]\nport = {port}\n')
    settings = Settings(data_dir=folder / "data")
    settings.spool_dir.mkdir(parents=True)
    migrate(settings.store_url)
    with open_store(settings.store_url) as store:
        fill(store, count)
        account = Accounts(store).add("bench", "admin", actor="bench")
        Logins(store).begin(account, sessions.fingerprint(TOKEN), longest_s=86_400)
        with serving(toml, port, folder / "web.log") as address:
            pages = measure(address, rounds, marks(store, count))
            delays = tile_delays(store, address, tiles)
    return {
        "version": __version__,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "database": "SQLite"},
        "series": count,
        "rounds": rounds,
        "pages_ms": pages,
        "decision_to_tile_s": delays,
    }


def marks(store: Store, count: int) -> dict[str, str]:
    """What the addresses name: a page far down the list, a day, a series."""
    from qagate.store.worklist import Filter, Worklist

    day = datetime.now(UTC).date().isoformat()
    with store.read() as connection:
        uid = connection.scalar(sa.select(series.c.series_instance_uid).where(series.c.id == count // 2))
        at = connection.scalar(sa.select(series.c.last_received_at).where(series.c.id == count // 2))
    far = Worklist(store).page(Filter(until=at)).after
    return {"FAR": far or "", "DAY": day, "UID": str(uid)}


@contextmanager
def serving(toml: Path, port: int, log: Path) -> Iterator[str]:
    """`qagate web` until the end of the block."""
    command = [sys.executable, "-m", "qagate.cli", "--config", str(toml), "web"]
    with log.open("wb") as messages:
        process = subprocess.Popen(command, stdout=messages, stderr=messages, env=ENVIRONMENT)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{address}/healthz").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def measure(address: str, rounds: int, names: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Milliseconds of each page; those that answer 404 are not there and are left out."""
    found = {}
    with httpx.Client(base_url=address, cookies={"qagate": TOKEN}, timeout=60) as client:
        for path in PAGES:
            asked = path
            for name, value in names.items():
                asked = asked.replace(name, value)
            first = client.get(asked)
            if first.status_code == 404:
                continue
            if first.status_code >= 400:
                raise RuntimeError(f"{asked} answered {first.status_code}: {first.text[:500]}")
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                client.get(asked)
                times.append((time.perf_counter() - began) * 1000)
            times.sort()
            found[path] = {
                "p50": round(statistics.median(times), 1),
                "p95": round(times[max(0, round(0.95 * rounds) - 1)], 1),
                "longest": round(times[-1], 1),
                "kilobytes": round(len(first.content) / 1024, 1),
            }
    return found


def tile_delays(store: Store, address: str, count: int) -> dict[str, float] | None:
    """Seconds from a decision's commit to its tile in Chromium; None where there is no Chromium."""
    if not count or not CHROMIUM.exists() or shutil.which(str(CHROMIUM)) is None:
        return None
    from playwright.sync_api import sync_playwright

    delays = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(_ARGUMENTS))
        context = browser.new_context()
        context.add_cookies([{"name": "qagate", "value": TOKEN, "url": address}])
        page = context.new_page()
        page.goto(f"{address}/console")
        page.wait_for_selector("#live.on")
        page.evaluate(_WATCHER)
        for number in range(count):
            uid = f"1.2.826.0.1.3680043.8.497.{number}"
            claim(store, uid)
            time.sleep(1.0)
            decide(store)
            committed = time.time()
            page.wait_for_function("uid => uid in window.seen", arg=uid, timeout=20_000)
            delays.append(page.evaluate("uid => window.seen[uid]", uid) / 1000 - committed)
        browser.close()
    delays.sort()
    p95 = delays[max(0, round(0.95 * count) - 1)]
    return {
        "median": round(statistics.median(delays), 3),
        "p95": round(p95, 3),
        "longest": round(delays[-1], 3),
    }


_WATCHER = """() => {
  window.seen = {};
  const look = () => {
    for (const tile of document.querySelectorAll("article.main[data-verdict=REPEAT]"))
      window.seen[tile.dataset.uid] ??= Date.now();
  };
  new MutationObserver(look).observe(document.getElementById("shown"), { childList: true, subtree: true });
}"""


def claim(store: Store, uid: str) -> None:
    """Receive and close a series of one image."""
    now, queue = store.now(), Queue(store)
    one = Instance(
        sop_instance_uid=f"{uid}.1", sop_class_uid="1.2", series_instance_uid=uid, study_instance_uid=uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1", calling_ae_title="BENCH", path=f"{uid}.dcm",
        sha256="0" * 64, size=1, received_at=now,
    )  # fmt: skip
    queue.record([Received(instance=one, header=SeriesHeader(modality="CT", station_name="CT-2"))])
    for receiving in queue.receiving():
        if receiving.series_instance_uid == uid:
            queue.close(receiving, "association released")


def decide(store: Store) -> None:
    """Claim what is complete and decide it."""
    queue = Queue(store)
    claimed = queue.claim("bench", 60)
    assert claimed is not None
    uid = claimed.series_instance_uid
    assessed = Assessment(
        prompt=Prompt(dimension="3D", modality="CT"), quality=0.1, score=0.1,
        slices=(SliceScore(sop_instance_uid=f"{uid}.1", slice_number=1, score=0.1, quality=0.1),),
    )  # fmt: skip
    decision = Decision(verdict=Verdict.REPEAT, reasons=("quality 0.10 is below 0.30: repeat suggested",))
    assert queue.finish(claimed, assessed, decision, ())


def show(result: Mapping[str, Any]) -> None:
    """Print what was measured."""
    table = Table("page", "p50 ms", "p95 ms", "longest ms", "kB", title=f"{result['series']:,} series")
    for path, of in result["pages_ms"].items():
        table.add_row(path, *(str(of[name]) for name in ("p50", "p95", "longest", "kilobytes")))
    Console().print(table)
    delays = result["decision_to_tile_s"]
    if delays:
        print("decision to tile, s:", ", ".join(f"{name} {value}" for name, value in delays.items()))


if __name__ == "__main__":
    main()
