"""What the commands on models and baselines print: lines for people, objects for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, cast

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from qagate.wording import one_line

if TYPE_CHECKING:
    from qagate.comparison import Comparison
    from qagate.gate.promotion import Group, Interval
    from qagate.stewardship import Service
    from qagate.store.baselines import BaselineRow
    from qagate.store.roles import RoleAct


def jsonable(value: object) -> object:
    """What JSON cannot hold, as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else str(value)


def _json(value: object) -> None:
    click.echo(json.dumps(value, default=jsonable))


def _table(*columns: str | Column) -> Table:
    table = Table(*columns)
    table.box, table.header_style = None, "bold"
    return table


def models(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    """The table of models."""
    if as_json:
        _json(list(rows))
        return
    table = _table("name", "variant", Column("parameters", justify="right"), "score", "source")
    for row in rows:
        notes = ", ".join(f"{note}" for note in ("default" if row["default"] else None, row["role"]) if note)
        count = cast("int", row["parameters"])
        table.add_row(
            f"{row['name']} ({notes})" if notes else f"{row['name']}",
            f"{row['variant']}",
            f"{count / 1e6:.3f} M" if count else "",
            _range(*cast("tuple[float | None, float | None]", row["score_range"])),
            f"{row['source']}",
            style=None if row["trained"] else "dim",
        )
    Console().print(table)
    if not all(row["trained"] for row in rows):
        click.echo(
            "Dim: networks yet to be trained, and metrics. The others can be champion or `worker.model`."
        )


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "any"
    if high is None:
        return f"from {low:g}"
    return f"to {high:g}" if low is None else f"{low:g} to {high:g}"


def comparison(found: Comparison, as_json: bool) -> None:
    """Champion against challenger."""
    if as_json:
        _json(asdict(found))
        return
    champion, challenger = found.champion, found.challenger
    click.echo(f"champion {champion.name} ({champion.weights_sha256[:12]}), ", nl=False)
    click.echo(f"challenger {challenger.name} ({challenger.weights_sha256[:12]})\n")
    numbers = ("n", "SROCC", "difference", "changed", "rated")
    table = _table(
        "series of", *(Column(name, justify="right") for name in numbers), "MAE", "SROCC of ratings"
    )
    for group in found.groups:
        table.add_row(*_group_cells(group))
    Console().print(table)
    for kind, count in found.groups[0].changed.items() if found.groups else ():
        click.echo(f"  {count} x {kind}")
    if found.failed:
        click.secho(f"the challenger failed on {found.failed} series", fg="red")
    if found.objections:
        click.secho("\nagainst a promotion:", bold=True)
        for objection in found.objections:
            click.echo(f"  {objection}")
    else:
        click.echo("\nnothing speaks against a promotion")


def _group_cells(group: Group) -> Iterator[str]:
    yield group.name
    yield str(group.cases)
    yield "-" if group.srocc is None else f"{group.srocc:.3f}"
    yield "-" if group.mean_difference is None else f"{group.mean_difference:+.3f}"
    yield f"{group.changed_share:.0%}"
    labelled = group.labelled
    if labelled is None:
        yield from ("0", "", "")
        return
    yield str(labelled.cases)
    yield f"{labelled.champion_mae:.3f} to {labelled.challenger_mae:.3f} {_interval(labelled.mae_difference)}"
    if (
        labelled.srocc_difference is None
        or labelled.champion_srocc is None
        or labelled.challenger_srocc is None
    ):
        yield ""
        return
    change = f"{labelled.champion_srocc:.3f} to {labelled.challenger_srocc:.3f}"
    yield f"{change} {_interval(labelled.srocc_difference)}"


def _interval(of: Interval) -> str:
    return f"({of.value:+.3f}, {of.low:+.3f} to {of.high:+.3f})"


def history(acts: Sequence[RoleAct], as_json: bool) -> None:
    """The audit."""
    if as_json:
        _json([asdict(act) for act in acts])
        return
    if not acts:
        click.echo("nobody changed champion or challenger; the settings' model decides")
    for act in acts:
        what = act.act.value + (" (forced)" if act.forced else "")
        click.echo(f"{act.acted_at:%Y-%m-%d %H:%M} UTC  {act.actor}: {what} ", nl=False)
        click.echo(f"{act.name or ''} {act.weights_sha256[:12]}".strip(), nl=False)
        click.echo(f"  {act.reason}" if act.reason else "")
        for objection in act.evidence.get("objections", ()):
            click.echo(f"    against: {objection}")


def baselines(rows: Sequence[BaselineRow], as_json: bool) -> None:
    """The table of baselines."""
    if as_json:
        _json([_baseline_object(row) for row in rows])
        return
    if not rows:
        click.echo("no series was decided under this model yet")
        return
    table = _table(
        Column("", justify="right"), "station", "protocol", "series", "n", "median", "MAD", "state"
    )
    for row in rows:
        key, state = row.key, row.state
        warm = state.median is not None
        table.add_row(
            str(row.baseline_id),
            escape(one_line(key.station)),
            escape(one_line(key.protocol_name, 40)),
            escape(one_line(f"{key.modality} {key.region} {key.type}")),
            str(len(state.sample)),
            f"{state.median:.3f}" if warm else "-",
            f"{state.mad:.3f}" if warm else "-",
            f"ALARM: {state.alarm.value}" if state.alarm else "warm" if warm else "warming up",
            style="red" if state.alarm else None,
        )
    Console().print(table)


def _baseline_object(row: BaselineRow) -> dict[str, object]:
    state = row.state
    return {
        "baseline_id": row.baseline_id,
        **asdict(row.key),
        "count": len(state.sample),
        "median": state.median,
        "mad": state.mad,
        "built_at_median": state.anchor_median,
        "built_at_mad": state.anchor_mad,
        "recent": [point.quality for point in state.recent],
        "alarm": state.alarm,
        "alarmed_at": row.alarmed_at,
        "updated_at": row.updated_at,
    }


def service_object(of: Service) -> dict[str, object]:
    """Models and baselines as `status --json` shows them."""
    whole = asdict(of)
    names = ("champion", "challenger", "shadow_scored", "shadow_failed", "given_up", "loads")
    return {
        "models": {name: whole[name] for name in names},
        "baselines": {
            "warm": of.warm,
            "warming_up": of.warming_up,
            "alarms": [_baseline_object(row) for row in of.alarms],
        },
    }


def service(of: Service) -> None:
    """Models and baselines as lines of `status`."""
    since = f", since {of.champion.since:%Y-%m-%d} by {of.champion.actor}" if of.champion.since else ""
    click.echo(f"champion {of.champion.name}{since}", nl=False)
    if of.challenger is not None:
        click.echo(f"; challenger {of.challenger.name}: {of.shadow_scored} series scored", nl=False)
        click.echo(f", {of.shadow_failed} failed" if of.shadow_failed else "", nl=False)
    click.echo(f"; baselines: {of.warm} warm, {of.warming_up} warming up")
    for title, lines in _troubles(of):
        click.secho(f"\n{title}", bold=True)
        for line in lines:
            click.echo(f"  {one_line(line)}")


def _troubles(of: Service) -> Iterator[tuple[str, list[str]]]:
    from qagate.alarms import sentence

    if of.alarms:
        yield (
            "baselines that need the physicist (`qagate baselines accept NUMBER` calls a level normal)",
            [
                f"{row.baseline_id}: {row.key.station}, {row.key.modality} {row.key.region} {row.key.type}: "
                f"{sentence(row.state)}"
                for row in of.alarms
            ],
        )
    if of.loads:
        yield (
            "models that could not be loaded (these workers go on with what they had)",
            [f"{load.worker}: {load.name}: {load.error}" for load in of.loads],
        )
    if of.given_up:
        yield (
            "challenger left alone after failures in a row (`qagate models shadow NAME` tries it again)",
            [of.given_up],
        )
