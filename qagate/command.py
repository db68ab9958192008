"""What every command of qagate shares: its settings, its errors, who runs it."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import click

from qagate import config

OWN_ERRORS = (ValueError, RuntimeError, OSError)


class ExtendedGroup(click.Group):
    """A group that other packages add commands to, through an entry-point group."""

    def __init__(self, *args: Any, extensions: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._extensions = extensions

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group=self._extensions).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for entry in entry_points(group=self._extensions, name=cmd_name):
            command = entry.load()
            return command if isinstance(command, click.Command) else None
        return None


def fail(error: Exception) -> NoReturn:
    """End the command with the error as one sentence."""
    raise click.ClickException(str(error) or type(error).__name__) from error


@contextmanager
def errors() -> Iterator[None]:
    """Our own errors as one sentence each, without a traceback."""
    try:
        yield
    except OWN_ERRORS as error:
        fail(error)


def settings_path(ctx: click.Context) -> Path | None:
    """The file of --config, or ./qagate.toml; None when there is neither."""
    path: Path | None = ctx.find_root().params.get("config_path")
    return Path("qagate.toml") if path is None and Path("qagate.toml").exists() else path


def settings_of(ctx: click.Context, *, needed: bool = True) -> config.Settings:
    """The settings of --config, of ./qagate.toml, or the defaults where none are needed.

    For every command, those of the entry-point group too. Raises ClickException that names the mend.
    """
    path = settings_path(ctx)
    if path is None and needed:
        raise click.ClickException("no settings: run `qagate init`, or name a file with --config")
    try:
        return config.load(path)
    except config.ConfigError as error:
        fail(error)


def acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of an act that is kept: who and why."""
    command = click.option("--reason", default="", help="Why; kept with the act.")(command)
    return click.option("--by", "actor", default=user, help="Who; default: the user of this machine.")(
        command
    )


def user() -> str:
    """The user name of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
