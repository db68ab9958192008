"""How fast the networks are: `make bench-models`. Writes bench/models-latest.json.

Each network at its paper's size with random weights: torch in float32, as it is without the fast path, beside
the fast path's engines and precisions, one after the other in rounds, medians. On a CPU at batch 1 and 8, on
a GPU at 1 to 64. Attained FLOP/s against the largest a matrix product reaches in the same run and precision.
Drift: scores of the fast path against float32 on 24 degraded slices of a brain template.
The shipped model: 7 slices, pixels to answers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from brain import slices, varied
from latency import machine
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models import registry
from models.fast import openvino
from models.fast.drift import MIN_IMAGES, drift
from models.fast.engine import accelerate
from models.fast.errors import FastError
from models.fast.precision import DTYPES, choose, fast_precisions
from models.inputs import SliceInput
from models.networks import NETWORKS
from models.output import Output

HERE = Path(__file__).parent
DEFAULT = "default"
BATCHES = {"cpu": (1, 8), "cuda": (1, 2, 4, 8, 16, 32, 64)}
MIN_ROUNDS = MIN_IMAGES // 8  #: for the drift, on 8 slices a round
BASELINE = "torch fp32"
Run = Callable[[Tensor], Output]


class Subject(NamedTuple):
    """What is measured: a network of the registry at the paper's input size."""

    network: str
    variant: str
    side: int = 224


SUBJECTS = {
    "maniqa": Subject("maniqa", "truncated"),
    "mediqa": Subject("mediqa", "truncated"),
    "miqanet-repository": Subject("miqanet", "repository"),
    "miqanet-paper": Subject("miqanet", "paper"),
    "clinreadnet": Subject("clinreadnet", "paper", 512),
    "vgg16": Subject("timm", "vgg16"),
    "resnet18": Subject("timm", "resnet18"),
    "resnet50": Subject("timm", "resnet50"),
    "swin_t": Subject("timm", "swin_t"),
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    known = [DEFAULT, *SUBJECTS]
    options.add_argument("--only", action="append", choices=known, help="one of them; may be repeated")
    options.add_argument("--seconds-per-cell", type=float, default=1.5, help="1.5; three runs at least")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--output", type=Path, help="default: models-latest.json, with --only none")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    device = torch.device(chosen.device)
    names = chosen.only or known
    result: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine() | {"device": device_name(device), "threads": chosen.threads},
        "torch": torch.__version__,
        "weights": "random, but the default model's",
    }
    peaks: dict[str, list[float]] = defaultdict(list)
    if DEFAULT in names:
        result[DEFAULT] = shipped(chosen.device, 10 * chosen.seconds_per_cell)
    result["networks"] = {}
    for name in names:
        if name != DEFAULT:
            print(f"{name} ...", flush=True)
            measure_peaks(device, peaks)
            result["networks"][name] = measured(SUBJECTS[name], device, chosen.seconds_per_cell)
    result["peak_gflops"] = {name: round(max(found)) for name, found in peaks.items()}
    add_shares(result)
    result["machine"]["load_average_after"] = round(os.getloadavg()[0], 2)
    output = chosen.output or (None if chosen.only else HERE / "models-latest.json")
    if output:
        output.write_text(json.dumps(result, indent=2) + "\n")
    show(result)


def device_name(device: torch.device) -> str:
    """The GPU's name, or what the processor multiplies fast."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, fast in {' and '.join(fast_precisions(device))}"


def shipped(device: str, seconds: float) -> dict[str, Any]:
    """Seconds of the default model for the 7 slices of one decision."""
    model = registry.load(device=device)
    inputs = {
        f"{modality} {side}x{side}": [
            SliceInput(pixels=pixels, modality=modality) for pixels in slices(modality, 7)
        ]
        for modality, side in (("CT", 512), ("MR", 256))
    }
    runs = {name: (lambda given=given: model.predict(given)) for name, given in inputs.items()}
    times: dict[str, list[float]] = defaultdict(list)
    for run in runs.values():
        run()
    while sum(map(sum, times.values())) < seconds or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            times[name].append(timed(run, torch.device("cpu"))[0])  # the answers come back to the CPU
    return {
        name: {"seconds": round(statistics.median(found), 3), "fastest": round(min(found), 3)}
        for name, found in times.items()
    }


def timed(run: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Seconds and answer."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    answer = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began, answer


def measure_peaks(device: torch.device, peaks: dict[str, list[float]]) -> None:
    """GFLOP/s of a large matrix product in each precision; the largest of the run is the peak."""
    side = 8192 if device.type == "cuda" else 2048
    for precision in fast_precisions(device):
        a, b = (torch.rand(side, side, device=device, dtype=DTYPES[precision]) for _ in range(2))
        for _ in range(4):
            seconds, _ = timed(lambda a=a, b=b: a @ b, device)
            peaks[precision].append(2 * side**3 / seconds / 1e9)


def engines(net: nn.Module, device: torch.device, largest: int) -> Iterator[tuple[str, str, Run]]:
    """What is compared: name, precision, call. The first is the network as it is."""

    def eager(images: Tensor) -> Output:
        with torch.inference_mode():
            return net(images.to(device))  # type: ignore[no-any-return]

    yield BASELINE, "fp32", eager
    fast = choose("auto", device)
    wanted = [("torch", fast)] if device.type == "cuda" or fast != "fp32" else []
    if device.type == "cpu" and openvino.available():
        wanted += [("openvino", precision) for precision in reversed(fast_precisions(device))]
    for engine, precision in wanted:
        run = accelerate(net, device=device, precision=precision, engine=engine, max_batch=largest)  # type: ignore[arg-type]
        yield f"{engine} {precision}" + (", graphs" if device.type == "cuda" else ""), precision, run


def measured(subject: Subject, device: torch.device, seconds_per_cell: float) -> dict[str, Any]:
    """One network: every engine at every batch size, interleaved."""
    torch.manual_seed(0)
    kind = NETWORKS[subject.network]
    net = kind.module(kind.variants[subject.variant]).eval().requires_grad_(False).to(device)
    images, sizes = varied(subject.side), BATCHES[device.type]
    found: dict[str, Any] = {
        "parameters_m": round(sum(p.numel() for p in net.parameters()) / 1e6, 2),
        "side": subject.side,
        "gflop": round(gflop(net, images[:1].to(device)), 2),
        "engines": {},
    }
    runs: dict[str, Run] = {}
    for name, precision, run in engines(net, device, sizes[-1]):
        try:
            seconds, _ = timed(lambda run=run: [run(images[:1]), run(many(images, sizes[-1], 0))], device)
        except FastError as error:
            found["engines"][name] = {"error": str(error)}
            continue
        runs[name] = run
        found["engines"][name] = {"precision": precision, "first_run_s": round(seconds, 1)}
    times: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in runs}
    scores: dict[str, list[Tensor]] = defaultdict(list)
    spent, number = 0.0, 0
    while number < MIN_ROUNDS or spent < seconds_per_cell * len(runs) * len(sizes):
        for size in sizes:
            batch = many(images, size, number)
            for name, run in runs.items():
                seconds, output = timed(lambda run=run, batch=batch: run(batch), device)
                times[name][size].append(seconds)
                spent += seconds
                if size == 8 and number < MIN_ROUNDS:
                    scores[name].append(output.score.float().cpu())
        number += 1
    reference = torch.cat(scores[BASELINE])
    for name, of_size in times.items():
        row = found["engines"][name]
        row["ms_per_slice"] = {
            size: round(1e3 * statistics.median(seconds) / size, 2) for size, seconds in of_size.items()
        }
        row["slices_per_s"] = round(1e3 / min(row["ms_per_slice"].values()), 1)
        row["rounds"] = number
        row["drift"] = drift(reference, torch.cat(scores[name]))._asdict()
    return found


def many(images: Tensor, count: int, number: int) -> Tensor:
    """A batch of a round: neighbouring rounds see different images."""
    start = number * 8 % len(images)
    return images.roll(-start, 0).repeat(-(-count // len(images)), 1, 1, 1)[:count]


def gflop(net: nn.Module, image: Tensor) -> float:
    """Floating-point operations of one image in matrix products and convolutions, in 10^9."""
    with (
        torch.inference_mode(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        net(image)
    return counter.get_total_flops() / 1e9


def add_shares(result: dict[str, Any]) -> None:
    """Attained GFLOP/s of each engine at its best, and their share of the peak of its precision."""
    for of_network in result["networks"].values():
        for row in of_network["engines"].values():
            if "slices_per_s" in row:
                row["gflops"] = round(row["slices_per_s"] * of_network["gflop"])
                row["of_peak"] = round(row["gflops"] / result["peak_gflops"][row["precision"]], 3)


def cells(row: dict[str, Any], sizes: Sequence[int]) -> Iterator[str]:
    """One engine's cells of the table."""
    if "error" in row:
        yield row["error"]
        return
    for size in sizes:
        yield f"{row['ms_per_slice'][size]:.1f}"
    yield f"{row['slices_per_s']:.1f}"
    yield f"{row['gflops']}"
    yield f"{100 * row['of_peak']:.0f} %"
    yield f"{row['drift']['srocc']:.4f}"
    yield f"{row['drift']['max_abs'] / max(row['drift']['spread'], 1e-12):.3f}"


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    console = Console()
    if not console.is_terminal:
        console.width = 140
    for name, row in result.get(DEFAULT, {}).items():
        console.print(f"default model, 7 slices of {name}: {row['seconds']:.3f} s")
    sizes: Sequence[int] = ()
    for of_network in result["networks"].values():
        sizes = next(tuple(r["ms_per_slice"]) for r in of_network["engines"].values() if "ms_per_slice" in r)
    if sizes:
        table = Table(title=f"{result['machine']['device']}, {result['machine']['threads']} threads")
        columns = ["slices/s", "GFLOP/s", "of peak", "SROCC", "max diff / sd"]
        for column in ("network", "GFLOP", "engine", *(f"ms, batch {s}" for s in sizes), *columns):
            table.add_column(column, justify="left" if column in ("network", "engine") else "right")
        for name, of_network in result["networks"].items():
            head = (name, f"{of_network['gflop']:.1f}")
            for engine, row in of_network["engines"].items():
                table.add_row(*head, engine, *cells(row, sizes))
                head = ("", "")
            table.add_section()
        console.print(table)
        console.print(f"peak GFLOP/s of a matrix product: {result['peak_gflops']}")
    if result["machine"]["load_average_before"] > 1:
        console.print("Others used this machine meanwhile: the figures are too high.", style="yellow")


if __name__ == "__main__":
    main()
