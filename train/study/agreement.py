"""Agreement with the consensus, raw and relative to the volume's clean slices; intervals over subjects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from train.dataset import Samples
from train.evaluation.correlation import Floats, plcc, srocc
from train.evaluation.ladders import relative
from train.evaluation.significance import Interval, Rows, bootstrap
from train.evaluation.tables import Column, Table

ALL = "all"  #: every artefact together, the clean slices among them
FIGURES = ("SROCC", "PLCC", "SROCC relative", "PLCC relative")
RESAMPLES = 500
NOTES = (
    "Intervals: 95 %, bootstrap of whole subjects; few subjects make them too narrow.",
    "Relative: after subtracting the mean score of the volume's clean slices, its baseline.",
)


def agreement(
    samples: Samples, scores: Floats, label: Floats, artefact: str = ALL, *, resamples: int = RESAMPLES
) -> list[Interval]:
    """The FIGURES of scores (N,) against labels (N,) on one artefact's images; of ALL on every image."""
    chosen = np.ones(len(samples), bool) if artefact == ALL else samples.artefact == artefact
    raw, less, wanted = scores[chosen], relative(samples, scores)[chosen], label[chosen]

    def figures(rows: Rows) -> list[float]:
        return [f(given[rows], wanted[rows]) for given in (raw, less) for f in (srocc, plcc)]

    return bootstrap(figures, len(wanted), groups=samples.subject[chosen], resamples=resamples)


def by_artefact(
    samples: Samples, scores: Mapping[str, Floats], label: Floats, *, resamples: int = RESAMPLES
) -> Table:
    """A row for each artefact and scorer, the scorers in the order given."""
    return Table(
        title="Agreement per artefact",
        columns=(*_named("artefact", "scores"), *(Column(name=name, digits=2) for name in FIGURES)),
        rows=tuple(
            (artefact, name, *agreement(samples, given, label, artefact, resamples=resamples))
            for artefact in sorted(set(samples.artefact) - {"none"})
            for name, given in scores.items()
        ),
        notes=NOTES,
    )


def overall(
    samples: Samples, scores: Mapping[str, Floats], label: Floats, *, resamples: int = RESAMPLES
) -> Table:
    """A row for each scorer on all images, the best first."""
    found = {name: agreement(samples, given, label, resamples=resamples) for name, given in scores.items()}
    ordered = sorted(found.items(), key=lambda item: -np.nan_to_num(item[1][0].value, nan=-1))
    return Table(
        title="Agreement on all artefacts",
        columns=(*_named("scores"), *(Column(name=name) for name in FIGURES)),
        rows=tuple((name, *intervals) for name, intervals in ordered),
        notes=NOTES,
    )


def confusion(wanted: npt.NDArray[np.str_], named: npt.NDArray[np.str_], types: tuple[str, ...]) -> Table:
    """How often each type was named for each, in percent of its images (N,)."""
    rows = []
    for kind in types:
        mine = named[wanted == kind]
        shares = [float(100 * (mine == other).mean()) if len(mine) else None for other in types]
        rows.append((kind, len(mine), *shares))
    return Table(
        title="Types named, % of the images of a type",
        columns=(*_named("is"), Column(name="images"), *(Column(name=kind, digits=0) for kind in types)),
        rows=tuple(rows),
    )


def _named(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name=name, numeric=False) for name in names)
