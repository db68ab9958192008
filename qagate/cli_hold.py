"""The command that releases held series."""

from __future__ import annotations

import click

from qagate.command import acting, errors, settings_of


@click.command()
@click.argument("series_uids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every series that is held.")
@acting
@click.pass_context
def release(
    ctx: click.Context, series_uids: tuple[str, ...], everything: bool, actor: str, reason: str
) -> None:
    """Send held series to the archives; those that are not held stay as they are."""
    from qagate import care

    if not (series_uids or everything):
        raise click.UsageError("name series UIDs, or --all")
    with errors():
        released = care.release(
            settings_of(ctx), series_uids, everything=everything, actor=actor, reason=reason
        )
    for uid in released:
        click.echo(uid)
    click.echo(f"released {len(released)}")
