"""The labels and images that a training command is given: its options, and the cases they lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from train.data.case import Case
    from train.labels.sample import Labelled

FOLDER = click.Path(path_type=Path, file_okay=False)
RUNS = Path("runs")  #: where run folders and prepared images lie unless told otherwise
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@contextmanager
def errors(to_go_on: str = "`qagate train resume RUN` goes on from the last checkpoint") -> Iterator[None]:
    """Errors as one sentence; a Ctrl-C says how to go on."""
    try:
        yield
    except click.ClickException:
        raise
    except (ValueError, RuntimeError, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from error
    except KeyboardInterrupt:
        raise click.ClickException(f"stopped; {to_go_on}") from None


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """DATA and what belongs to it, as `labelled_cases` takes them."""
    for option in reversed((
        click.argument("data", nargs=-1, type=click.Path(path_type=Path, exists=True)),
        click.option("--dataset", help="A public data set's layout, such as rad-iqmri; DATA is its folder."),
        click.option("--labels", type=_FILE, help="CSV or JSON of labels; default DATA/labels.csv."),
        click.option("--store", is_flag=True,
                     help="The labels in the gate's database, with the spool's images."),
        click.option("--splits", type=_FILE,
                     help="CSV with columns name and part (train, validation, test); used as given."),
    )):  # fmt: skip
        command = option(command)
    return command


def labelled_cases(
    ctx: click.Context, data: Sequence[Path], dataset: str | None, labels: Path | None, store: bool,
    splits: Path | None, leave_out_broken: bool,
) -> list[Case]:  # fmt: skip
    """What there is to learn from. Raises UnusableLabels, and UsageError for options that do not fit."""
    from train.data.case import from_samples
    from train.data.splits import read_parts
    from train.labels.sample import usable

    found = _labelled(ctx, data, dataset, labels, store)
    for note in found.notes:
        click.echo(note, err=True)
    if leave_out_broken:
        for problem in found.problems:
            click.echo(f"left out: {problem}", err=True)
    elif found.problems:
        click.echo("mend these, or leave them out with --leave-out-broken:", err=True)
        found.complete()
    usable(found.samples)
    cases = from_samples(found.samples)
    return cases if splits is None else read_parts(splits, cases)


def _labelled(
    ctx: click.Context, data: Sequence[Path], dataset: str | None, labels: Path | None, store: bool
) -> Labelled:
    if store:
        return _from_store(ctx)
    if len(data) != 1:
        raise click.UsageError("name one folder of series with its labels.csv, or --store")
    if dataset is not None:
        from train.labels.adapters import read

        return read(dataset, data[0])
    from train.labels.folder import read_folder

    file = labels or data[0] / "labels.csv"
    if not file.is_file():
        raise click.UsageError(f"{file} does not exist: name the labels with --labels, or a --dataset")
    return read_folder(file, data[0])


def _from_store(ctx: click.Context) -> Labelled:
    from qagate import app
    from qagate.command import settings_of
    from qagate.store.labels import Labels
    from train.labels.stored import read_store

    settings = settings_of(ctx)
    with app.open_configured_store(settings) as store:
        return read_store(Labels(store), settings.spool_dir)
