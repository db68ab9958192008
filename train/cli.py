"""`qagate train`: the commands, each a few lines. Other parts of the package add theirs to the group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from train.ablate.cli import ablate
from train.calibrate_cli import calibrate
from train.data_options import FOLDER, RUNS, data_options, errors, labelled_cases
from train.house_cli import adapt, simulate

if TYPE_CHECKING:
    from train.recipe import Recipe
    from train.run.stages import Outcome


@click.group()
def train() -> None:
    """Train a model on the house's own labels, or prepare one without any."""


for _command in (calibrate, simulate, adapt, ablate):
    train.add_command(_command)


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every training."""
    for option in reversed((
        click.option("--recipe", "name", help="A shipped recipe by name, or a .toml file."),
        click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe."),
        click.option("--start", "checkpoint", type=click.Path(path_type=Path, dir_okay=False, exists=True),
                     help="Weights of a former run to start from."),
        click.option("--out", type=FOLDER, help="Run folder, new or empty; default runs/STAGE-RECIPE."),
        *_machine(),
        click.option("--leave-out-broken", is_flag=True, help="Go on without what cannot be read."),
        click.option("--processes", default=0, show_default="one a core", help="That prepare images."),
    )):  # fmt: skip
        command = option(command)
    return command


def _machine() -> tuple[Callable[..., Any], ...]:
    return (
        click.option("--cache", type=FOLDER, help="Prepared images; default runs/cache."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option("--checkpoint-seconds", default=60.0, show_default=True, help="Between checkpoints."),
    )


@train.command()
@data_options
@_common
@click.pass_context
def finetune(
    ctx: click.Context, /, data: tuple[Path, ...], dataset: str | None, labels: Path | None, store: bool,
    splits: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Train on quality scores: DATA is a folder of DICOM series with labels.csv."""
    with errors():
        recipe, base = _recipe("finetune", options, default="house")
        if splits is not None:
            recipe = replace(recipe, folds=replace(recipe.folds, kind="given"))
        cases = labelled_cases(ctx, data, dataset, labels, store, splits, options["leave_out_broken"])
        _train(recipe, base, cases, options)


@train.command()
@click.argument("archive", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--dry-run", is_flag=True, help="Print what was read from each series, and train nothing.")
@click.option("--json", "as_json", is_flag=True, help="The same, one JSON object a line.")
@_common
@click.pass_context
def pretrain(
    ctx: click.Context, /, archive: tuple[Path, ...], dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Train on physical parameters that the headers of ARCHIVE tell; default: the gate's spool."""
    with errors():
        from train.data import archive as headers

        recipe, base = _recipe("pretrain", options, default="mediqa-upstream")
        if not archive:
            from qagate.command import settings_of

            archive = (settings_of(ctx).spool_dir,)
        found, problems = headers.read_archive(archive)
        for problem in problems:
            click.echo(problem, err=True)
        if as_json:
            click.echo(headers.as_json(found, recipe.parameters))
        elif dry_run:
            click.echo(headers.table(found, recipe.parameters).text(), nl=False)
        if not found:
            raise click.ClickException("there is no series that can be read; name a folder of DICOM files")
        if not (dry_run or as_json):
            parameters, notes = headers.telling(found, recipe.parameters)
            for note in notes:
                click.echo(note, err=True)
            recipe = replace(recipe, parameters=parameters)
            _train(recipe, base, headers.cases_of(found, parameters), options)


@train.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False, exists=True))
@_machine()[0]
@_machine()[1]
@_machine()[2]
def resume(run: Path, cache: Path | None, device: str, checkpoint_seconds: float) -> None:
    """Go on with a training that was stopped, from its last checkpoint."""
    with errors():
        from train.run import stages
        from train.run.team import joined

        with joined(device) as team:
            outcome = stages.resume(run, cache or RUNS / "cache", team, every_seconds=checkpoint_seconds)
            if team.leads:
                _tell(outcome)


def _recipe(stage: str, options: dict[str, Any], *, default: str) -> tuple[Recipe, Path]:
    """The recipe with the command line's changes, and what its paths count from."""
    from train import recipe_file

    name = options["name"] or default
    options["name"] = name
    changes = dict(recipe_file.change(text) for text in options["changes"])
    recipe = recipe_file.read(name, changes)
    base = recipe_file.find(name).parent
    if recipe.stage != stage:
        raise recipe_file.RecipeError(f"recipe {name} is for `qagate train {recipe.stage}`, not {stage}")
    if options["checkpoint"] is not None:
        path = str(options["checkpoint"].resolve())
        recipe = replace(recipe, start=replace(recipe.start, kind="checkpoint", path=path))
    return recipe, base


def _train(recipe: Recipe, base: Path, cases: Sequence[Any], options: dict[str, Any]) -> None:
    from train.data.splits import folds_of
    from train.run import stages
    from train.run.folder import check_new
    from train.run.network import configuration, initial_weights
    from train.run.team import joined

    out = options["out"] or RUNS / f"{recipe.stage}-{Path(options['name']).stem}"
    cache = options["cache"] or RUNS / "cache"
    check_new(out)
    configuration(recipe)
    initial_weights(recipe, base)
    folds_of(cases, recipe.folds, recipe.seed)
    with joined(options["device"]) as team:
        if team.leads:
            click.echo(f"preparing {len(cases)} images or series", err=True)
            _prepare(recipe, cases, cache, options)
        team.wait()
        usable, prepared, broken = _prepare(recipe, cases, cache, options)
        for problem in broken if team.leads else ():
            click.echo(f"left out: {problem}", err=True)
        outcome = stages.start(
            out, recipe, usable, prepared, cache, team, base=base,
            every_seconds=options["checkpoint_seconds"],
        )  # fmt: skip
        if team.leads:
            _tell(outcome)


def _prepare(recipe: Recipe, cases: Sequence[Any], cache: Path, options: dict[str, Any]) -> Any:
    from train.data.images import prepare_all, processes_for
    from train.run.progress import counted

    return prepare_all(
        cases, recipe.preparation, recipe.slices, cache,
        processes=processes_for(options["processes"]), leave_out_broken=options["leave_out_broken"],
        progress=counted("prepared"),
    )  # fmt: skip


def _tell(outcome: Outcome) -> None:
    """The figures that matter, and what to do next."""
    for name, count in outcome.figures.items():
        if name.endswith("images"):
            task = name.removesuffix("images")
            what = f"{task.rstrip('_')}, " if task else ""
            shown = ", ".join(_interval(outcome.figures, task, figure) for figure in ("srocc", "plcc"))
            click.echo(f"{what}{count:.0f} images or series, each held out once: {shown}")
    click.echo(f"run: {outcome.folder} (figures, plots, splits; history of every fold)")
    if outcome.weights is not None and "images" in outcome.figures:
        click.echo(f"next: qagate models add {outcome.folder} --name NAME, then models shadow NAME")
    elif outcome.weights is not None:
        click.echo(f"next: qagate train finetune FOLDER --start {outcome.weights}")


def _interval(figures: Mapping[str, float], task: str, name: str) -> str:
    key = f"{task}{name}"
    if key not in figures:
        return f"{name.upper()} not defined"
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    interval = "" if low is None or high is None else f" (95 %: {low:.2f} to {high:.2f})"
    return f"{name.upper()} {figures[key]:.2f}{interval}"
