"""Statistics of a backbone's stages and one linear layer: what a house can train with few labels.

Not a paper's network. Frozen EfficientNet-Lite0 under a linear layer held its own against every trained
network in the study of the default model, which is why the recipe `house` starts here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.compat import import_timm
from models.output import Output

timm = import_timm()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNetConfig:
    """Raises ValueError for values that contradict each other."""

    backbone: str = "tf_efficientnet_lite0"  #: a timm network that gives the features of its stages
    backbone_options: Mapping[str, object] = field(default_factory=dict)  #: for timm.create_model
    stages: tuple[int, ...] = (0, 1, 2, 3, 4)  #: whose statistics are used, from 0, rising
    dropout: float = 0.0  #: of the statistics
    limit: float = 5.0  #: standardised statistics beyond are cut, so that a strange image cannot run away

    def __post_init__(self) -> None:
        if not self.stages or list(self.stages) != sorted(set(self.stages)) or self.stages[0] < 0:
            raise ValueError(f"stages {self.stages} are not rising numbers from 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        if self.limit <= 0:
            raise ValueError(f"limit {self.limit} is not above 0")


class StageNet(nn.Module):
    """Images (N, 3, H, W), float32 in [0, 1], H and W >= 32 -> Output with a score only, near 0..1.

    `features` and `judge` are its halves, so that the first need be computed once where it is frozen.
    Raises ValueError for images of another shape.
    Source: Tan & Le 2019, EfficientNet-Lite0; mean and deviation of each channel of each stage.
    """

    mean: Tensor
    std: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, config: StageNetConfig) -> None:
        super().__init__()
        self.config = config
        options = {**config.backbone_options, "features_only": True, "out_indices": config.stages}
        self.backbone = timm.create_model(config.backbone, pretrained=False, **options)
        preset = timm.get_pretrained_cfg(config.backbone)
        for name, value in (("mean", preset.mean), ("std", preset.std)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)
        width = 2 * sum(self.backbone.feature_info.channels())
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, 1)
        nn.init.normal_(self.head.weight, std=1e-3)  # scores all alike would give correlation losses no slope
        nn.init.constant_(self.head.bias, 0.5)

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, F): every stage's channel means, then their deviations."""
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 32:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; expected (N, 3, H, W), 32 or more a side"
            )
        found = []
        for stage in self.backbone((images - self.mean) / self.std):
            deviation, mean = torch.std_mean(stage.float(), dim=(2, 3), correction=0)
            found += [mean, deviation]
        return torch.cat(found, dim=1)

    def judge(self, features: Tensor) -> Output:
        """(N, F) -> Output."""
        limit = self.config.limit
        unit = ((features - self.centre) / self.scale).clamp(-limit, limit)
        return Output(score=self.head(self.dropout(unit))[:, 0])

    @torch.no_grad()
    def settle(self, features: Tensor) -> None:
        """Take mean and deviation of the training images' features (N, F) to standardise by."""
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        self.centre.copy_(mean)
        self.scale.copy_(deviation.clamp_min(1e-3 * float(deviation.median()) + 1e-9))

    def forward(self, images: Tensor) -> Output:
        return self.judge(self.features(images))
