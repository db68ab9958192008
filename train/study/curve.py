"""How figures grow with the number of training subjects, and how many would reach an aim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.dataset import Samples
from train.evaluation.correlation import Floats
from train.evaluation.ladders import figures

Features = npt.NDArray[np.float32]
Fit = Callable[[Samples, Floats], Callable[[Features], Floats]]
"""Samples and their labels -> a function of features (N, F) that answers scores and types (N, 1 + T)."""
NAMES = ("srocc", "relative", "pairs", "types")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Means over draws of training subjects; spread: the standard deviation over the draws."""

    subjects: int
    mean: dict[str, float]  #: of NAMES
    spread: dict[str, float]


def learning_curve(
    samples: Samples,
    label: Floats,
    fit: Fit,
    kinds: npt.NDArray[np.int_],
    *,
    draws: int = 5,
    seed: int = 0,
    told: Callable[[Point], None] = lambda point: None,
) -> list[Point]:
    """A point for 1, 2, 3, 4, 6, 8, ... subjects and for all but the one left out.

    Each subject is judged by `draws` random sets of the others. kinds: (N,) the right column of the types.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(samples.subject)
    largest = len(names) - 1
    points = []
    for size in sorted({n for n in (1, 2, 3, 4, 6, 8, 12, 16) if n < largest} | {largest}):
        found = [
            _draw(samples, label, fit, kinds, names, size, rng) for _ in range(draws if size < largest else 1)
        ]
        values = np.array(found)
        points.append(
            Point(
                subjects=size,
                mean=dict(zip(NAMES, map(float, values.mean(axis=0)), strict=True)),
                spread=dict(zip(NAMES, map(float, values.std(axis=0)), strict=True)),
            )
        )
        told(points[-1])
    return points


def _draw(
    samples: Samples,
    label: Floats,
    fit: Fit,
    kinds: npt.NDArray[np.int_],
    names: npt.NDArray[np.str_],
    size: int,
    rng: np.random.Generator,
) -> list[float]:
    targets: Floats | None = None
    for subject in names:
        others = rng.choice(names[names != subject], size, replace=False)
        chosen, out = np.isin(samples.subject, others), samples.subject == subject
        answers = fit(samples.where(chosen), label[chosen])(samples.features[out])
        if targets is None:
            targets = np.zeros((len(samples), answers.shape[1]))
        targets[out] = answers
    assert targets is not None
    plain = samples.copy == 0
    f = figures(samples.where(plain), targets[plain, 0], label[plain])
    seen = plain & (samples.severity >= 2)
    right = float((targets[seen, 1:].argmax(axis=1) == kinds[seen]).mean())
    return [f.srocc, f.srocc_relative, f.pairs, right]


def subjects_for(points: Sequence[Point], figure: str, aim: float) -> float:
    """Subjects at which 1 - figure = b n^-c reaches the aim, b and c by least squares in logarithms.

    Infinity where the figure does not grow. What lies far beyond the largest point is a guess.
    """
    n = np.log([point.subjects for point in points])
    lacking = np.log(np.maximum([1 - point.mean[figure] for point in points], 1e-6))
    slope, start = np.polyfit(n, lacking, 1)
    if slope >= 0:
        return float("inf")
    return float(np.exp((np.log(1 - aim) - start) / slope))
