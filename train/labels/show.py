"""What `qagate labels report` prints: tables for people, one object for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from qagate.label import LabelKind, number
from train.evaluation.significance import Interval
from train.labels.report import Report

_KINDS = tuple(kind.value for kind in LabelKind)
_BAR = 40  #: characters of the longest bar


def as_json(report: Report) -> str:
    """The report as one JSON object; figures that do not exist are null."""
    return json.dumps(_plain(asdict(report)), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_tables(report: Report, console: Console) -> None:
    """The report for people."""
    if not report.recorded or report.first is None or report.last is None:
        console.print("no labels yet: `qagate labels import FILE` brings some in")
        return
    console.print(
        f"{report.counting} labels on {report.series} series, "
        f"{report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}; "
        f"{report.recorded - report.counting} more were answered again later"
    )
    told = [kind for kind in _KINDS if any(kind in row.kinds for row in report.raters)]
    _raters(report, told, console)
    _stations(report, told, console)
    _distribution(report, console)
    _verdicts(report.verdicts, console)
    _agreement(report, console)
    if report.warnings:
        console.print()
    for warning in report.warnings:
        console.print(f"! {escape(warning)}", style="yellow")


def _raters(report: Report, told: Sequence[str], console: Console) -> None:
    table = _table("rater", *told, "mean", "sd", "bias", "follows", "far off")
    for row in report.raters:
        table.add_row(
            escape(row.rater) + (" (left out)" if row.rejected else ""),
            *(_count(row.kinds, kind) for kind in told),
            *(_figure(value) for value in (row.mean, row.deviation)),
            "" if row.bias is None else f"{row.bias:+.2f}",
            _figure(row.follows),
            f"+{row.far_above} -{row.far_below}" if row.far_above or row.far_below else "",
            style="yellow" if row.rejected else None,
        )
    _print(console, f"Raters, scores on {report.scale}" if report.scale else "Raters", table)


def _stations(report: Report, told: Sequence[str], console: Console) -> None:
    table = _table("scanner", "series", *told, "quality")
    for row in report.stations:
        name = " ".join(filter(None, (row.station or "(no name)", row.model)))
        table.add_row(
            escape(name),
            str(row.series),
            *(_count(row.kinds, kind) for kind in told),
            _figure(row.mean_quality),
        )
    _print(console, "Scanners", table)


def _distribution(report: Report, console: Console) -> None:
    if not report.distribution:
        return
    most = max(bar.count for bar in report.distribution)
    table = _table("score", "ratings", "")
    table.columns[-1].justify = "left"
    for bar in report.distribution:
        name = number(bar.low) if bar.low == bar.high else f"{bar.low:.3g} to {bar.high:.3g}"
        table.add_row(name, str(bar.count), "█" * round(_BAR * bar.count / most))
    _print(console, "Distribution", table)


def _verdicts(verdicts: Mapping[str, Mapping[str, int]], console: Console) -> None:
    if not verdicts:
        return
    told = [kind for kind in _KINDS[1:] if any(kind in clicks for clicks in verdicts.values())]
    table = _table("the gate's verdict", *told, "agreed")
    for verdict, clicks in verdicts.items():
        both = clicks.get("agree", 0) + clicks.get("disagree", 0)
        share = f"{clicks.get('agree', 0) / both:.0%}" if both else ""
        table.add_row(verdict, *(_count(clicks, kind) for kind in told), share)
    _print(console, "Clicks", table)


def _agreement(report: Report, console: Console) -> None:
    found = report.agreement
    if found is None:
        return
    table = _table("figure", "value", "95 % interval")
    mean = "" if math.isnan(found.k) else f", the mean of {found.k:.3g} raters"
    for name, figure in (
        ("ICC(2,1), one rater", found.icc_single),
        (f"ICC(2,k){mean}", found.icc_mean),
        ("Krippendorff's alpha, scores", found.alpha_interval),
        ("Krippendorff's alpha, order", found.alpha_ordinal),
    ):
        table.add_row(name, _figure(figure.value), _interval(figure))
    _print(console, f"Agreement on {found.items} images rated twice or more, {found.raters} raters", table)


def _table(*heads: str) -> Table:
    first, *others = heads
    table = Table(Column(first), *(Column(head, justify="right") for head in others))
    table.box, table.header_style = None, "dim"
    return table


def _print(console: Console, title: str, table: Table) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table)


def _count(kinds: Mapping[str, int], kind: str) -> str:
    return str(kinds[kind]) if kinds.get(kind) else ""


def _figure(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"


def _interval(figure: Interval) -> str:
    return "" if math.isnan(figure.low) else f"{figure.low:.2f} to {figure.high:.2f}"
