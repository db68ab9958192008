"""What a network says of cases: slices averaged to a series, ordinal logits kept as a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.crops import over_five_crops
from models.output import Output, distribution
from train.data.case import Case
from train.recipe import Recipe
from train.run.batches import Ints, Source, rows_of
from train.run.network import Batch

ROWS = 16  #: at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of one case and task."""

    case: int
    task: str
    score: float  #: on the network's own scale, as the gate will see it
    quality: float  #: on the targets' scale, 0..1 and a little beyond
    grades: tuple[float, ...] = ()  #: probability of each grade; empty for a network without


@torch.no_grad()
def predict(numbers: Ints, cases: Sequence[Case], source: Source, recipe: Recipe) -> list[Prediction]:
    """One for each case and task, in the order of the numbers. Leaves the network in evaluation mode."""
    module = source.asked.module
    module.eval()
    rows = rows_of(numbers, cases, source.images, source.asked)
    found: dict[tuple[int, str], list[tuple[float, tuple[float, ...]]]] = {}
    for start in range(0, len(rows), ROWS):
        part = rows.at(np.arange(start, min(start + ROWS, len(rows))))
        for places, batch in source.batches(part):
            output = _asked(source, batch, recipe)
            scores = output.score.double().cpu().tolist()
            shares = [()] * len(scores)
            if output.logits is not None:
                shares = [tuple(one) for one in distribution(output.logits.double()).cpu().tolist()]
            for place, score, share in zip(places, scores, shares, strict=True):
                key = int(part.case[place]), str(part.task[place])
                found.setdefault(key, []).append((score, share))
    return [_joined(case, task, slices) for (case, task), slices in found.items()]


def _asked(source: Source, batch: Batch, recipe: Recipe) -> Output:
    if not recipe.augmentation.crop or source.asked.series:
        return source.asked(batch)
    return over_five_crops(
        lambda images: source.asked(Batch(images=images)), batch.images, recipe.augmentation.crop
    )


def _joined(case: int, task: str, slices: list[tuple[float, tuple[float, ...]]]) -> Prediction:
    score = float(np.mean([one for one, _ in slices]))
    shares = np.mean([share for _, share in slices], axis=0)
    quality = score
    if len(shares):
        quality = float(shares @ np.linspace(0, 1, len(shares)))
    return Prediction(case=case, task=task, score=score, quality=quality, grades=tuple(map(float, shares)))
