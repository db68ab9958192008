"""From last slice to alert, and how fast slices are received: `make bench`. Writes bench/latest.json.

Each series is one DIMSE association. Latency: from the last slice's 0x0000 to the alert's arrival at a
webhook, less the quiet time that the settings ask for. Its parts come from the gate's own log; the stages
of reading are measured once more in this process. Reception is compared with pynetdicom's storescp and
Orthanc on the same files, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import servers
import synthetic
from rich.console import Console
from rich.table import Table

from qagate import __version__, config
from qagate.dicom import scu
from qagate.dicom.pixels import decode, read_series
from qagate.gate.measures import measure
from qagate.gate.slices import is_empty_image, salient, scored_stack

HERE = Path(__file__).parent
PARTS = {
    "close_wait_s": "series complete -> closed, beyond the quiet time",
    "claim_wait_s": "closed -> claimed by the worker",
    "prepare_s": "headers read, slices decoded, measured",
    "score_s": "model",
    "finish_s": "SR, KOS and alert written, committed",
    "alert_s": "committed -> alert arrived",
}
Seconds = Mapping[str, Sequence[float]]


def main() -> None:
    """Run everything and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--series", type=int, default=30, help="series timed; default 30")
    options.add_argument("--slices", type=int, default=200, help="slices of a series; default 200")
    options.add_argument("--rounds", type=int, default=5, help="sends to each SCP to compare; 0: none")
    options.add_argument("--output", type=Path, default=HERE / "latest.json")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="qagate-bench-") as name:
        result = run(Path(name), chosen.series, chosen.slices, chosen.rounds)
    chosen.output.write_text(json.dumps(result, indent=2) + "\n")
    show(result)


def run(folder: Path, count: int, slices: int, rounds: int) -> dict[str, Any]:
    """Measure; everything that is started ends here."""
    at_first, made = machine(), synthetic.template(slices)
    with ExitStack() as stack:
        hook = servers.Webhook()
        stack.callback(hook.close)
        gate = servers.gate(folder, hook.url)
        stack.callback(gate.stop)
        timed = latency(gate, hook, made, folder, count)
        idle = idle_cpu(gate)
        reception = compare(gate, hook, made, folder, rounds) if rounds else {}
        stages = stages_of(made, folder)
    return {
        "qagate": __version__,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": at_first | {"load_average_after": round(os.getloadavg()[0], 2)},
        "series": count,
        "slices": slices,
        "slice_bytes": len(made.files[0]),
        "quiet_s": config.Settings().assembly.short_quiet_s,
        "verdict": timed.pop("verdict"),
        "latency_s": timed.pop("latency"),
        "cpu_s_per_series": timed.pop("cpu"),
        "parts_s": timed,
        "stages_s": stages,
        "idle_cpu_percent": idle,
        "reception": reception,
    }


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def latency(
    gate: servers.Server, hook: servers.Webhook, made: synthetic.Template, folder: Path, count: int
) -> dict[str, Any]:
    """Send series one after the other and wait for the alert of each."""
    quiet_s = config.Settings().assembly.short_quiet_s
    seconds: dict[str, list[float]] = defaultdict(list)
    title = ""
    sent: dict[str, tuple[float, float]] = {}
    for number in range(count + 1):
        if number == 1:
            cpu_before = servers.cpu_seconds(gate.process.pid)
        uid, paths = made.write(folder / "outgoing", number)
        last = send(gate, paths)
        arrived, title = hook.wait(uid)
        shutil.rmtree(folder / "outgoing")
        if number:  # the first one warms up
            sent[uid] = last, arrived
            print(f"\r{number}/{count}  {arrived - last - quiet_s:.2f} s  {title}", end="", flush=True)
    print()
    spent = (servers.cpu_seconds(gate.process.pid) - cpu_before) / count
    time.sleep(0.5)
    events = events_of(gate)
    for uid, (last, arrived) in sent.items():
        closed, claimed, decided = (events[name][uid] for name in ("closed", "claimed", "decided"))
        at, done_at = moment(claimed), moment(decided)
        seconds["latency"].append(arrived - last - quiet_s)
        seconds["close_wait_s"].append(moment(closed) - last - quiet_s)
        seconds["claim_wait_s"].append(at - moment(closed))
        seconds["prepare_s"].append(decided["prepare_s"])
        seconds["score_s"].append(decided["score_s"])
        seconds["finish_s"].append(done_at - at - decided["prepare_s"] - decided["score_s"])
        seconds["alert_s"].append(arrived - done_at)
    return {"verdict": title, "cpu": round(spent, 2)} | {
        name: spread(values) for name, values in seconds.items()
    }


def send(server: servers.Server, paths: Sequence[Path]) -> float:
    """Send a series in one association; when its last 0x0000 came, seconds since the epoch."""
    last = 0.0
    for result in scu.store(server.at, paths):
        if result.status != 0x0000:
            log = "".join(server.log.read_text().splitlines(keepends=True)[-10:])
            raise RuntimeError(f"{server.name} answered {result.status}: {result.message}\n{log}")
        last = time.time()
    return last


def events_of(gate: servers.Server) -> dict[str, dict[str, dict[str, Any]]]:
    """The gate's log: event -> Series Instance UID -> line."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for line in gate.log.read_text().splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            found[event["event"]][event.get("series_instance_uid", "")] = event
    return found


def moment(event: Mapping[str, Any]) -> float:
    """A log line's time, seconds since the epoch."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and largest."""
    ordered = sorted(values)
    p95 = statistics.quantiles(ordered, n=20, method="inclusive")[-1] if len(ordered) > 1 else ordered[0]
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(p95, 3),
        "max": round(ordered[-1], 3),
    }


def idle_cpu(gate: servers.Server, during_s: float = 10.0) -> float:
    """What the waiting gate costs, percent of one core."""
    time.sleep(2.0)
    before = servers.cpu_seconds(gate.process.pid)
    time.sleep(during_s)
    return round(100 * (servers.cpu_seconds(gate.process.pid) - before) / during_s, 1)


def compare(
    gate: servers.Server, hook: servers.Webhook, made: synthetic.Template, folder: Path, rounds: int
) -> dict[str, Any]:
    """Instances a second of each SCP: the whole association, from the sender's side."""
    rates: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        others = [servers.storescp(folder), servers.orthanc(folder)]
        compared = [gate, *(server for server in others if server is not None)]
        for server in compared[1:]:
            stack.callback(server.stop)
        for number in range(rounds):
            for server in compared:
                uid, paths = made.write(folder / "outgoing", 100_000 + number)
                began = time.perf_counter()
                associate(server, paths, folder / "outgoing")
                rates[server.name].append(len(paths) / (time.perf_counter() - began))
                if server is gate:
                    hook.wait(uid)
                shutil.rmtree(folder / "outgoing")
    result: dict[str, Any] = {
        "sender": "DCMTK storescu" if servers.STORESCU.exists() else "qagate.dicom.scu",
        "instances_per_s": {name: round(statistics.median(found), 1) for name, found in rates.items()},
    }
    own = rates.pop(gate.name)
    for name, theirs in rates.items():
        ratios = [ours / other for ours, other in zip(own, theirs, strict=True)]
        result[f"ratio_to_{name}"] = round(statistics.median(ratios), 2)
    return result


def associate(server: servers.Server, paths: Sequence[Path], folder: Path) -> None:
    """Send a folder by DCMTK's storescu, which costs the sender least; by our own where it is missing."""
    if not servers.STORESCU.exists():
        send(server, paths)
        return
    at = server.at
    command = [str(servers.STORESCU), "-aet", at.calling_ae_title, "-aec", at.ae_title, "+sd", "-R"]
    subprocess.run([*command, at.host, str(at.port), str(folder)], check=True, env=servers.ENVIRONMENT)


def stages_of(made: synthetic.Template, folder: Path, rounds: int = 5) -> dict[str, dict[str, float]]:
    """The stages of reading, alone in this process."""
    _, paths = made.write(folder / "outgoing", 200_000)
    seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[name].append(time.perf_counter() - began)

    for _ in range(rounds):
        with timed("read_series"):
            images = read_series(paths)
        stack = scored_stack(images.stacks)
        assert stack is not None
        with timed("choose_and_decode"):
            chosen = salient(stack, lambda header: is_empty_image(decode(header)))
        decoded = [decode(header) for header in chosen]
        with timed("measure"):
            measure(decoded, stack)
    return {name: spread(values) for name, values in seconds.items()}


def rows(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float]]]:
    """The table's rows."""
    yield "last slice -> alert, quiet time excluded", result["latency_s"]
    for name, words in PARTS.items():
        yield f"  {words}", result["parts_s"][name]
    for name, values in result["stages_s"].items():
        yield f"    {name.replace('_', ' ')} (alone)", values


def show(result: Mapping[str, Any]) -> None:
    """Print the figures."""
    cores, count, slices = result["machine"]["cores"], result["series"], result["slices"]
    table = Table(title=f"{count} series of {slices} slices, {cores} cores ({result['verdict']})")
    table.add_column("seconds")
    for name in ("median", "p95", "max"):
        table.add_column(name, justify="right")
    for words, values in rows(result):
        table.add_row(words, *(f"{values[name]:.3f}" for name in ("median", "p95", "max")))
    console = Console()
    console.print(table)
    console.print(f"idle gate: {result['idle_cpu_percent']} % of one core")
    console.print(f"CPU of the gate for one series: {result['cpu_s_per_series']} s, receiving included")
    if result["machine"]["load_average_before"] > 1:
        console.print("Others used this machine meanwhile: the figures are too high.", style="yellow")
    if result["reception"]:
        console.print(f"reception: {json.dumps(result['reception'])}")


if __name__ == "__main__":
    main()
