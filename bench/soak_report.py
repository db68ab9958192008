"""A soak's table, its three figures, and what docs/soak.md says of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from soak_checks import Check
from soak_plan import DOWN, HOURS, RUSH

PAGE = Path(__file__).parents[1] / "docs" / "soak.md"
BEGIN, END = "<!-- written by make soak -->", "<!-- end of what make soak wrote -->"
_COLOURS = {
    "receiver": "#0072b2", "worker": "#d55e00", "services": "#009e73", "web": "#cc79a7",
    "supervisor": "#777777", "all roles": "#000000",
}  # fmt: skip
_WORDS = {True: "yes", False: "NO", None: "not judged"}


def figures(result: Mapping[str, Any], folder: Path) -> None:
    """Write soak-latency.svg, soak-memory.svg and soak-handles.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "qagate", "font.size": 9, "axes.spines.top": False,
                         "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}):  # fmt: skip
        for name, draw in (("latency", _latency), ("memory", _memory), ("handles", _handles)):
            figure = draw(result)
            figure.savefig(folder / f"soak-{name}.svg", metadata={"Date": None})


def _panels(result: Mapping[str, Any], count: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(8, 1.2 + 2.4 * count), layout="constrained")
    axes: list[Axes] = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for one in axes:
        one.axvspan(*DOWN, color="#999999", alpha=0.25, lw=0)
        one.axvline(RUSH, color="#999999", lw=0.8, ls=":")
        one.set_xlim(0, max(HOURS, *_hours(result)))
    axes[-1].set_xticks(range(0, HOURS + 1, 2))
    axes[-1].set_xlabel(
        f"hour of the day ({result['minutes']:g} minutes for 24 h); "
        "grey: archive down; dotted: every scanner sends"
    )
    return figure, axes


def _legend(axes: Axes) -> None:
    """Above the panel, where no line runs."""
    axes.legend(frameon=False, ncols=6, loc="lower right", bbox_to_anchor=(1, 1), columnspacing=1)


def _hours(result: Mapping[str, Any]) -> list[float]:
    return [one["at_s"] * HOURS / (result["minutes"] * 60) for one in result["samples"]]


def _latency(result: Mapping[str, Any]) -> Figure:
    figure, (upper, lower) = _panels(result, 2)
    per_hour = result["minutes"] * 60 / HOURS
    found = [(at / per_hour, value) for at, value in result["latencies"]]
    upper.scatter(
        [at for at, _ in found],
        [value for _, value in found],
        s=6,
        alpha=0.5,
        lw=0,
        color=_COLOURS["receiver"],
        label="a series",
    )
    by_hour = [[value for at, value in found if hour <= at < hour + 1] for hour in range(HOURS)]
    middle = [(hour + 0.5, statistics.median(values)) for hour, values in enumerate(by_hour) if values]
    upper.plot(
        *zip(*middle, strict=True), color=_COLOURS["worker"], marker="o", ms=3, label="median of an hour"
    )
    upper.set_ylim(bottom=0)
    upper.set_ylabel("last slice → alert, s")
    _legend(upper)
    samples, hours = result["samples"], _hours(result)
    for state, colour in (("RECEIVING", "receiver"), ("COMPLETE", "worker"), ("DECIDED", "services")):
        lower.plot(
            hours, [one["series"].get(state, 0) for one in samples], color=_COLOURS[colour], label=state
        )
    lower.set_ylabel("series in this state")
    _legend(lower)
    return figure


def _memory(result: Mapping[str, Any]) -> Figure:
    figure, (axes,) = _panels(result, 1)
    samples, hours = result["samples"], _hours(result)
    lines = {role: [one["rss_mb"].get(role, 0) for one in samples] for role in samples[0]["rss_mb"]}
    lines["all roles"] = [sum(values) for values in zip(*lines.values(), strict=True)]
    for role, values in lines.items():
        axes.plot(hours, values, color=_COLOURS[role], label=role)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("resident memory, MB")
    _legend(axes)
    return figure


def _handles(result: Mapping[str, Any]) -> Figure:
    figure, axes = _panels(result, 2)
    samples, hours = result["samples"], _hours(result)
    for one, key, words in zip(axes, ("handles", "threads"), ("open file handles", "threads"), strict=True):
        for role in samples[0][key]:
            one.plot(
                hours, [sample[key].get(role, 0) for sample in samples], color=_COLOURS[role], label=role
            )
        one.set_ylim(bottom=0)
        one.set_ylabel(words)
    _legend(axes[0])
    return figure


def rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was run and measured."""
    latency, verdicts = result["alert_latency_s"], result["verdicts"]
    day = result["series"] / result["scanners"]
    busy = result["cpu_s"] / (result["minutes"] * 60)
    again = ", ".join(f"{count} {name}" for name, count in result["sent_again"].items())
    return [
        ("version, date", f"{result['qagate']}, {result['measured_at'][:10]}"),
        ("machine", f"{result['machine']['cores']} cores, {result['machine']['cpu']}; load before the run "
                    f"{result['machine']['load_average_before']:g}; {result['database']}"),
        ("24 hours in", f"{result['minutes']:g} minutes: {result['compressed']:.0f} times as fast"),
        ("scanners", f"{result['scanners']}, {day:.0f} series each; at most {result['most_associations']} "
                     f"associations open at once, {result['associations']} in all"),
        ("series, instances", f"{result['series']}, {result['instances']}"),
        ("verdicts", ", ".join(f"{name} {count}" for name, count in sorted(verdicts.items()))),
        ("last slice → alert", f"median {latency['median']:.1f} s, 95 % within {latency['p95']:.1f} s, "
                               f"longest {latency['max']:.1f} s; the quiet time of 2 s is in it"),
        ("CPU of the gate", f"{busy:.2f} cores on average"),
        ("sent again to the archive", again or "nothing"),
        ("delivered after the last series", f"{result['drained_s']:.0f} s"),
        ("database, spool at the end", f"{result['samples'][-1]['database_mb']:.0f} MB, "
                                       f"{result['samples'][-1]['spool_mb']:.0f} MB"),
    ]  # fmt: skip


def block(result: Mapping[str, Any]) -> str:
    """The part of docs/soak.md that a run writes."""
    lines = [BEGIN, "", "| | |", "|---|---|", *(f"| {name} | {told} |" for name, told in rows(result))]
    lines += ["", "| check | passed | |", "|---|---|---|"]
    lines += [f"| {one['name']} | {_WORDS[one['passed']]} | {one['told']} |" for one in result["checks"]]
    return "\n".join([*lines, "", END])


def document(result: Mapping[str, Any], page: Path = PAGE) -> None:
    """Put a run's figures into its page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + block(result) + rest.partition(END)[2], encoding="utf-8")


def show(result: Mapping[str, Any], checks: Sequence[Check]) -> None:
    """Print what was measured and how each check came out."""
    console = Console()
    for name, told in rows(result):
        console.print(f"{name}: {told}", highlight=False)
    table = Table("check", "passed", "")
    for check in checks:
        style = {True: "", False: "red", None: "dim"}[check.passed]
        table.add_row(check.name, _WORDS[check.passed], check.told, style=style)
    console.print(table)
