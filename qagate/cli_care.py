"""Commands that look after what the gate holds: fsck, reconcile, replay, backup, restore, audit."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import date, datetime
from pathlib import Path

import click

from qagate import present_care
from qagate.command import errors, settings_of, user

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
_BY = click.option("--by", "actor", default=user, help="Who; default: the user of this machine.")


@click.command()
@click.option("--mend", is_flag=True, help="Set right what is safe: record, count, follow the deliveries.")
@click.option("--resend", is_flag=True, help="Send again what an archive acknowledged and does not show.")
@click.option("--no-archives", is_flag=True, help="Ask no archive (C-FIND).")
@click.option("--days", default=7.0, show_default=True, help="Deliveries an archive is asked about.")
@click.option("--deep", is_flag=True, help="Read every spooled file and compare its hash.")
@_JSON
@_BY
@click.pass_context
def fsck(
    ctx: click.Context, mend: bool, resend: bool, no_archives: bool, days: float, deep: bool, as_json: bool,
    actor: str,
) -> None:  # fmt: skip
    """Hold spool, database and archives against each other; exit 1 when something is left to mend."""
    from qagate import care

    settings = settings_of(ctx)
    with errors():
        found = care.fsck(settings, days=days, archives=not no_archives, deep=deep)
        left, done = present_care.findings(found, mend=mend, resend=resend, as_json=as_json)
        if done:
            care.note(settings, actor, "mend", mended=done, left=left)
    sys.exit(1 if left else 0)


@click.command()
@click.argument("day", required=False, type=click.DateTime(["%Y-%m-%d"]))
@_JSON
@click.pass_context
def reconcile(ctx: click.Context, day: datetime | None, as_json: bool) -> None:
    """Show the last days' counts, or count DAY (UTC) now; exit 1 on a difference."""
    from qagate import care

    wanted: date | None = None if day is None else day.date()
    with errors():
        days = care.reconciled(settings_of(ctx), wanted)
    present_care.days(days, as_json)
    sys.exit(1 if any(one.differences for one in days) else 0)


@click.command()
@click.argument("series_uids", nargs=-1)
@click.option("--model", help="A name that `qagate models` lists; default: the champion.")
@click.option("--device", help="auto, cpu or cuda; default: the settings'.")
@click.option("--limit", default=20, show_default=True, help="Newest decided series, when none is named.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON lines here.")
@click.option("--send", is_flag=True, help="Also have them decided anew and sent; the champion only.")
@_JSON
@_BY
@click.pass_context
def replay(
    ctx: click.Context, series_uids: tuple[str, ...], model: str | None, device: str | None, limit: int,
    out: Path | None, send: bool, as_json: bool, actor: str,
) -> None:  # fmt: skip
    """Score stored series again with a model; keeps and sends nothing unless told to."""
    from qagate import care

    settings = settings_of(ctx)
    with errors(), out.open("w", encoding="utf-8") if out else nullcontext() as file:
        found = care.replay(
            settings, series_uids, model=model, device=device, limit=limit, send=send, actor=actor
        )
        well = present_care.replayed(found, as_json, file)
    sys.exit(0 if well else 1)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--spool/--no-spool", default=True, help="The received images; default: with them.")
@click.option("--reports/--no-reports", default=True, help="The reports' files; default: with them.")
@_BY
@click.pass_context
def backup(ctx: click.Context, folder: Path, spool: bool, reports: bool, actor: str) -> None:
    """Copy database, models, reports and spool to a new FOLDER while the gate runs, and read it back."""
    from qagate import care

    with errors():
        made, files = care.back_up(
            settings_of(ctx), folder.resolve(), spool=spool, reports=reports, actor=actor
        )
    held = ", ".join(("database", *made.folders))
    click.echo(f"wrote {folder}: {held}; {files} files, schema {made.schema}, read back and whole")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--force", is_flag=True, help="Replace a database that holds something; SQLite's is put aside.")
@_BY
@click.pass_context
def restore(ctx: click.Context, folder: Path, force: bool, actor: str) -> None:
    """Bring a backup back to a gate that stands still; exit 1 when fsck finds something afterwards."""
    from qagate import care

    settings = settings_of(ctx)
    with errors():
        done = care.restore(settings, folder.resolve(), force=force, actor=actor)
    well = present_care.restored(done, str(settings.data_dir))
    sys.exit(0 if well else 1)


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command()
@click.option("--known", help="Hash of a former end, kept elsewhere; it must still be there.")
@click.pass_context
def verify(ctx: click.Context, known: str | None) -> None:
    """Read the whole trail; say whether any row was changed, removed or put in, and where it ends."""
    from qagate import care

    with errors():
        head = care.verify_audit(settings_of(ctx), known)
    click.echo(f"the audit trail is whole: {head.rows} rows")
    if head.rows:
        click.echo(f"its end, to be kept elsewhere: {head.sha256}")


COMMANDS = (fsck, reconcile, replay, backup, restore, audit)
