"""`qagate train ablate`: a paper's ablation table, trained anew on one's own labels by one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from train.data_options import FOLDER, RUNS, data_options, errors, labelled_cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from train.ablate.runs import Plan

SEEDS = 5


def _show(ctx: click.Context, /, parameter: click.Parameter, value: bool) -> None:
    """Name every table with its rows, and end."""
    if not value or ctx.resilient_parsing:
        return
    from train.ablate import table

    for name in table.names():
        found = table.read(name)
        click.echo(f"{name}: {found.title}")
        small = {row.name for row in found.chosen(small=True)} if found.small else set()
        for number, row in enumerate(found.rows, start=1):
            told = [*(["the full system"] if row.name == found.full else []),
                    *(["pre-trained"] if row.pretrained else []),
                    *([] if row.name in small else ["not with --small"])]  # fmt: skip
            click.echo(f"  {number} {row.name}" + (f" ({', '.join(told)})" if told else ""))
    ctx.exit()


@click.command()
@click.argument("table")
@data_options
@click.option(
    "--list",
    "listed",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show,
    help="Name the tables and their rows, and end.",
)
@click.option(
    "--seeds", default=SEEDS, show_default=True, type=click.IntRange(min=1), help="Runs of each row."
)
@click.option("--small", is_flag=True, help="Small networks from scratch, for a CPU; the same switches.")
@click.option(
    "--row",
    "wanted",
    multiple=True,
    metavar="ROW",
    help="Repeatable: name or number; the full system is always trained. Default: all.",
)
@click.option("--against", metavar="ROW", help="Compare with this row instead of the full system.")
@click.option(
    "--archive",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Repeatable: series to pre-train on; default DATA.",
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change every row's recipe.")
@click.option("--out", type=FOLDER, help="Folder of all runs; default runs/ablate-TABLE.")
@click.option("--cache", type=FOLDER, help="Prepared images; default runs/cache.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--leave-out-broken", is_flag=True, help="Go on without what cannot be read.")
@click.option("--processes", default=0, show_default="one a core", help="That prepare images.")
@click.pass_context
def ablate(
    ctx: click.Context, /, table: str, data: tuple[Path, ...], dataset: str | None, labels: Path | None,
    store: bool, splits: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Train every row of a paper's ablation TABLE on DATA, several times, and say what it shows.

    The same command goes on after an interruption: finished runs are kept, stopped ones resumed.
    """
    with errors("the same command goes on where it stopped"):
        from train.ablate import report, runs
        from train.run.team import joined

        plan = _plan(table, options, given=splits is not None)
        cases = labelled_cases(ctx, data, dataset, labels, store, splits, options["leave_out_broken"])
        if any(row.pretrained for row in plan.rows):
            plan = _with_archive(plan, options["archive"] or data)
        with joined(options["device"]) as team:
            found = runs.train_all(plan, cases, team, say=lambda text: click.echo(text, err=True))
            if team.leads:
                for problem in found.problems:
                    click.echo(f"left out: {problem}", err=True)
                result = report.report(plan, found)
                result.write(plan.out)
                click.echo(result.table().text(), nl=False)
                click.echo(f"{plan.ablation.title}: {report.summary(result.verdicts)}")
                click.echo(f"written: {plan.out} (table, figures.json, differences, and every run)")


def _plan(name: str, options: dict[str, Any], *, given: bool) -> Plan:
    from train import recipe_file
    from train.ablate import table
    from train.ablate.runs import Plan
    from train.data.images import processes_for

    found = table.read(name)
    if options["against"]:
        found = found.against(options["against"])
    more = dict(recipe_file.change(text) for text in options["changes"])
    if given:
        more["folds.kind"] = "given"
    rows = found.chosen(options["wanted"], small=options["small"])
    first = recipe_file.read(found.recipe).seed
    return Plan(
        ablation=found, rows=rows, seeds=tuple(first + number for number in range(options["seeds"])),
        small=options["small"], more=more, out=options["out"] or RUNS / f"ablate-{Path(name).stem}",
        cache=options["cache"] or RUNS / "cache", processes=processes_for(options["processes"]),
        leave_out_broken=options["leave_out_broken"],
    )  # fmt: skip


def _with_archive(plan: Plan, paths: Sequence[Path]) -> Plan:
    """The plan with the series to pre-train on; a sentence for each parameter that they do not tell."""
    from dataclasses import replace

    from train.data import archive as headers

    if not paths:
        raise click.UsageError("rows are pre-trained on physical parameters: name series with --archive")
    found, problems = headers.read_archive(paths)
    for problem in problems:
        click.echo(problem, err=True)
    row = next(row for row in plan.rows if row.pretrained)
    wanted = plan.ablation.pretraining_of(row, plan.seeds[0], small=plan.small, more=plan.more).parameters
    try:
        _, notes = headers.telling(found, wanted)
    except ValueError as error:
        raise click.ClickException(
            f"row {row.name!r} is pre-trained: {error} with --archive, or train rows without it with --row "
            "and --against"
        ) from error
    for note in notes:
        click.echo(note, err=True)
    return replace(plan, archive=tuple(found))
