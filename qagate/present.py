"""What the commands print: lines for people, also in a narrow terminal, and objects for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qagate import present_models
from qagate.assessment import SliceScore, Verdict
from qagate.dicom.scu import Delivery
from qagate.refusal import LAST_STATUS
from qagate.wording import lines, one_line

if TYPE_CHECKING:
    from qagate.app import ScoredSeries, Sending
    from qagate.checks import CheckResult
    from qagate.stewardship import Service
    from qagate.store.views import Overview, SeriesHistory, SeriesRow

_COLOUR = {"PASS": "green", "REVIEW": "yellow", "REPEAT": "red", "NOT_ASSESSED": "cyan", "FAILED": "red"}


def checks(results: Iterable[CheckResult]) -> bool:
    """One line a check, as they come; what failed names the mend. Returns whether all is well."""
    well = True
    for result in results:
        well = well and result.ok
        click.secho("ok    " if result.ok else "FAILED", fg="green" if result.ok else "red", nl=False)
        click.echo(f"  {result.name}: {result.message}")
    return well


def sending(run: Sending) -> int:
    """Show progress while files are sent; return how many failed."""
    failed: list[str] = []
    sent = 0
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("send", total=run.total)
        for result in run.results:
            progress.advance(task)
            if result.delivery is Delivery.DELIVERED:
                sent += 1
            else:
                failed.append(f"{result.path}: {result.message}")
    for line in failed:
        click.secho(line, fg="red", err=True)
    click.echo(f"sent {sent} of {run.total} files")
    return len(failed)


def _score_object(row: ScoredSeries) -> dict[str, object]:
    """The object that `qagate score --json` prints for one series."""
    assessment, decision = row.examination.assessment, row.examination.decision
    return {
        "series_instance_uid": row.series_instance_uid,
        "path": str(row.path),
        "verdict": decision.verdict.value,
        "quality": assessment.quality,
        "score": assessment.score,
        "reasons": list(decision.reasons),
        "measures": dict(assessment.measures),
        "prompt": asdict(assessment.prompt),
        "model": {
            "name": assessment.model,
            "version": assessment.model_version,
            "weights_sha256": assessment.weights_sha256,
        },
        "slices": [_slice_object(one) for one in assessment.slices],
    }


def _slice_object(one: SliceScore) -> dict[str, object]:
    return {key: value for key, value in asdict(one).items() if key != "quality_map"}


def scores(rows: Sequence[ScoredSeries], as_json: bool) -> None:
    """A table of scored series, or one JSON object a line."""
    if as_json:
        for row in rows:
            click.echo(json.dumps(_score_object(row), allow_nan=False))
        return
    root = os.path.commonpath([row.path.parent for row in rows]) if rows else ""
    names = [os.path.relpath(row.path, root) for row in rows]
    width = max(map(len, names), default=0)
    for name, row in zip(names, rows, strict=True):
        assessment, decision = row.examination.assessment, row.examination.decision
        prompt = assessment.prompt
        click.echo(f"{name:<{width}}  ", nl=False)
        click.echo(_verdict(decision.verdict.value, assessment.quality), nl=False)
        click.echo(f"  {prompt.modality} {prompt.region} {prompt.type}, {assessment.slice_count} slices")
        told = [*decision.reasons, *(finding.text for finding in assessment.findings)]
        for reason in dict.fromkeys(told if decision.verdict is not Verdict.PASS else told[1:]):
            click.echo(f"    {one_line(reason)}")


def status(overview: Overview, service: Service, as_json: bool) -> None:
    """The gate's state."""
    if as_json:
        shown = asdict(overview) | present_models.service_object(service)
        click.echo(json.dumps(shown, default=present_models.jsonable))
        return
    click.echo(
        ", ".join(f"{count} {name}" for name, count in sorted(overview.counts.items())) or "no series yet"
    )
    if overview.held.count and overview.held.since is not None:
        click.secho(
            f"{overview.held.count} held, the first decided {_ago(overview.held.since)}: "
            "`qagate release UID` sends it",
            fg="yellow",
        )
    for row in overview.series:
        _series_line(row)
    present_models.service(service)
    for title, found in _troubles(overview):
        click.secho(f"\n{title}", bold=True)
        for line in found:
            click.echo(f"  {one_line(line)}")


def history(found: SeriesHistory, report: str | None, as_json: bool) -> None:
    """One series: what was concluded, what was delivered, and its report as text."""
    if as_json:
        click.echo(json.dumps(asdict(found), default=present_models.jsonable))
        return
    row = found.row
    click.echo(f"series {row.series_instance_uid}")
    click.echo(
        f"{row.modality}, {row.instance_count} images from {one_line(row.calling_ae_title)}, {row.state}"
    )
    click.echo(
        f"received {row.last_received_at:%Y-%m-%d %H:%M:%S} UTC, complete: {row.closed_because or '-'}"
    )
    if row.associations:
        click.echo(f"associations in the log: {', '.join(row.associations)}")
    if row.purged_at:
        click.echo(f"images purged {row.purged_at:%Y-%m-%d %H:%M:%S} UTC")
    if row.held_since:
        click.secho(f"held since {row.held_since:%Y-%m-%d %H:%M:%S} UTC, not sent", fg="yellow")
    if row.last_error:
        click.secho(f"error: {one_line(row.last_error)}", fg="red")
    for result in found.results:
        decision = result.decision
        click.echo(f"\nrevision {result.revision}, decided {result.decided_at:%H:%M:%S} UTC: ", nl=False)
        click.secho(decision.verdict.value, bold=True)
        for reason in decision.reasons:
            click.echo(f"  {one_line(reason)}")
    for delivery in found.deliveries:
        note = f": {one_line(delivery.last_error)}" if delivery.last_error else ""
        click.echo(
            f"revision {delivery.revision} {delivery.kind} to {delivery.destination}: {delivery.state}{note}"
        )
    if report:
        click.echo(f"\n{lines(report)}")


def _series_line(row: SeriesRow) -> None:
    """A line for what and where, a second for why."""
    state = row.state if row.revision == 1 else f"{row.state} r{row.revision}"
    click.echo(f"{_short(row.series_instance_uid):<10}  {one_line(row.modality, 4):<4}  ", nl=False)
    click.echo(f"{one_line(row.station_name, 12):<12} {row.instance_count:>5} images  ", nl=False)
    click.echo(click.style(f"{state:<12}", fg=_COLOUR.get(row.state)), nl=False)
    click.echo(f"  {_verdict(row.verdict, row.quality)}  {_ago(row.last_received_at)}")
    if row.held_since:
        click.secho(f"    held {_ago(row.held_since)}, not sent", fg="yellow")
    if row.rejected:
        click.secho("    rejected", fg="red")
    why = row.last_error or ("; ".join(row.reasons) if row.verdict != "PASS" else "")
    if why:
        click.echo(f"    {one_line(why)}")


def _verdict(verdict: str | None, quality: float | None) -> str:
    """The verdict in its colour and the quality, always as wide."""
    word = click.style(f"{verdict or '-':<12}", fg=_COLOUR.get(verdict or ""), bold=verdict == "REPEAT")
    return f"{word} {'-' if quality is None else f'{quality:.2f}':>4}"


def _troubles(overview: Overview) -> Iterator[tuple[str, list[str]]]:
    if overview.stuck:
        yield (
            "deliveries in trouble (`qagate requeue --dead` tries dead ones again)",
            [
                f"{d.state} {d.kind} to {d.destination}, {d.attempts} tries: {d.last_error}"
                for d in overview.stuck
            ],
        )
    if overview.refused:
        yield (
            "refused (never accepted; the sender was told)",
            [
                f"0x{r.status:04X} from {r.calling_ae_title or r.address} {_ago(r.refused_at)}: {r.reason}"
                + (f" [{r.sop_instance_uid or 'no UID'}]" if r.status <= LAST_STATUS else "")
                for r in overview.refused
            ],
        )
    if overview.conflicts:
        yield (
            "other bytes under a known SOP Instance UID (both are kept)",
            [f"{c.sop_instance_uid} from {c.calling_ae_title}: {c.path}" for c in overview.conflicts],
        )


def _short(uid: str) -> str:
    """The end of a UID, which tells series apart; commands take it in place of the whole."""
    return uid if len(uid) <= 10 else f"…{uid[-9:]}"


def _ago(when: datetime) -> str:
    seconds = (datetime.now(UTC) - when).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
