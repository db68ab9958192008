"""HyperIQA: a hyper network writes, for each image, the network that scores it (Su et al. 2020).

Deviations:
- One forward on the whole image instead of the mean over 25 random crops of 224 pixels; crops are left to
  whoever prepares the images.
- The paper pools local features patch by patch; like the published code, a mean over the last stage's grid
  follows a 1x1 convolution, which is the same and needs less memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.compat import import_timm
from models.output import Output

timm = import_timm()

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402

_LAST = 32  # reduction of the last stage


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperIqaConfig:
    """The published values are the defaults. Raises ValueError for sizes that do not divide."""

    image_size: int = 224  #: pixels a side
    backbone: str = "resnet50"  #: a timm network with features at 1/4, 1/8, 1/16 and 1/32
    backbone_options: Mapping[str, object] = field(default_factory=dict)  #: for timm.create_model
    local_channels: tuple[int, int, int] = (16, 32, 64)  #: of the first three stages, before pooling
    local_width: int = 16  #: values of each of these stages
    reductions: tuple[int, int] = (1024, 512)  #: channels on the way into the hyper network
    hyper_channels: int = 112
    widths: tuple[int, ...] = (224, 112, 56, 28, 14)  #: of the scoring network, input first

    def __post_init__(self) -> None:
        if self.image_size < _LAST or self.image_size % _LAST:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {_LAST}")
        if len(self.widths) < 2 or self.widths[0] <= 3 * self.local_width:
            raise ValueError(f"widths {self.widths}: two or more, the first above 3 x {self.local_width}")
        for before, after in pairwise(self.widths):
            if before * after % self.grid**2:
                raise ValueError(f"widths {before} x {after} are not a multiple of the grid's {self.grid**2}")

    @property
    def grid(self) -> int:
        """Positions a side of the last stage."""
        return self.image_size // _LAST


class LocalDistortion(nn.Module):
    """Feature maps of four stages -> the vector (N, widths[0]) that the scoring network judges.

    Source: Su et al. 2020, section 3, semantic feature extraction, local distortion aware module.
    """

    def __init__(self, channels: list[int], config: HyperIqaConfig) -> None:
        super().__init__()
        self.grid = config.grid
        sides = (8, 4, 2)  # of the pooled maps: stage i has 8, 4 and 2 times the last grid
        self.narrow = nn.ModuleList(
            nn.Conv2d(wide, few, 1, bias=False)
            for wide, few in zip(channels, config.local_channels, strict=False)
        )
        self.local = nn.ModuleList(
            nn.Linear(few * side**2, config.local_width)
            for few, side in zip(config.local_channels, sides, strict=True)
        )
        self.last = nn.Linear(channels[-1], config.widths[0] - 3 * config.local_width)

    def forward(self, stages: list[Tensor]) -> Tensor:
        found = [
            local(functional.avg_pool2d(narrow(stage), self.grid).flatten(1))
            for stage, narrow, local in zip(stages, self.narrow, self.local, strict=False)
        ]
        return torch.cat([*found, self.last(stages[-1].mean(dim=(2, 3)))], dim=1)


class HyperLayer(nn.Module):
    """Writes a dense layer for each image: (N, C, grid, grid) -> (N, after, before) and (N, after).

    Source: Su et al. 2020, section 3, hyper network.
    """

    def __init__(self, channels: int, before: int, after: int, grid: int) -> None:
        super().__init__()
        self.shape = (after, before)
        self.weight = nn.Conv2d(channels, before * after // grid**2, 3, padding=1)
        self.bias = nn.Linear(channels, after)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight(x).flatten(1).unflatten(1, self.shape), self.bias(x.mean(dim=(2, 3)))


class HyperIqa(nn.Module):
    """Images (N, 3, S, S), float32 in [0, 1] -> Output with a score.

    Raises ValueError for images of another size or a backbone without stages at 1/4 to 1/32.
    Source: Su et al. 2020, section 3, self-adaptive IQA model, figure 2.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: HyperIqaConfig) -> None:
        super().__init__()
        self.config = config
        mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.backbone = timm.create_model(
            config.backbone, pretrained=False, features_only=True, **config.backbone_options
        )
        reductions = list(self.backbone.feature_info.reduction())
        if reductions[-4:] != [4, 8, 16, _LAST]:
            raise ValueError(f"{config.backbone} has features at 1/{reductions}; expected 4, 8, 16, {_LAST}")
        channels = list(self.backbone.feature_info.channels())[-4:]
        self.local = LocalDistortion(channels, config)
        steps = (channels[-1], *config.reductions, config.hyper_channels)
        self.reduce = nn.Sequential(
            *(
                layer
                for before, after in pairwise(steps)
                for layer in (nn.Conv2d(before, after, 1), nn.ReLU())
            )
        )
        self.layers = nn.ModuleList(
            HyperLayer(config.hyper_channels, before, after, config.grid)
            for before, after in pairwise(config.widths)
        )
        self.last_weight = nn.Linear(config.hyper_channels, config.widths[-1])
        self.last_bias = nn.Linear(config.hyper_channels, 1)
        for module in (self.local, self.layers, self.last_weight, self.last_bias):
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(layer.weight)

    def forward(self, images: Tensor) -> Output:
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, {side}, {side})")
        stages = self.backbone((images - self.mean) / self.std)[-4:]
        x = self.local(stages)  # (N, widths[0])
        content = self.reduce(stages[-1])  # (N, hyper_channels, grid, grid)
        for layer in self.layers:
            weight, bias = layer(content)
            x = torch.sigmoid((weight @ x[:, :, None])[:, :, 0] + bias)
        pooled = content.mean(dim=(2, 3))
        return Output(score=(self.last_weight(pooled) * x).sum(dim=1) + self.last_bias(pooled)[:, 0])
