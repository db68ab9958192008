"""MANIQA: sizes, the truncated ViT, what it refuses, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.maniqa import Maniqa, ManiqaConfig
from tests.models.conftest import overfits, parameters


def test_parameters_of_the_published_network() -> None:
    assert parameters(lambda: Maniqa(ManiqaConfig(truncated=False))) == pytest.approx(135.748, abs=5e-4)
    assert parameters(lambda: Maniqa(ManiqaConfig())) == pytest.approx(120.80, abs=5e-3)


def test_the_truncated_network_equals_the_whole_one(tiny_maniqa: ManiqaConfig, eight_images: Tensor) -> None:
    torch.manual_seed(1)
    whole = Maniqa(replace(tiny_maniqa, truncated=False)).eval()
    cut = Maniqa(tiny_maniqa).eval()
    assert len(whole.vit.blocks) == 4 and len(cut.vit.blocks) == 3
    missing, unexpected = cut.load_state_dict(whole.state_dict(), strict=False)
    assert not missing and all(
        name.startswith(("vit.blocks.3", "vit.norm", "vit.head")) for name in unexpected
    )
    with torch.inference_mode():
        assert torch.equal(whole(eight_images).score, cut(eight_images).score)


def test_the_score_is_the_weighted_mean_of_patches(tiny_maniqa: ManiqaConfig, eight_images: Tensor) -> None:
    found = Maniqa(tiny_maniqa).eval()(eight_images)
    assert found.patch_scores is not None and found.patch_weights is not None
    assert found.patch_scores.shape == found.patch_weights.shape == (8, 8, 8)
    wanted = (found.patch_scores * found.patch_weights).sum((1, 2)) / found.patch_weights.sum((1, 2))
    torch.testing.assert_close(found.score, wanted)


@pytest.mark.parametrize(
    "changed",
    [{}, {"score_activation": "relu"}, {"truncated": False}, {"channel_attentions": 2, "swin_layers": 2}],
    ids=str,
)
def test_it_learns_eight_images(
    changed: dict[str, object], tiny_maniqa: ManiqaConfig, eight_images: Tensor
) -> None:
    torch.manual_seed(3)
    net = Maniqa(replace(tiny_maniqa, **changed))
    assert overfits(net, net, eight_images)


def test_it_can_be_exported(tiny_maniqa: ManiqaConfig, eight_images: Tensor) -> None:
    net = Maniqa(tiny_maniqa).eval()
    exported = torch.export.export(net, (eight_images,)).module()
    torch.testing.assert_close(exported(eight_images).score, net(eight_images).score)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"window": 3}, "window 3 does not divide the 8x8 tokens"),
        ({"blocks": (2, 9)}, "has 4 blocks; there is no block 9"),
        ({"blocks": (2, 1)}, "not rising"),
        ({"widths": (16, 9)}, "width 9 is not a multiple of 2 heads"),
        ({"score_activation": "tanh"}, "neither relu nor softplus"),
        ({"dropout": 1.5}, "dropout 1.5"),
    ],
)
def test_contradictions_are_named(changed: dict[str, object], told: str, tiny_maniqa: ManiqaConfig) -> None:
    with pytest.raises(ValueError, match=told):
        Maniqa(replace(tiny_maniqa, **changed))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 32, 40)])
def test_wrong_images_are_named(shape: tuple[int, ...], tiny_maniqa: ManiqaConfig) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 3, 32, 32\)"):
        Maniqa(tiny_maniqa)(torch.zeros(shape))
