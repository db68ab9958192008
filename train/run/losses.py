"""The recipe's loss on what the network answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models.output import Output
from train.losses import ClinReadNetLoss, plcc_loss, ranking_loss
from train.recipe import LossRecipe
from train.recipe_file import RecipeError


class Criterion(nn.Module):
    """Outputs and targets (N,) in 0..1 -> a scalar."""

    def __init__(self, recipe: LossRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.ordinal = None if recipe.ordinal is None else ClinReadNetLoss(recipe.ordinal)

    def forward(self, found: Output, targets: Tensor) -> Tensor:
        recipe = self.recipe
        if self.ordinal is not None:
            if found.logits is None:
                raise RecipeError("loss.ordinal needs a network with grades, such as clinreadnet")
            return self.ordinal(found.logits.float(), grades(targets, self.ordinal.config.grades))
        score = found.score.float()
        loss = score.new_zeros(())
        if recipe.mse:
            loss = loss + recipe.mse * (score - targets).square().mean()
        if recipe.ranking and len(score) > 1:
            loss = loss + recipe.ranking * ranking_loss(score, targets, recipe.margin)
        if recipe.plcc and len(score) > 1:
            loss = loss + recipe.plcc * plcc_loss(score, targets)
        return loss

    def over_tasks(self, found: Sequence[tuple[Output, Tensor]]) -> Tensor:
        """Mean over rows, tasks apart: parameters of different kinds are not ranked against each other."""
        total = sum(len(targets) for _, targets in found)
        parts = [self(output, targets) * (len(targets) / total) for output, targets in found]
        return torch.stack(parts).sum()


def grades(targets: Tensor, count: int) -> Tensor:
    """(N,) in 0..1 -> the nearest of `count` grades, int64; halves up."""
    return (targets.double() * (count - 1) + 0.5).floor().long().clamp(0, count - 1)


def check_grades(targets: Sequence[float], count: int) -> None:
    """Raise ValueError when all labels fall on one grade."""
    found = set(grades(torch.tensor(np.asarray(targets)), count).tolist())
    if len(found) == 1:
        raise ValueError(
            f"all {len(targets)} labels are grade {found.pop()} of {count}: there is one class only; label "
            "better and worse images too"
        )
