"""Tiny networks of the papers' classes, and what every network must pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.maniqa import ManiqaConfig
from models.output import Output

TINY_VIT = {"patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 3}


def parameters(build: Callable[[], nn.Module]) -> float:
    """Millions of parameters, counted without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters()) / 1e6


def overfits(score: Callable[[Tensor], Output], net: nn.Module, images: Tensor, steps: int = 80) -> bool:
    """Whether training on eight images with MSE leaves less than a tenth of the scores' variance."""
    labels = torch.linspace(0.2, 1.0, len(images))
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=3e-3)
    net.train()
    for _ in range(steps):
        loss = (score(images).score - labels).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.1 * labels.var():
            return True
    return False


@pytest.fixture
def tiny_maniqa() -> ManiqaConfig:
    """A MANIQA of 8x8 tokens, without dropout, whose score cannot die."""
    return ManiqaConfig(
        image_size=32, backbone_options=TINY_VIT, blocks=(0, 1, 2), widths=(16, 8), heads=2, mlp_width=16,
        channel_attentions=1, swin_layers=1, dropout=0.0, drop_path=0.0, score_activation="softplus",
    )  # fmt: skip


@pytest.fixture
def eight_images() -> Tensor:
    """(8, 3, 32, 32) in [0, 1]."""
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
