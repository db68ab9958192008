"""`qagate train calibrate`: the readers' scale of a model, and thresholds for a wanted alert rate or PPV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qagate.command import acting, errors, settings_of

if TYPE_CHECKING:
    from qagate.gate.calibration import OperatingPoint

_SHARE = click.FloatRange(0, 1)


@click.command()
@click.option("--model", help="A name that `qagate models` lists; default: the champion.")
@click.option("--bad-at", type=float, help="Ratings at this or worse are bad; default: the scale's middle.")
@click.option("--alert-rate", type=_SHARE, help="Wanted share of series that raise an alert, 0 to 1.")
@click.option("--ppv", type=_SHARE, help="Wanted share of alerts that are right, 0 to 1.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/calibrate"),
              show_default=True, help="Folder for table and pictures.")  # fmt: skip
@click.option("--apply", "apply_it", is_flag=True, help="Report the readers' scale from now on.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@acting
@click.pass_context
def calibrate(
    ctx: click.Context, model: str | None, bad_at: float | None, alert_rate: float | None, ppv: float | None,
    out: Path, apply_it: bool, as_json: bool, actor: str, reason: str,
) -> None:  # fmt: skip
    """Map a model's quality to the readers' scale, from the ratings in the store."""
    from qagate import app, stewardship
    from qagate.gate.calibration import dumps, for_alert_rate, for_ppv
    from qagate.store.calibrations import Calibrations
    from qagate.store.labels import Labels
    from qagate.store.views import Views
    from train import calibrate as of

    with errors():
        settings = settings_of(ctx)
        named = stewardship.named(settings, model)
        with app.open_configured_store(settings) as store:
            qualities = Views(store).qualities(named.weights_sha256)
            scale, rated = of.collect(Labels(store).latest(), qualities)
            found = of.fit(scale, rated)
            limit = (scale.low + scale.high) / 2 if bad_at is None else bad_at
            points = found.trade_off(limit, list(qualities.values()))
            chosen: dict[str, OperatingPoint | None] = {}
            if alert_rate is not None:
                chosen[f"alert rate {alert_rate:g}"] = for_alert_rate(points, alert_rate)
            if ppv is not None:
                chosen[f"PPV {ppv:g}"] = for_ppv(points, ppv)
            marked = {name: point.threshold for name, point in chosen.items() if point is not None}
            of.write(found, points, out, chosen=marked)
            if apply_it:
                Calibrations(store).add(named.weights_sha256, dumps(found.scale), actor=actor, reason=reason)
        told = {
            "model": named.name,
            "weights_sha256": named.weights_sha256,
            "cases": found.scale.cases,
            "held_out_error": found.held_out_error,
            "raw_error": found.raw_error,
            "bad": sum(found.bad(limit)),
            "thresholds": {name: None if p is None else p.threshold for name, p in chosen.items()},
            "applied": apply_it,
            "folder": str(out),
        }
        click.echo(json.dumps(told)) if as_json else _tell(told, chosen)


def _tell(told: dict[str, object], chosen: dict[str, OperatingPoint | None]) -> None:
    click.echo(f"{told['model']}: {told['cases']} rated series, {told['bad']} of them bad; ", nl=False)
    click.echo(f"mean error on studies left out {told['held_out_error']:.2f}, ", nl=False)
    click.echo(f"uncalibrated {told['raw_error']:.2f}")
    for name, point in chosen.items():
        if point is None:
            click.echo(f"{name}: no threshold reaches it with these ratings")
            continue
        shares = [
            f"{point.alert_rate:.1%} of all series alert",
            *([] if point.ppv is None else [f"{point.ppv:.0%} of {point.alerts} rated alerts are right "
                                            f"({point.ppv_low:.0%} to {point.ppv_high:.0%})"]),
            *([] if point.sensitivity is None else [f"{point.sensitivity:.0%} of bad ones are found"]),
        ]  # fmt: skip
        click.echo(f"{name}: review_below = {point.threshold:.3f}: {', '.join(shares)}")
    click.echo(f"table and pictures: {told['folder']}")
    if chosen:
        click.echo("Thresholds are set by hand: a [[rule]] with review_below in the settings.")
    elif not told["applied"]:
        click.echo("--apply reports the readers' scale from now on; --alert-rate and --ppv pick thresholds.")
