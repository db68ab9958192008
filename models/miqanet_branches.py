"""MIQANet's parts: its CNN and Swin branches, the adaptive parameter and the patch-wise decoder.

Deviations (the paper gives no sizes; all of these are choices):
- A CNN's last map at a stride of 16: ResNet without its max-pool, as in the authors' repository, and VGG19
  without its last one.
- SimpleCNN is the one convolution, the pooling and the two dense layers of Kang et al. 2014, taken densely:
  32 x 32 patches every 8 pixels, the dense layers as 1x1 convolutions, one dropout rate for the whole net.
- The Swin branch joins all four stages without Swin's last layer norm.
- The two decoding pathways do the same arithmetic: 1x1 convolutions on maps or linear layers on tokens. The
  paper picks one by the encoder; here `decoder` does, for whichever encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.compat import import_timm
from models.output import Output
from models.rows.patches import gray, locally_normalised

timm = import_timm()

SWINS = {"tiny": "swin_tiny_patch4_window7_224", "large": "swin_large_patch4_window7_224"}


class CnnMap(nn.Module):
    """Normalised images (N, 3, S, S) -> the CNN's last map (N, channels, S / 16, S / 16).

    name: a ResNet or VGG of timm; options: for timm.create_model.
    Source: MIQANet, section IV-A, CNN-based branch.
    """

    stride = 16

    def __init__(self, name: str, options: Mapping[str, object]) -> None:
        super().__init__()
        self.net = timm.create_model(name, pretrained=False, num_classes=0, **options)
        self.channels: int = self.net.num_features
        if name.startswith("vgg"):
            self.net.features[-1] = nn.Identity()
            self.net.pre_logits, self.net.head = nn.Identity(), nn.Identity()
        else:
            self.net.maxpool = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.net.forward_features(images)  # type: ignore[no-any-return]


class SimpleCnnMap(nn.Module):
    """SimpleCNN's last hidden layer at every 8 pixels: (N, 3, S, S) -> (N, 800, S / 8, S / 8).

    Source: MIQANet, section III-A, SimpleCNN (Kang et al. 2014, section 3).
    """

    stride = 8
    channels = 800

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 50, 7, padding=3)
        self.dense = nn.Sequential(
            nn.Conv2d(100, 800, 1),
            nn.ReLU(),
            nn.Conv2d(800, self.channels, 1),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(locally_normalised(gray(images), radius=3, constant=1 / 255))
        # 26 places a side is what a 7x7 filter has in 32 pixels; 9 centres them on the cell of 8.
        high, low = (functional.max_pool2d(sign * maps, 26, stride=8, padding=9) for sign in (1, -1))
        return self.dense(torch.cat([high, -low], dim=1))  # type: ignore[no-any-return]


def cnn_map(name: str, options: Mapping[str, object], dropout: float) -> CnnMap | SimpleCnnMap:
    """The CNN of that name; options and dropout reach the one that takes them."""
    return SimpleCnnMap(dropout) if name == "simple" else CnnMap(name, options)


class CnnBranch(nn.Module):
    """A CNN's map in the fusion's width and grid: (N, 3, S, S) -> (N, width, grid, grid).

    Source: MIQANet, section IV-A, CNN-based branch; figure 4.
    """

    def __init__(self, cnn: CnnMap | SimpleCnnMap, width: int, grid: int) -> None:
        super().__init__()
        self.cnn = cnn
        self.project = nn.Conv2d(cnn.channels, width, 1)
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        return resized(self.project(self.cnn(images)), self.grid)


class SwinBranch(nn.Module):
    """All stages of a Swin Transformer at one grid: (N, 3, S, S) -> (N, width, grid, grid).

    Source: MIQANet, section IV-B, Transformer-based branch, equations 3-5.
    """

    def __init__(
        self, name: str, image_size: int, options: Mapping[str, object], width: int, grid: int
    ) -> None:
        super().__init__()
        self.net = timm.create_model(name, pretrained=False, img_size=image_size, **options)
        self.stages = [*range(len(self.net.layers))]
        self.net.prune_intermediate_layers(self.stages, prune_norm=True, prune_head=True)
        self.project = nn.Conv2d(sum(stage["num_chs"] for stage in self.net.feature_info), width, 1)
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        found = self.net.forward_intermediates(images, indices=self.stages, intermediates_only=True)
        joined = torch.cat([resized(stage, self.grid) for stage in found], dim=1)
        return self.project(joined)  # type: ignore[no-any-return]


def resized(maps: Tensor, grid: int) -> Tensor:
    """Bilinearly to (N, C, grid, grid)."""
    return functional.interpolate(maps, size=(grid, grid), mode="bilinear", align_corners=False)


class AdaptiveParameter(nn.Module):
    """The Transformer branch's share of two maps (N, width, h, w) -> in (0, 1), (N or 1, 1, 1, 1).

    kind: "off" is a half, "scalar" one learnt number, "gated" a linear layer on the maps' means, which starts
    as the scalar does. start: the share before training, in (0, 1).
    Source: MIQANet, section IV-C, adaptive parameter (AP).
    """

    def __init__(self, kind: str, width: int, start: float) -> None:
        super().__init__()
        logit = math.log(start / (1 - start))
        self.logit = nn.Parameter(torch.full((1,), logit)) if kind == "scalar" else None
        self.gate = nn.Linear(2 * width, 1) if kind == "gated" else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, logit)

    def forward(self, context: Tensor, local: Tensor) -> Tensor:
        if self.gate is not None:
            means = torch.cat([context.mean(dim=(2, 3)), local.mean(dim=(2, 3))], dim=1)  # (N, 2 * width)
            return self.gate(means).sigmoid()[:, :, None, None]  # type: ignore[no-any-return]
        if self.logit is not None:
            return self.logit.sigmoid().view(1, 1, 1, 1)
        return context.new_full((1, 1, 1, 1), 0.5)


class PatchDecoder(nn.Module):
    """A score and a weight for each patch, and their weighted mean; (N, C, h, w) -> Output.

    pathway: "cnn" (1x1 convolutions) or "transformer" (linear layers); both have one hidden layer of `width`.
    Source: MIQANet, section IV-D, patch-wise prediction, equation 6; figure 5.
    """

    def __init__(
        self, channels: int, width: int, pathway: str, dropout: float, score_activation: str
    ) -> None:  # fmt: skip
        super().__init__()
        self.pathway = pathway
        last = nn.ReLU() if score_activation == "relu" else nn.Softplus()
        self.score = self._branch(channels, width, dropout, last)
        self.weight = self._branch(channels, width, dropout, nn.Sigmoid())

    def _branch(self, channels: int, width: int, dropout: float, last: nn.Module) -> nn.Sequential:
        def layer(wide: int, out: int) -> nn.Module:
            return nn.Conv2d(wide, out, 1) if self.pathway == "cnn" else nn.Linear(wide, out)

        return nn.Sequential(layer(channels, width), nn.ReLU(), nn.Dropout(dropout), layer(width, 1), last)

    def forward(self, x: Tensor) -> Output:
        channel = 1
        if self.pathway == "transformer":
            x, channel = x.permute(0, 2, 3, 1), 3  # (N, h, w, C)
        scores, weights = self.score(x).squeeze(channel), self.weight(x).squeeze(channel)
        pooled = (scores * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2)).clamp_min(1e-12)
        return Output(score=pooled, patch_scores=scores, patch_weights=weights)
