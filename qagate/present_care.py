"""What fsck, reconcile, replay and restore print."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import IO, TYPE_CHECKING

import click

from qagate import present_models

if TYPE_CHECKING:
    from qagate.assessment import Assessment, Decision
    from qagate.care import Replayed, Restored
    from qagate.fsck import Finding
    from qagate.store.reconciliations import Reconciliation


def findings(found: Iterable[Finding], *, mend: bool, resend: bool, as_json: bool) -> tuple[int, int]:
    """A sentence each, mended where asked for; returns how many are left and how many were mended."""
    left = done = 0
    mendable = resendable = False
    for one in found:
        act = (one.mend if mend else None) or (one.resend if resend else None)
        told = act() if act is not None else None
        left, done = left + (told is None), done + (told is not None)
        mendable = mendable or (told is None and one.mend is not None)
        resendable = resendable or (told is None and one.resend is not None)
        if as_json:
            click.echo(json.dumps({"place": one.place, "sentence": one.sentence, "mended": told}))
            continue
        click.secho("mended" if told else "FOUND ", fg="green" if told else "red", nl=False)
        click.echo(f"  {one.place}: {one.sentence}" + (f" {told[:1].upper()}{told[1:]}." if told else ""))
    if not as_json:
        click.echo(f"{left} left to mend, {done} mended" if left or done else "everything fits")
        for is_so, option in ((mendable, "--mend"), (resendable, "--resend")):
            if is_so:
                click.echo(f"`qagate fsck {option}` sets some of it right")
    return left, done


def days(found: Iterable[Reconciliation], as_json: bool) -> None:
    """A line a day, and its differences."""
    none = True
    for one in found:
        none = False
        if as_json:
            click.echo(json.dumps(asdict(one), default=present_models.jsonable))
            continue
        click.secho(f"{one.day}  ", fg="red" if one.differences else "green", nl=False)
        click.echo(
            f"{one.received} series received ({one.instances} instances), {one.decided} decided, "
            f"{one.delivered} delivered" + (f", {one.held} held" if one.held else "")
        )
        for sentence in one.differences:
            click.echo(f"    {sentence}")
    if none and not as_json:
        click.echo(
            "no day was counted yet: the services do it once a day; `qagate reconcile DAY` does it now"
        )


def replayed(found: Iterable[Replayed], as_json: bool, file: IO[str] | None) -> bool:
    """Then and now, a series a line, or JSON; returns whether all could be scored."""
    well, changed, count = True, 0, 0
    for one in found:
        well, count = well and one.examination is not None, count + 1
        line = json.dumps(_object(one), default=present_models.jsonable)
        if file is not None:
            file.write(line + "\n")
        if as_json:
            click.echo(line)
        then = one.former.decision.verdict.value if one.former else "-"
        now = one.examination.decision.verdict.value if one.examination else "-"
        changed += then != now and one.examination is not None
        if not as_json and file is None:
            new = one.examination.assessment.quality if one.examination else None
            old = one.former.assessment.quality if one.former else None
            sent = ", to be decided anew" if one.requeued else ""
            click.echo(
                f"{one.series_instance_uid}  {then} {_shown(old)} -> {now} {_shown(new)}"
                + (f"  {one.problem}" if one.problem else sent)
            )
    if not as_json:
        click.echo(f"{count} series, {changed} verdicts differ")
    return well


def _object(one: Replayed) -> dict[str, object]:
    values: dict[str, object] = {
        "series_instance_uid": one.series_instance_uid, "problem": one.problem, "requeued": one.requeued,
        "former": None, "replayed": None,
    }  # fmt: skip
    if one.former is not None:
        values["former"] = {"revision": one.former.revision} | _judgement(
            one.former.assessment, one.former.decision
        )
    if one.examination is not None:
        values["replayed"] = _judgement(one.examination.assessment, one.examination.decision)
    return values


def _judgement(assessment: Assessment, decision: Decision) -> dict[str, object]:
    return {
        "verdict": decision.verdict.value,
        "quality": assessment.quality,
        "score": assessment.score,
        "reasons": list(decision.reasons),
        "measures": dict(assessment.measures),
        "model": assessment.model,
        "weights_sha256": assessment.weights_sha256,
    }


def _shown(quality: float | None) -> str:
    return "-" if quality is None else f"{quality:.2f}"


def restored(done: Restored, data_dir: str) -> bool:
    """What was brought back and what fsck says of it; returns whether all is well."""
    of = done.manifest
    click.echo(f"restored {', '.join(('database', *of.folders))}, as it was {of.made_at}")
    if done.former is not None:
        click.echo(f"the database that was there is kept as {done.former}")
    if of.data_dir != data_dir:
        click.echo(f"the backup was made in {of.data_dir}: reports that wait to be sent are looked for there")
    if done.older:
        click.echo(f"its schema {of.schema} is older: run `qagate migrate`, then `qagate fsck`")
        return True
    left, _ = findings(done.findings, mend=False, resend=False, as_json=False)
    return left == 0
