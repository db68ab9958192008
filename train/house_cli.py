"""`qagate train simulate` and `qagate train adapt`: what needs no reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from qagate.config import Settings
    from qagate.files import SeriesFiles

_FOUND = click.Path(path_type=Path, exists=True)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_SEVERITIES = "1,3,5"


def _numbers(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        found = tuple(float(one) for one in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} are no numbers with commas between") from None
    if not found or list(found) != sorted(set(found)) or not 0 < found[0] <= found[-1] <= 5:
        raise click.BadParameter(f"{value!r} do not rise within 0 to 5")
    return found


def _series(paths: Sequence[Path]) -> list[SeriesFiles]:
    """The series of files and folders; unreadable files are named and left out."""
    from qagate.files import group

    found, problems = group(paths)
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)
    if not found:
        raise click.ClickException("there is no series that can be read; name a folder of DICOM files")
    return found


@click.command()
@click.argument("paths", nargs=-1, required=True, type=_FOUND)
@click.option("--out", required=True, type=_FOLDER, help="New or empty folder.")
@click.option("--artefact", "artefacts", multiple=True, help="Repeatable; default: all of the modality.")
@click.option("--severities", default=_SEVERITIES, show_default=True, callback=_numbers, help="0 to 5.")
@click.option("--seed", default=0, show_default=True)
def simulate(
    paths: tuple[Path, ...], out: Path, artefacts: tuple[str, ...], severities: tuple[float, ...], seed: int
) -> None:
    """Write degraded copies of clean series with labels.csv, the consensus of full-reference metrics."""
    from train.simulated import LABELS, SimulationError, write_simulated

    try:
        made = write_simulated(
            _series(paths), out, artefacts=artefacts, severities=severities, seed=seed,
            progress=lambda name: click.echo(name, err=True),
        )  # fmt: skip
    except (SimulationError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"wrote {len(made)} series and {out / LABELS}")


@click.command()
@click.argument("paths", nargs=-1, type=_FOUND)
@click.option(
    "--out", type=_FOLDER, default=Path("runs/adapt"), show_default=True, help="New or empty folder."
)
@click.option("--worst", default=0.1, show_default=True, help="Share of series left out as likely bad.")
@click.option(
    "--most", default=40, show_default=True, help="Series of a modality looked at, drawn at random."
)
@click.option("--slices", default=2, show_default=True, help="Slices taken of each series.")
@click.option("--copies", default=1, show_default=True, help="Of each slice, with contrast and size varied.")
@click.option("--severities", default="1,2,3,4,5", show_default=True, callback=_numbers, help="0 to 5.")
@click.option("--cache", type=_FOLDER, default=Path("runs/cache"), show_default=True)
@click.option("--processes", default=1, show_default=True, help="That degrade and measure.")
@click.pass_context
def adapt(
    ctx: click.Context, paths: tuple[Path, ...], out: Path, worst: float, most: int, slices: int,
    copies: int, severities: tuple[float, ...], cache: Path, processes: int,
) -> None:  # fmt: skip
    """Fit the default model to the house's own accepted series; PATHS default to the gate's spool.

    No reader is needed: copies of the series are degraded, and full-reference metrics label them.
    """
    from qagate import parts
    from train import adapt as adapting
    from train.dataset import read_recipe
    from train.house import choose, drawn, references

    settings = _settings(ctx, needed=not paths)
    if out.exists() and any(out.iterdir()):
        raise click.ClickException(f"{out} is not empty; name another folder with --out")
    try:
        chosen = choose(
            drawn(_series(paths or (settings.spool_dir,)), most),
            parts.scorer(settings),
            parts.policy(settings),
            worst=worst,
        )
        for sentence in chosen.left_out:
            click.echo(f"left out: {sentence}", err=True)
        shipped = read_recipe(Path(__file__).with_name("recipes") / "default.toml")
        recipe = replace(
            shipped, seed=0, version="house", severities=severities, volumes=(),
            randomised={"CT": copies, "MR": copies},
        )  # fmt: skip
        found = adapting.adapt(
            references(chosen.accepted, slices=slices), recipe, cache, processes=processes,
            progress=lambda line: click.echo(line, err=True),
        )  # fmt: skip
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    adapting.write(found, out / "weights.safetensors", "house")
    (out / "figures.json").write_text(adapting.summary(found), encoding="utf-8")
    _keep_record(out, ctx.params, [one.modality for one in chosen.accepted])
    for modality, one in found.items():
        click.echo(
            f"{modality}: {one.subjects} patients, on those left out SROCC {one.old.srocc:.3f} -> "
            f"{one.new.srocc:.3f}, relative to the protocol {one.old.srocc_relative:.3f} -> "
            f"{one.new.srocc_relative:.3f}, steps in order {one.old.pairs:.1%} -> {one.new.pairs:.1%}"
        )
    click.echo(f"run: {out}; next: qagate models add {out} --name NAME")


def _keep_record(out: Path, params: Mapping[str, Any], modalities: Sequence[str]) -> None:
    """What the acceptance report tells of a run: how, with what, on how many series; none by name."""
    import json

    import torch

    from train.run.folder import environment

    lines = [
        f"{name} = {json.dumps(params[name])}" for name in ("worst", "most", "slices", "copies", "severities")
    ]
    cases = [{"modality": modality} for modality in modalities]
    for name, text in (
        ("recipe.toml", "\n".join(["# qagate train adapt", *lines])),
        ("environment.json", json.dumps(environment(torch.device("cpu"), params["processes"]), indent=1)),
        ("cases.json", json.dumps(cases)),
    ):
        (out / name).write_text(text + "\n", encoding="utf-8")


def _settings(ctx: click.Context, *, needed: bool) -> Settings:
    from qagate.command import settings_of

    return settings_of(ctx, needed=needed)
