"""What a step is made of: rows, batches, augmentation, grades and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from models.prompt import UNKNOWN
from train.data.case import QUALITY, Case
from train.recipe import (
    AugmentationRecipe,
    LossRecipe,
    Recipe,
)
from train.run.batches import WHOLE, Change, Source, cut, draw, rows_of, seeded
from train.run.losses import Criterion, check_grades, grades
from train.run.network import Asked, build

SIDE = 32  #: of the pictures


class _FakeImages:
    """Random slices, whose prompt names MR and a region that no network knows."""

    def __init__(self, slices: Sequence[int]) -> None:
        from train.data.images import Prepared

        words = {"modality": "MR", "region": "tail", "type": UNKNOWN}
        self.prepared = [Prepared(key="", slices=count, prompt=words) for count in slices]

    def __getitem__(self, case: int) -> Tensor:
        generator = torch.Generator().manual_seed(case)
        return torch.rand(self.prepared[case].slices, 3, SIDE, SIDE, generator=generator)


def test_series_are_padded_and_absent_slices_do_not_count(tiny_mediqa: Callable[..., Recipe]) -> None:
    recipe = tiny_mediqa()
    module = build(recipe).eval()
    source = Source(_FakeImages([3, 1]), Asked(module, recipe), torch.device("cpu"))
    cases = [
        Case(name=str(n), paths=(), modality="MR", unit=n, targets={QUALITY: 0.5}, values={}) for n in (0, 1)
    ]
    rows = rows_of([0, 1], cases, source.images, source.asked)  # type: ignore[arg-type]
    assert list(rows.slice) == [WHOLE, WHOLE]
    ((_, batch),) = source.batches(rows)
    assert batch.images.shape == (2, 3, 3, SIDE, SIDE) and batch.present.tolist() == [
        [True] * 3,
        [True, False, False],
    ]  # type: ignore[union-attr]
    assert batch.prompts is not None and batch.prompts.shape == (2, 64) and batch.prompts.sum() == 2
    ((_, alone),) = source.batches(rows.at(np.array([1])))
    with torch.no_grad():
        assert torch.allclose(source.asked(batch).score[1], source.asked(alone).score[0], atol=1e-5)


def test_slices_are_rows_that_carry_their_series_label(tiny: Callable[..., Recipe]) -> None:
    images = _FakeImages([2, 3])
    cases = [
        Case(name=str(n), paths=(), modality="MR", unit=n, targets={QUALITY: n / 4}, values={})
        for n in (0, 1)
    ]
    rows = rows_of([1, 0], cases, images, Asked(build(tiny()), tiny()))  # type: ignore[arg-type]
    assert rows.case.tolist() == [1, 1, 1, 0, 0] and rows.slice.tolist() == [0, 1, 2, 0, 1]
    assert rows.target.tolist() == [0.25] * 3 + [0.0] * 2


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (1, 4, [1])]
)
def test_no_batch_is_a_single_row_and_none_is_dropped(count: int, size: int, expected: list[int]) -> None:
    parts = cut(np.arange(count), size)
    assert list(map(len, parts)) == expected and np.concatenate(parts).tolist() == list(range(count))


def test_augmentation_that_does_not_resample_moves_pixels_only() -> None:
    recipe = AugmentationRecipe(flips=True, turns=True)
    images = torch.rand(2, 3, 8, 8)
    seen = set()
    for change in draw(200, recipe, seeded(1)):
        moved = change(images, recipe)
        assert torch.equal(moved.flatten(1).sort().values, images.flatten(1).sort().values)
        seen.add(tuple(moved[0, 0].flatten().tolist()))
    assert len(seen) == 8  # every turn and flip of a square, and no other


def test_resampling_and_crops_do_what_they_say() -> None:
    recipe = AugmentationRecipe(rotation_degrees=15.0, scale=(0.9, 1.2), resampling=True, crop=8)
    changes = draw(500, recipe, seeded(2))
    assert all(abs(change.degrees) <= 15 and 0.9 <= change.scale <= 1.2 for change in changes)
    assert max(change.degrees for change in changes) > 14 and not any(change.turns for change in changes)
    image = torch.rand(1, 3, 16, 16)
    assert changes[0](image, recipe).shape == (1, 3, 8, 8)
    still = Change(left_right=False, up_down=False, turns=0, degrees=0.0, scale=1.0, place=(1.0, 0.0))
    assert torch.allclose(still(image, recipe), image[:, :, 8:, :8], atol=1e-5)
    corner = Change(left_right=True, up_down=False, turns=0, degrees=0.0, scale=1.0, place=(0.0, 0.0))
    assert torch.equal(corner(image, AugmentationRecipe(flips=True)), image.flip(-1))
    with pytest.raises(ValueError, match=r"crop 8 exceeds preparation\.side 4"):
        still(image[:, :, :4, :4], recipe)


def test_grades_are_rounded_halves_up_and_one_class_is_refused() -> None:
    assert grades(torch.tensor([0.0, 0.025, 0.5, 0.974, 1.0]), 21).tolist() == [0, 1, 10, 19, 20]
    with pytest.raises(ValueError, match="all 3 labels are grade 10 of 21: there is one class only"):
        check_grades([0.5, 0.51, 0.49], 21)
    check_grades([0.1, 0.5], 21)


def test_each_loss_of_the_recipe_counts() -> None:
    from models.output import Output

    score, targets = torch.tensor([0.1, 0.4, 0.2]), torch.tensor([0.0, 0.5, 1.0])

    def loss(**weights: float) -> float:
        return float(Criterion(LossRecipe(**{"mse": 0.0, **weights}))(Output(score=score), targets))  # type: ignore[arg-type]

    parts = [loss(mse=1.0), loss(ranking=1.0), loss(plcc=1.0)]
    assert all(part > 0 for part in parts)
    assert loss(mse=2.0, ranking=3.0, plcc=0.5) == pytest.approx(2 * parts[0] + 3 * parts[1] + 0.5 * parts[2])
