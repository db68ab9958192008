"""The number format that a trained network is found to bear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.output import Output
from train.data.case import Case
from train.data.images import Images, prepare_all
from train.recipe import Recipe
from train.run.network import Asked
from train.run.precision import precision_of


class Contrast(nn.Module):
    """The grey values' range behind a product: bf16 keeps it when `large` is 0 and rounds it away at 1000."""

    def __init__(self, large: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.large = large
        nn.init.constant_(self.conv.weight, 1)
        nn.init.constant_(self.conv.bias, large)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Output:
        return Output(score=self.conv(images).float().amax(dim=(1, 2, 3)) - self.large)


@pytest.fixture
def images(cases: list[Case], tiny: Callable[..., Recipe], tmp_path: Path) -> Images:
    _, prepared, _ = prepare_all(cases, tiny().preparation, 1, tmp_path / "cache")
    return Images(prepared, tmp_path / "cache")


def test_what_rounding_would_reorder_stays_in_fp32(images: Images, tiny: Callable[..., Recipe]) -> None:
    assert precision_of(Asked(Contrast(1000.0), tiny()), images) == "fp32"


def test_too_few_images_stay_in_fp32(images: Images, tiny: Callable[..., Recipe]) -> None:
    assert len(images) < 24 and precision_of(Asked(Contrast(0.0), tiny()), images) == "fp32"


def test_what_keeps_its_order_may_be_fast(
    images: Images, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {number: torch.rand(3, 3, 32, 32) * (number + 1) / 18 for number in range(18)}
    monkeypatch.setattr(Images, "__getitem__", lambda self, case: many[case])
    assert precision_of(Asked(Contrast(0.0), tiny()), images) == "bf16"
    assert precision_of(Asked(Contrast(1000.0), tiny()), images, crop=16) == "fp32"
