"""Five crops are where they should be; the legacy ones coincide."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.crops import five_crops, over_five_crops
from models.output import Output


def numbered(rows: int, columns: int) -> Tensor:
    """One image whose every pixel tells its place: row in channel 0, column in channel 1."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([y, x, y * 0])[None].float()


@pytest.mark.parametrize(
    ("rows", "columns", "starts"),
    [
        (10, 14, [(0, 0), (0, 10), (6, 0), (6, 10), (3, 5)]),
        (5, 4, [(0, 0), (0, 0), (1, 0), (1, 0), (0, 0)]),
        (4, 4, [(0, 0)] * 5),
    ],
)
def test_crops_lie_in_the_corners_and_the_centre(
    rows: int, columns: int, starts: list[tuple[int, int]]
) -> None:
    crops = five_crops(numbered(rows, columns), 4)
    assert crops.shape == (1, 5, 3, 4, 4)
    assert [tuple(crop[:2, 0, 0].int().tolist()) for crop in crops[0]] == starts
    assert [tuple((crop[:2, -1, -1] - 3).int().tolist()) for crop in crops[0]] == starts


def test_legacy_crops_coincide() -> None:
    crops = five_crops(numbered(10, 14), 4, legacy=True)
    assert (crops == crops[:, :1]).all()
    assert torch.equal(crops[:, 0], five_crops(numbered(10, 14), 4)[:, 4])


def test_the_score_is_the_mean_over_an_images_own_crops() -> None:
    images = torch.cat([numbered(10, 14), numbered(10, 14) + 100])

    def network(crops: Tensor) -> Output:
        return Output(
            score=crops[:, :2].mean(dim=(1, 2, 3)), patch_scores=crops[:, 0], patch_weights=crops[:, 1]
        )

    found = over_five_crops(network, images, 4)
    middle = (4.5 + 6.5) / 2  # the corners lie around the image's middle, the centre on it
    torch.testing.assert_close(found.score, torch.tensor([middle, middle + 100]), rtol=0, atol=1e-4)
    assert found.patch_scores is not None and found.patch_weights is not None
    assert torch.equal(found.patch_scores, five_crops(images, 4)[:, :, 0])
    assert torch.equal(found.patch_weights, five_crops(images, 4)[:, :, 1])
    single = over_five_crops(lambda crops: Output(score=crops.mean(dim=(1, 2, 3))), images, 4, legacy=True)
    assert single.patch_scores is None


def test_small_images_are_named() -> None:
    with pytest.raises(ValueError, match="expected \\(N, C, 12 or more, 12 or more\\)"):
        five_crops(numbered(10, 14), 12)
