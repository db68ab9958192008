"""`qagate models` and `qagate baselines`: what scores, what is normal, and who said so."""

from __future__ import annotations

from pathlib import Path

import click

from qagate import present_models as present
from qagate.command import ExtendedGroup, acting, errors, settings_of, settings_path

_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


@click.group(cls=ExtendedGroup, extensions="qagate.models.commands", invoke_without_command=True)
@_JSON
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that exist, or say which one decides."""
    from qagate import stewardship

    if ctx.invoked_subcommand is None:
        with errors():
            settings = settings_of(ctx, needed=False)
            present.models(stewardship.models(settings, roles=_has_store(ctx)), as_json)


def _has_store(ctx: click.Context) -> bool:
    """Whether there is a store to ask; a listing must not create one."""
    from qagate.store.migrate import current_revision, head_revision

    if settings_path(ctx) is None:
        return False
    settings = settings_of(ctx)
    if not settings.database_url.get_secret_value() and not (settings.data_dir / "qagate.db").exists():
        return False
    return current_revision(settings.store_url) == head_revision()


@models.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--name", required=True, help="A new name: results name the model that made them.")
@click.option("--modality", "modalities", multiple=True, help="CT or MR, once each; default: the run's own.")
@click.pass_context
def add(ctx: click.Context, source: Path, name: str, modalities: tuple[str, ...]) -> None:
    """Add a training run's weights (its folder, or the file) to the house's models. Nothing uses them yet."""
    from qagate import stewardship

    with errors():
        added = stewardship.add(settings_of(ctx), source, name=name, modalities=modalities)
        click.echo(f"added {added}. Next: `qagate models shadow {name}`.")


@models.command()
@click.argument("name", required=False)
@click.option("--off", is_flag=True, help="No challenger any more.")
@acting
@click.pass_context
def shadow(ctx: click.Context, name: str | None, off: bool, actor: str, reason: str) -> None:
    """Let a model score live series in silence, beside the champion."""
    from qagate import stewardship

    if off == (name is not None):
        raise click.UsageError("name a model, or --off")
    with errors():
        if name is None:
            stewardship.shadow_off(settings_of(ctx), actor=actor, reason=reason)
            click.echo("there is no challenger")
        else:
            stewardship.shadow(settings_of(ctx), name, actor=actor, reason=reason)
            click.echo(f"{name} scores in silence. `qagate models compare` shows what it says.")


@models.command()
@click.argument("name", required=False)
@_JSON
@click.pass_context
def compare(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Champion and challenger (or NAME) on the series both scored, and what speaks against a promotion."""
    from qagate import stewardship

    with errors():
        present.comparison(stewardship.compare(settings_of(ctx), name), as_json)


@models.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also against the objections; needs a --reason.")
@acting
@click.pass_context
def promote(ctx: click.Context, name: str, force: bool, actor: str, reason: str) -> None:
    """Make a model champion: the workers decide with it from their next batch on."""
    from qagate import stewardship

    with errors():
        act, _ = stewardship.promote(settings_of(ctx), name, force=force, actor=actor, reason=reason)
        click.echo(
            f"{name} is champion{', forced' if act.forced else ''}. `qagate models rollback` goes back."
        )


@models.command()
@acting
@click.pass_context
def rollback(ctx: click.Context, actor: str, reason: str) -> None:
    """Make the former champion champion again."""
    from qagate import stewardship

    with errors():
        settings = settings_of(ctx)
        act = stewardship.rollback(settings, actor=actor, reason=reason)
        click.echo(f"{act.name or settings.worker.model} is champion")


@models.command()
@_JSON
@click.pass_context
def history(ctx: click.Context, as_json: bool) -> None:
    """Who made which model champion or challenger, when and why."""
    from qagate import stewardship

    with errors():
        present.history(stewardship.history(settings_of(ctx)), as_json)


@click.group(invoke_without_command=True)
@click.option("--all", "every", is_flag=True, help="Those of former models and the challenger as well.")
@_JSON
@click.pass_context
def baselines(ctx: click.Context, every: bool, as_json: bool) -> None:
    """List how each station's protocols usually score, alarms first."""
    from qagate import stewardship

    if ctx.invoked_subcommand is None:
        with errors():
            present.baselines(stewardship.baselines(settings_of(ctx), every=every), as_json)


@baselines.command()
@click.argument("number", type=int)
@acting
@click.pass_context
def accept(ctx: click.Context, number: int, actor: str, reason: str) -> None:
    """Call the present level of baseline NUMBER normal; needs a --reason."""
    from qagate import stewardship

    with errors():
        row = stewardship.accept(settings_of(ctx), number, actor=actor, reason=reason)
        level = row.state.median
        after = "it warms up again" if level is None else f"its median is {level:.2f} now"
        click.echo(f"baseline {number} accepted; {after}")
