"""`qagate users`: who may look at the pages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from qagate.command import errors, settings_of, user
from qagate.store.accounts import Account, Accounts
from qagate.store.engine import Store

_ROLES = click.Choice(["viewer", "radiographer", "physicist", "admin"])
_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@click.group()
def users() -> None:
    """Who may look at the pages, and as what."""


@contextmanager
def _store(ctx: click.Context) -> Iterator[Store]:
    from qagate import app

    with errors(), app.open_ready_store(settings_of(ctx)) as store:
        yield store


@users.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Show every user."""
    with _store(ctx) as store:
        found, now = Accounts(store).all(), store.now()
    for one in found:
        notes = [one.source] * (one.source != "local") + ["wall"] * one.wall + ["disabled"] * one.disabled
        if one.locked_until is not None and one.locked_until > now:
            notes.append(f"locked until {one.locked_until:%H:%M} UTC")
        if as_json:
            seen = one.seen_at and one.seen_at.isoformat()
            click.echo(json.dumps({"name": one.name, "role": one.role, "notes": notes, "seen_at": seen}))
        else:
            seen = f"{one.seen_at:%Y-%m-%d %H:%M} UTC" if one.seen_at else "never"
            click.echo(f"{one.name:<24} {one.role:<13} last login {seen}  {', '.join(notes)}".rstrip())
    if not found and not as_json:
        click.echo("no users yet: `qagate users add NAME --role admin` makes the first")


@users.command()
@click.argument("name")
@click.option("--role", type=_ROLES, required=True, help="What the user may.")
@click.option("--wall", is_flag=True, help="A display on the wall: stays logged in. Viewer or radiographer.")
@click.option("--no-password", is_flag=True, help="Logs in through the reverse proxy, or uses tokens only.")
@_STDIN
@click.pass_context
def add(
    ctx: click.Context, name: str, role: str, wall: bool, no_password: bool, password_stdin: bool
) -> None:
    """Make a user; asks for the password."""
    with _store(ctx) as store:
        accounts = Accounts(store)
        if accounts.named(name) is not None:
            raise click.ClickException(f"there is a user {name} already; `qagate users password {name}`")
        hashed = None if no_password else _hashed(name, password_stdin)
        source = "proxy" if no_password else "local"
        made = accounts.add(name, role, actor=user(), password_hash=hashed, source=source, wall=wall)
    click.echo(f"added {made.name}, {made.role}")


@users.command()
@click.argument("name")
@click.argument("role", type=_ROLES)
@click.pass_context
def role(ctx: click.Context, name: str, role: str) -> None:
    """Give a user another role; ends their logins."""
    with _store(ctx) as store:
        changed = Accounts(store).change(name, actor=user(), role=role)
    click.echo(f"{changed.name} is {changed.role} now")


@users.command()
@click.argument("name")
@_STDIN
@click.pass_context
def password(ctx: click.Context, name: str, password_stdin: bool) -> None:
    """Give a user a new password; ends their logins and unlocks the name."""
    with _store(ctx) as store:
        found = _known(store, name)
        if found.source != "local":
            raise click.ClickException(
                f"{found.name} logs in by {found.source}; the password is not kept here"
            )
        Accounts(store).change(name, actor=user(), password_hash=_hashed(name, password_stdin))
    click.echo(f"{found.name} has a new password")


@users.command()
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let the user in again.")
@click.pass_context
def disable(ctx: click.Context, name: str, undo: bool) -> None:
    """Let a user in no more; ends their logins and tokens. Their labels stay."""
    with _store(ctx) as store:
        changed = Accounts(store).change(name, actor=user(), disabled=not undo)
    click.echo(f"{changed.name} may {'log in again' if undo else 'not log in any more'}")


@users.command()
@click.argument("name")
@click.option("--for", "program", required=True, help="The program that will use it.")
@click.option("--days", type=click.IntRange(0, 3650), default=365, show_default=True, help="0: for ever.")
@click.pass_context
def token(ctx: click.Context, name: str, program: str, days: int) -> None:
    """Make a token for a program; it may do what the user may. Printed this once."""
    from qagate.store.logins import Logins
    from qagate.web.security.sessions import fingerprint, new_token

    made = new_token()
    with _store(ctx) as store:
        expires_at = store.now() + timedelta(days=days) if days else None
        Logins(store).add_token(
            _known(store, name), program, fingerprint(made), actor=user(), expires_at=expires_at
        )
    click.echo(made)


def _known(store: Store, name: str) -> Account:
    found = Accounts(store).named(name)
    if found is None or found.disabled:
        raise click.ClickException(f"no user {name} may log in; `qagate users list` shows them all")
    return found


def _hashed(name: str, from_stdin: bool) -> str:
    from qagate.web.security import passwords

    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
    else:
        given = click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True)
    wrong = passwords.problem(given, name)
    if wrong:
        raise click.ClickException(wrong)
    return passwords.hashed(given)
