"""The order within ladders of rising severity, and agreement with the consensus inside a volume."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from train.consensus import agree
from train.dataset import Samples
from train.evaluation.correlation import Floats, plcc, srocc


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one scorer reached on one modality; SROCC and PLCC against the consensus."""

    srocc: float  #: pooled over all images
    plcc: float
    srocc_within: float  #: mean over volumes of the SROCC inside one
    srocc_relative: float  #: pooled, after subtracting each volume's mean clean score from the score
    pairs: float  #: share of adjacent steps of the ladders (severity 1 to 5) in the right order
    pairs_agreed: float  #: the same, steps on which the four teachers disagree left out
    pairs_clean: float  #: the same with the clean image as step 0 of each ladder
    worst_volume: float  #: the lowest SROCC of a volume
    by_artefact: Mapping[
        str, tuple[float, float, float]
    ]  #: artefact -> pooled SROCC, within-volume SROCC, pairs


def figures(samples: Samples, predicted: Floats, label: Floats) -> Figures:
    """Judge predictions (N,), higher is better, against labels (N,) on whole ladders."""
    volume = volumes(samples)
    within = _within(volume, predicted, label)
    pairs = _pairs(samples, predicted)
    by_artefact = {}
    for artefact in sorted(set(samples.artefact) - {"none"}):
        chosen = samples.artefact == artefact
        one = _within(volume[chosen], predicted[chosen], label[chosen])
        ordered = [p.right for p in pairs if p.artefact == artefact and not p.from_clean]
        by_artefact[artefact] = (
            srocc(predicted[chosen], label[chosen]),
            _mean(list(one.values())),
            _mean(ordered),
        )
    return Figures(
        srocc=srocc(predicted, label),
        plcc=plcc(predicted, label),
        srocc_within=_mean(list(within.values())),
        srocc_relative=srocc(relative(samples, predicted), label),
        pairs=_mean([p.right for p in pairs if not p.from_clean]),
        pairs_agreed=_mean([p.right for p in pairs if p.agreed and not p.from_clean]),
        pairs_clean=_mean([p.right for p in pairs]),
        worst_volume=float(np.nanmin(list(within.values()))),
        by_artefact=by_artefact,
    )


def volumes(samples: Samples) -> npt.NDArray[np.str_]:
    """(N,) the volume each image was made of."""
    return np.array([name.partition("/")[0] for name in samples.reference])


def relative(samples: Samples, predicted: Floats) -> Floats:
    """(N,) predictions less the mean of their volume's clean slices, which stand for its protocol's usual."""
    volume, clean = volumes(samples), samples.artefact == "none"
    found = predicted.astype(np.float64).copy()
    for name in np.unique(volume):
        chosen = volume == name
        found[chosen] -= found[chosen & clean].mean()
    return found


def _mean(values: list[float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(values)) if values else float("nan")


def _within(volume: npt.NDArray[np.str_], predicted: Floats, label: Floats) -> dict[str, float]:
    return {name: srocc(predicted[volume == name], label[volume == name]) for name in np.unique(volume)}


class Pair(NamedTuple):
    """Two adjacent steps of one ladder."""

    artefact: str
    right: float  #: 1 when the milder image scores higher, else 0
    agreed: bool  #: whether all teachers order the two alike
    from_clean: bool


def _pairs(samples: Samples, predicted: Floats) -> list[Pair]:
    found = []
    for name in np.unique(samples.reference):
        for copy in np.unique(samples.copy[samples.reference == name]):
            mine = np.flatnonzero((samples.reference == name) & (samples.copy == copy))
            clean = mine[samples.artefact[mine] == "none"]
            for artefact in sorted(set(samples.artefact[mine]) - {"none"}):
                steps = np.concatenate([clean, mine[samples.artefact[mine] == artefact]])
                steps = steps[np.argsort(samples.severity[steps], kind="stable")]
                for mild, strong in pairwise(steps):
                    agreed = agree(samples.teachers[mild], samples.teachers[strong])
                    right = float(predicted[mild] > predicted[strong])
                    found.append(Pair(artefact, right, agreed, samples.artefact[mild] == "none"))
    return found
