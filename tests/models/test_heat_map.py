"""Heat maps: a network's own patches first, Grad-CAM where there are none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.clinreadnet import ClinReadNet, ClinReadNetConfig
from models.heat_map import grad_cam, heat_map
from models.maniqa import Maniqa, ManiqaConfig
from models.output import Output, distribution, entropy


class Corner(nn.Module):
    """Scores the upper left quarter only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 4, stride=4)
        self.cam_layer = "conv"
        nn.init.ones_(self.conv.weight)

    def forward(self, images: Tensor) -> Output:
        x = self.conv(images)
        return Output(score=x[:, 0, :2, :2].mean(dim=(1, 2)))


def test_patch_scores_come_first(tiny_maniqa: ManiqaConfig, eight_images: Tensor) -> None:
    net = Maniqa(tiny_maniqa).eval()
    assert torch.equal(heat_map(net, eight_images), net(eight_images).patch_scores)


def test_grad_cam_follows_the_image_and_leaves_no_trace() -> None:
    net = Corner().eval()
    images = torch.zeros(2, 3, 16, 16)
    images[0, :, :8, :8] = 1
    images[1, :, 4:8, 4:8] = 1
    maps = heat_map(net, images)
    assert maps.shape == (2, 4, 4) and maps.max() == 1
    torch.testing.assert_close(maps[0, :2, :2], torch.ones(2, 2))
    assert maps[1, 1, 1] == 1 and maps[1, 3, 3] < 0.1
    assert not net.conv._forward_hooks
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_swin_has_channels_last() -> None:
    options = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    config = ClinReadNetConfig(image_size=64, window=2, backbone_options=options, hidden=(8, 8))
    maps = heat_map(ClinReadNet(config).eval(), torch.rand(2, 3, 64, 64))
    assert maps.shape == (2, 2, 2) and maps.min() >= 0 and maps.max() <= 1 + 1e-6


def test_a_network_with_neither_is_named() -> None:
    class Plain(nn.Module):
        def forward(self, images: Tensor) -> Output:
            return Output(score=images.mean(dim=(1, 2, 3)))

    with pytest.raises(ValueError, match="Plain has neither patch scores nor a cam_layer"):
        heat_map(Plain(), torch.zeros(1, 3, 8, 8))


def test_a_broken_network_loses_its_hook() -> None:
    net = Corner()
    with pytest.raises(RuntimeError):
        grad_cam(net, torch.zeros(1, 1, 16, 16), net.conv)
    assert not net.conv._forward_hooks


def test_uncertainty_is_the_entropy_of_the_mean_distribution() -> None:
    sure = torch.tensor([[[99.0, 0, 0], [99.0, 0, 0]]])
    torn = torch.tensor([[[99.0, 0, 0], [0, 99.0, 0]]])
    even = torch.zeros(1, 2, 3)
    values = torch.cat([entropy(distribution(logits)) for logits in (sure, torn, even)])
    torch.testing.assert_close(values, torch.tensor([0.0, 0.6309, 1.0]), atol=1e-4, rtol=0)
