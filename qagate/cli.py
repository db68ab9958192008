"""The command line: click commands, each a few lines that call `app`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import click

from qagate import __version__, config, config_template, present
from qagate.cli_care import COMMANDS
from qagate.cli_hold import release
from qagate.cli_models import baselines, models
from qagate.cli_users import users
from qagate.command import OWN_ERRORS, ExtendedGroup, fail, settings_of, user


@click.group(
    cls=ExtendedGroup,
    extensions="qagate.commands",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="QAGATE_CONFIG",
    help="Settings file; default ./qagate.toml.",
)
@click.version_option(__version__, prog_name="qagate")
def main(config_path: Path | None) -> None:
    """qagate: the image quality gate between scanner and PACS. Not a medical device."""
    # Threads that spin while they wait make torch several times slower beside any other busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What it makes holds patient data or secrets.
    os.umask(0o077)
    # Its warnings quote the values of elements.
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


@main.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default="qagate.toml")
@click.option("--stdout", is_flag=True, help="Print instead of writing.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(path: Path, stdout: bool, force: bool) -> None:
    """Write a commented settings file."""
    if stdout:
        click.echo(config_template.template(), nl=False)
        return
    if path.exists() and not force:
        raise click.ClickException(f"{path} exists; --force overwrites it")
    try:
        path.write_text(config_template.template(), encoding="utf-8")
    except OSError as error:
        fail(error)
    click.echo(f"wrote {path}. Next: `qagate --config {path} check`, then `qagate --config {path} serve`.")


@main.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Check settings, database, weights, spool and archives; exit 1 when something needs mending."""
    from qagate import checks

    if not present.checks(checks.run(settings_of(ctx))):
        sys.exit(1)


def _run(
    role: Callable[..., object],
    ctx: click.Context,
    supervised: bool,
    again: Callable[[], object] | None = None,
) -> None:
    import threading

    from qagate import supervisor, telemetry

    settings = settings_of(ctx)
    telemetry.keep_own_words()
    stop = threading.Event()
    # Ctrl-C reaches the whole tree, then the supervisor's SIGTERM: to a role that is no second wish.
    supervisor.stop_on_signals(stop, stop.set if supervised else again)
    if supervised:
        supervisor.stop_with_parent(stop)
    try:
        if role(settings, stop) is False:
            sys.exit(1)
    except OWN_ERRORS as error:
        fail(error)


@main.command()
@click.pass_context
def serve(ctx: click.Context) -> None:
    """Run the gate: receiver, worker, services and pages as processes of one tree."""
    import threading

    from qagate import app

    path = ctx.find_root().params.get("config_path") or "qagate.toml"
    at_once = threading.Event()

    def role(settings: config.Settings, stop: threading.Event) -> bool:
        return app.serve(settings, stop, options=("--config", str(path)), at_once=at_once)

    _run(role, ctx, False, at_once.set)


def _role_command(name: str, help: str) -> None:
    @main.command(name, help=help)
    @click.option("--supervised", is_flag=True, hidden=True)
    @click.pass_context
    def command(ctx: click.Context, supervised: bool) -> None:
        _run(_role(name), ctx, supervised)


def _role(name: str) -> Callable[..., None]:
    if name == "web":
        from qagate.web import serve as web

        return web.run
    from qagate import app

    return app.ROLES[name]


_role_command("receiver", "Run the C-STORE receiver alone.")
_role_command("worker", "Run one scoring worker alone; any number may share a store and a spool.")
_role_command("services", "Run the scheduler and the deliveries alone.")
_role_command("web", "Run the pages and the REST API alone.")


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--to", "address", default="127.0.0.1:11112", show_default=True, help="HOST:PORT of the receiver."
)
@click.option("--called", default="QAGATE", show_default=True, help="Called AE title.")
@click.option("--calling", default="QAGATE-SEND", show_default=True, help="Calling AE title.")
def send(paths: tuple[Path, ...], address: str, called: str, calling: str) -> None:
    """Send DICOM files or folders to an AE, unchanged."""
    from qagate import app

    try:
        failed = present.sending(app.send(paths, address=address, called=called, calling=calling))
    except OWN_ERRORS as error:
        fail(error)
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each series.")
@click.option("--model", help="A name that `qagate models` lists; default: the settings'.")
@click.option("--device", help="auto, cpu or cuda; default: the settings'.")
@click.pass_context
def score(
    ctx: click.Context, paths: tuple[Path, ...], as_json: bool, model: str | None, device: str | None
) -> None:
    """Score DICOM files or folders; needs no daemon and sends nothing."""
    from qagate import app

    settings = settings_of(ctx, needed=False)
    try:
        scored, problems = app.score(settings, paths, model=model, device=device)
    except OWN_ERRORS as error:
        fail(error)
    present.scores(scored, as_json)
    for problem in problems:
        click.secho(problem, fg="red", err=True)
    if problems or not scored:
        sys.exit(1)


@main.command()
@click.argument("series_uid", required=False)
@click.option("--state", help="Only series in this state, such as FAILED.")
@click.option("--limit", default=20, show_default=True, help="Newest series shown.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def status(ctx: click.Context, series_uid: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Show series, states, verdicts, dead letters and refused objects; or one series' history."""
    from qagate import app, stewardship

    try:
        if series_uid:
            present.history(*app.history(settings_of(ctx), series_uid), as_json)
        else:
            settings = settings_of(ctx)
            overview = app.status(settings, state=state, limit=limit)
            present.status(overview, stewardship.service(settings), as_json)
    except OWN_ERRORS as error:
        fail(error)


@main.command()
@click.argument("series_uids", nargs=-1)
@click.option("--failed", is_flag=True, help="Every FAILED series.")
@click.option("--dead", is_flag=True, help="Every delivery that was given up.")
@click.pass_context
def requeue(ctx: click.Context, series_uids: tuple[str, ...], failed: bool, dead: bool) -> None:
    """Score series again, or try dead deliveries again."""
    from qagate import app

    if not (series_uids or failed or dead):
        raise click.UsageError("name series UIDs, --failed or --dead")
    try:
        count = app.requeue(settings_of(ctx), series_uids=series_uids, failed=failed, dead=dead, actor=user())
    except OWN_ERRORS as error:
        fail(error)
    click.echo(f"requeued {count}")


@main.command()
@click.argument("archive")
@click.option("--called", help="Called AE title, when ARCHIVE is HOST:PORT.")
@click.pass_context
def echo(ctx: click.Context, archive: str, called: str | None) -> None:
    """C-ECHO an archive of the settings by NAME, or any HOST:PORT."""
    from qagate import app

    try:
        app.echo(settings_of(ctx, needed=":" not in archive), archive, called)
    except OWN_ERRORS as error:
        fail(error)
    click.echo(f"{archive} answers")


@main.command()
@click.pass_context
def migrate(ctx: click.Context) -> None:
    """Bring the database to this version's schema."""
    from qagate import app

    try:
        click.echo(app.migrate(settings_of(ctx)))
    except OWN_ERRORS as error:
        fail(error)


main.add_command(release)
main.add_command(models)
main.add_command(baselines)
main.add_command(users)
for _command in COMMANDS:
    main.add_command(_command)


if __name__ == "__main__":
    main()
