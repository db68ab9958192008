"""Rows, their order, their augmentation, and the batches the network gets. All chance comes from seeds that
name epoch and step, so a resumed run draws what the uninterrupted one would have drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from train.data.case import Case
from train.data.images import Images
from train.recipe import AugmentationRecipe
from train.run.network import Asked, Batch

Ints = npt.NDArray[np.int_]
WHOLE = -1  #: slice number of a row that is a whole series
FEATURE_BATCH = 16  #: images whose features are computed at once


def seeded(*parts: int) -> np.random.Generator:
    """A generator of its own for every place in the training."""
    return np.random.default_rng([part + 1 for part in parts])  # SeedSequence takes no negative numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What is learnt from or judged, (R,) each: a slice or a series, and one of its tasks."""

    case: Ints
    slice: Ints  #: from 0; WHOLE for all of them
    task: npt.NDArray[np.str_]
    target: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.case)

    def at(self, places: Ints) -> Rows:
        return Rows(**{name: getattr(self, name)[places] for name in self.__dataclass_fields__})


def rows_of(numbers: Sequence[int] | Ints, cases: Sequence[Case], images: Images, asked: Asked) -> Rows:
    """A row for each task of each case, and for each of its slices where the network takes one at a time."""
    found = [
        (int(number), place, task, target)
        for number in numbers
        for task, target in sorted(cases[number].targets.items())
        for place in ((WHOLE,) if asked.series else range(images.prepared[number].slices))
    ]
    case, place, task, target = zip(*found, strict=True) if found else ((), (), (), ())
    return Rows(
        case=np.array(case, int),
        slice=np.array(place, int),
        task=np.array(task, str),
        target=np.array(target, np.float32),
    )


def cut(order: Ints, size: int) -> list[Ints]:
    """Batches of `size`; a last one of a single row joins the one before: norms and ranks need two."""
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What augmentation does to one row; all slices of a series alike."""

    left_right: bool
    up_down: bool
    turns: int  #: quarters
    degrees: float
    scale: float
    place: tuple[float, float]  #: of the crop, 0 to 1 of the room there is

    def __call__(self, images: Tensor, recipe: AugmentationRecipe) -> Tensor:
        """(S, 3, H, W) -> the same, or (S, 3, crop, crop)."""
        dims = [dim for dim, turned in ((-2, self.up_down), (-1, self.left_right)) if turned]
        images = images.flip(dims) if dims else images
        images = images.rot90(self.turns, (-2, -1)) if self.turns else images
        if recipe.interpolates:
            a, s = radians(self.degrees), 1 / self.scale
            matrix = images.new_tensor([[s * cos(a), -s * sin(a), 0], [s * sin(a), s * cos(a), 0]])
            grid = functional.affine_grid(
                matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
            )
            images = functional.grid_sample(images, grid, align_corners=False)
        if not recipe.crop:
            return images
        room = [side - recipe.crop for side in images.shape[2:]]
        if min(room) < 0:
            raise ValueError(
                f"augmentation.crop {recipe.crop} exceeds preparation.side {min(images.shape[2:])}"
            )
        top, left = (round(share * space) for share, space in zip(self.place, room, strict=True))
        return images[:, :, top : top + recipe.crop, left : left + recipe.crop]


def draw(count: int, recipe: AugmentationRecipe, rng: np.random.Generator) -> list[Change]:
    """Chance for `count` rows; the same numbers are drawn whatever the recipe allows."""
    numbers = rng.random((count, 7))
    low, high = recipe.scale
    return [
        Change(
            left_right=recipe.flips and one[0] < 0.5,
            up_down=recipe.flips and one[1] < 0.5,
            turns=int(one[2] * 4) if recipe.turns else 0,
            degrees=recipe.rotation_degrees * (2 * one[3] - 1),
            scale=low * (high / low) ** one[4],
            place=(float(one[5]), float(one[6])),
        )
        for one in numbers
    ]


class Source:
    """Batches of rows for one network."""

    def __init__(
        self, images: Images, asked: Asked, device: torch.device, features: dict[int, Tensor] | None = None
    ) -> None:
        """features: of cases computed before, by a network that starts alike; filled further."""
        self.images, self.asked, self.device = images, asked, device
        self._features = {} if features is None else features

    def batches(
        self, rows: Rows, changes: Sequence[Change] | None = None, recipe: AugmentationRecipe | None = None
    ) -> Iterator[tuple[Ints, Batch]]:
        """For each task among the rows: their places, and the batch."""
        for task in np.unique(rows.task):
            places = np.flatnonzero(rows.task == task)
            tensors = []
            for place in places:
                images = self._images(int(rows.case[place]), int(rows.slice[place]))
                if changes is not None and recipe is not None and recipe.anything:
                    images = changes[int(place)](images, recipe)
                tensors.append(images)
            batch = self._series(tensors) if self.asked.series else Batch(images=torch.cat(tensors))
            batch = Batch(
                images=batch.images,
                present=batch.present,
                prompts=self._prompts(rows.case[places]),
                task=str(task),
            )
            yield places, batch.to(self.device)

    def _images(self, case: int, slice_: int) -> Tensor:
        """(S, 3, H, W), or (S, F) where features are asked for."""
        found = self.features(case) if self.asked.by_features else self.images[case]
        return found if slice_ == WHOLE else found[slice_ : slice_ + 1]

    @staticmethod
    def _series(tensors: Sequence[Tensor]) -> Batch:
        longest = max(map(len, tensors))
        padded = [
            torch.cat([one, one.new_zeros((longest - len(one), *one.shape[1:]))]) for one in tensors
        ]  # fmt: skip
        present = torch.tensor([[place < len(one) for place in range(longest)] for one in tensors])
        return Batch(images=torch.stack(padded), present=present)

    def _prompts(self, cases: Ints) -> Tensor | None:
        if self.asked.vocabulary is None:
            return None
        return torch.tensor([self.asked.encode(self.images.prepared[case].prompt) for case in cases])

    @torch.no_grad()
    def features(self, case: int) -> Tensor:
        """(S, F) of a case's slices by the network as it started; kept."""
        if case not in self._features:
            module = self.asked.module
            was_training = module.training
            module.eval()
            images = self.images[case].split(FEATURE_BATCH)
            self._features[case] = torch.cat(
                [cast(Any, module).features(part.to(self.device)).cpu() for part in images]
            )
            module.train(was_training)
        return self._features[case]
