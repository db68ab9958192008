"""What `adapt` gains on a simulated house: `python -m train.adapt_study RECIPE --references DIR --cache DIR`.

The recipe's subjects are dealt anew in each draw: a house of two halves, and the rest, which the heads are
fitted on as the shipped ones are. One half is the house's archive, the other its next patients, on whom the
heads are judged before and after they were adapted to 1, 2, ... subjects of the archive. A real house's
patients are more alike than these: one scanner, few protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from models.default import Head
from models.weights_file import WEIGHTS
from train.adapt import moved, scores
from train.dataset import Samples, Taught, build, read_recipe
from train.evaluation.ladders import figures
from train.evaluation.significance import Interval
from train.evaluation.tables import Column, Table
from train.fit import PLAIN, head_of, labels

Names = npt.NDArray[np.str_]
FIGURES = ("SROCC", "relative", "pairs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """Who is who in one draw."""

    elsewhere: Names  #: whom the heads are fitted on
    archive: Names
    next_patients: Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Means over the draws for one size of the archive; gains with the 2.5th and 97.5th percentile draw."""

    subjects: int
    before: dict[str, float]
    after: dict[str, float]
    gain: dict[str, Interval]


def deals(subjects: Names, half: int, draws: int, seed: int = 0) -> Iterator[Deal]:
    """Random houses of twice `half` subjects. Raises ValueError when nobody is left for elsewhere."""
    names = np.unique(subjects)
    if not 0 < half <= (len(names) - 1) // 2:
        raise ValueError(f"half {half} of {len(names)} subjects: expected 1 to {(len(names) - 1) // 2}")
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        dealt = rng.permutation(names)
        yield Deal(archive=dealt[:half], next_patients=dealt[half : 2 * half], elsewhere=dealt[2 * half :])


def study(
    samples: Samples,
    ridge: float,
    taught: Taught = PLAIN,
    *,
    half: int,
    draws: int,
    seed: int = 0,
    told: Callable[[int], None] = lambda draw: None,
) -> list[Point]:
    """A point for each size of the archive from 1 to `half`."""
    before = np.zeros((draws, len(FIGURES)))
    after = np.zeros((half, draws, len(FIGURES)))
    for number, deal in enumerate(deals(samples.subject, half, draws, seed)):
        elsewhere = _of(samples, deal.elsewhere)
        patients = _of(samples, deal.next_patients)
        patients = patients.where(patients.copy == 0)
        head = head_of(elsewhere, labels(elsewhere), ridge, taught)
        before[number] = _judged(patients, head)
        for size in range(half):
            archive = _of(samples, deal.archive[: size + 1])
            adapted = moved(head, archive, labels(archive), ridge, taught, images=len(elsewhere))
            after[size, number] = _judged(patients, adapted)
        told(number + 1)
    return [
        Point(
            subjects=size + 1,
            before=dict(zip(FIGURES, before.mean(axis=0).tolist(), strict=True)),
            after=dict(zip(FIGURES, after[size].mean(axis=0).tolist(), strict=True)),
            gain={name: _interval(after[size, :, n] - before[:, n]) for n, name in enumerate(FIGURES)},
        )
        for size in range(half)
    ]


def table(modality: str, samples: Samples, points: list[Point], draws: int) -> Table:
    """A row for each size of the archive."""
    count = len(np.unique(samples.subject))
    half = points[-1].subjects
    return Table(
        title=f"{modality}: heads of {count - 2 * half} subjects, judged on {half} others, {draws} draws",
        columns=(
            Column(name="archive", numeric=False),
            *(Column(name=f"{name}{what}") for name in FIGURES for what in ("", ", gain")),
        ),
        rows=(
            ("none", *(value for name in FIGURES for value in (points[0].before[name], None))),
            *(
                (f"{p.subjects}", *(value for name in FIGURES for value in (p.after[name], p.gain[name])))
                for p in points
            ),
        ),
        notes=("archive: subjects adapted to. Gain: mean of the draws [2.5th, 97.5th percentile of draws].",),
    )


def _of(samples: Samples, names: Names) -> Samples:
    return samples.where(np.isin(samples.subject, names))


def _judged(samples: Samples, head: Head) -> tuple[float, float, float]:
    found = figures(samples, scores(samples, head), labels(samples))
    return found.srocc, found.srocc_relative, found.pairs


def _interval(gains: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(gains, [0.025, 0.975])
    return Interval(value=float(gains.mean()), low=float(low), high=float(high))


@click.command()
@click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--references", required=True, envvar="QAGATE_REFERENCES", help="The recipe's volumes.",
              type=click.Path(path_type=Path, file_okay=False, exists=True))  # fmt: skip
@click.option("--cache", envvar="QAGATE_CACHE", default=Path("runs/cache"), show_default=True,
              type=click.Path(path_type=Path, file_okay=False), help="Features computed before.")  # fmt: skip
@click.option("--modality", "modalities", multiple=True, help="Default: all of the recipe.")
@click.option("--half", type=int, help="Subjects in each half of the house; default: a third of all.")
@click.option("--draws", default=30, show_default=True)
@click.option("--processes", default=1, show_default=True, help="Processes that compute features.")
def main(
    recipe_path: Path, references: Path, cache: Path, modalities: tuple[str, ...], half: int | None,
    draws: int, processes: int,
) -> None:  # fmt: skip
    """Print what adapting to a simulated house gains over heads that never saw it."""
    recipe = read_recipe(recipe_path)
    everything = build(recipe, references, cache, WEIGHTS / "lite0.safetensors", processes)
    for modality in modalities or sorted(everything):
        samples = everything[modality]
        size = half or len(np.unique(samples.subject)) // 3
        points = study(
            samples, recipe.ridge, recipe.taught.get(modality, PLAIN), half=size, draws=draws,
            told=lambda draw: click.echo(f"draw {draw} of {draws}", err=True),
        )  # fmt: skip
        click.echo(table(modality, samples, points, draws).text())


if __name__ == "__main__":
    main()
