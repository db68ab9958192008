"""Where in the image a network sees its score: its own patch scores, and Grad-CAM where it has none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.output import Output


def heat_map(network: nn.Module, images: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] -> (N, h, w): patch scores on the score's scale, or Grad-CAM in [0, 1].

    High is good in the first case and "speaks for the score" in the second. Raises ValueError for a network
    that has neither patch scores nor a `cam_layer`.
    """
    with torch.inference_mode():
        found: Output = network(images)
    if found.patch_scores is not None:
        return found.patch_scores.flatten(0, -3)
    name = getattr(network, "cam_layer", None)
    if not isinstance(name, str):
        raise ValueError(f"{type(network).__name__} has neither patch scores nor a cam_layer")
    return grad_cam(network, images, network.get_submodule(name), getattr(network, "cam_axes", (2, 3)))


def grad_cam(network: nn.Module, images: Tensor, layer: nn.Module, axes: tuple[int, int] = (2, 3)) -> Tensor:
    """The layer's channels weighted by the score's mean gradient, cut at 0 and scaled to a maximum of 1.

    images: (N, 3, H, W). layer: gives (N, C, h, w), or (N, h, w, C) with axes (1, 2) -> (N, h, w). Leaves
    the network as it was.
    Source: Selvaraju et al. 2017, Grad-CAM, equations 1 and 2.
    """
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda *call: kept.append(call[2]))
    try:
        with torch.enable_grad():
            score = network(images.clone().requires_grad_(True)).score.sum()
            (gradient,) = torch.autograd.grad(score, kept[0])
    finally:
        handle.remove()
    with torch.no_grad():
        channels = ({1, 2, 3} - {*axes}).pop()
        weighted = (gradient.mean(dim=axes, keepdim=True) * kept[0]).sum(dim=channels).relu()
        return weighted / weighted.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
