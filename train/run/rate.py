"""The learning rate as a function of the epoch alone, so that a resumed run needs no scheduler's memory."""

from __future__ import annotations

from math import cos, pi

from train.recipe import ScheduleRecipe


def learning_rate(recipe: ScheduleRecipe, base: float, epoch: int, epochs: int) -> float:
    """Of an epoch, from 0, of so many."""
    period = recipe.period or epochs
    if recipe.name == "none":
        return base
    if recipe.name == "step":
        return base * recipe.factor ** (epoch // period)
    place = float(epoch)
    if recipe.name == "restarts":
        length = float(period)
        while place >= length:
            place -= length
            length *= recipe.growth
        period = length  # type: ignore[assignment]
    return recipe.floor + (base - recipe.floor) * (1 + cos(pi * place / period)) / 2
