"""`qagate labels`: bring readers' labels in and out of the store, and see what they are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from qagate.label import Scale, check_rater
from train.labels.schema import Row, parse_scale


class _Scale(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """WORST-BEST."""

    name = "worst-best"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Scale:
        try:
            return value if isinstance(value, Scale) else parse_scale(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@contextmanager
def _told() -> Iterator[None]:
    """What is foreseen to fail becomes one sentence."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from error


def _rater(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        if value is not None:
            check_rater(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.group()
def labels() -> None:
    """Bring readers' labels in and out, and see how far they agree (docs/labels.md)."""


@labels.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--scale", type=_Scale(), help="Scale of scores without one: worst to best, such as 0-4.")
@click.option("--rater", callback=_rater, help="Who gave the labels that name nobody.")
@click.option("--check", is_flag=True, help="Read and look up everything, record nothing.")
@click.pass_context
def import_(ctx: click.Context, file: Path, scale: Scale | None, rater: str | None, check: bool) -> None:
    """Record the labels of a CSV or JSON FILE; all of them or none."""
    from qagate import app
    from qagate.command import settings_of
    from qagate.store.labels import Labels, UnknownObject
    from train.labels import files, folder
    from train.labels.problems import LabelFileError

    settings = settings_of(ctx)
    with _told():
        rows, lost = folder.resolve(files.read(file, scale=scale, rater=rater), file.parent)
        if lost:
            raise LabelFileError(file, lost)
        with app.open_configured_store(settings) as store:
            try:
                done = Labels(store).add((row.label for row in rows), dry_run=check)
            except UnknownObject as error:
                raise LabelFileError(file, _unknown(rows, error.uids)) from error
    series = len({row.label.series_instance_uid for row in rows})
    verb = "would record" if check else "recorded"
    known = f"; {done.known} were there already" if done.known else ""
    click.echo(f"{verb} {done.added} labels on {series} series{known}")


def _unknown(rows: Sequence[Row], uids: Sequence[str]) -> list[str]:
    """A sentence for each row that speaks of what was never received."""
    strange = set(uids)
    said = []
    for row in rows:
        if row.label.series_instance_uid in strange:
            uid, what = row.label.series_instance_uid, "this gate never received series"
        elif row.label.sop_instance_uid in strange:
            uid, what = row.label.sop_instance_uid, "the series has no image"
        else:
            continue
        said.append(f"row {row.number}: {what} {uid}; correct the UID, or delete the row")
    return said


@labels.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--latest", is_flag=True, help="Only each rater's last answer.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_context
def export(ctx: click.Context, file: Path, latest: bool, force: bool) -> None:
    """Write every label to FILE, .csv or .json; `import` reads it back."""
    from qagate import app
    from qagate.command import settings_of
    from qagate.store.labels import Labels
    from train.labels import files

    settings = settings_of(ctx)
    with _told():
        if file.exists() and not force:
            raise FileExistsError(f"{file} exists; --force overwrites it")
        with app.open_configured_store(settings) as store:
            found = Labels(store).latest() if latest else Labels(store).all()
            count = files.write(file, (one.label for one in found))
    click.echo(f"wrote {count} labels to {file}")


@labels.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def report(ctx: click.Context, as_json: bool) -> None:
    """Show labels by rater and scanner, their distribution, agreement, outliers, and what to mend."""
    from rich.console import Console

    from qagate import app
    from qagate.command import settings_of
    from qagate.store.labels import Labels
    from train.labels import show
    from train.labels.report import report as of

    settings = settings_of(ctx)
    with _told(), app.open_configured_store(settings) as store:
        found = of(Labels(store))
    if as_json:
        click.echo(show.as_json(found))
    else:
        show.as_tables(found, Console(highlight=False))
