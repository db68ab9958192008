"""DB-CNN: a network for synthetic distortions and one for content, joined bilinearly (Zhang et al. 2020).

Deviations:
- The distortion network (S-CNN) is pre-trained in the paper to name 39 distortions and levels of photographs;
  those images cannot be shipped. It starts from random weights here, or from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.compat import import_timm
from models.output import Output

timm = import_timm()

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class DbCnnConfig:
    """The paper's values are the defaults. Raises ValueError when widths and strides differ in number."""

    widths: tuple[int, ...] = (48, 48, 64, 64, 64, 64, 128, 128, 128)  #: of S-CNN's 3x3 convolutions
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 1, 2)
    backbone: str = "vgg16"  #: a timm network with features at S-CNN's reduction, for the content
    backbone_options: Mapping[str, object] = field(default_factory=dict)  #: for timm.create_model

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.strides) or not self.widths:
            raise ValueError(f"{len(self.widths)} widths with {len(self.strides)} strides; expected one each")
        if any(stride < 1 for stride in self.strides):
            raise ValueError(f"strides {self.strides} are not all positive")

    @property
    def reduction(self) -> int:
        """Pixels a side for one position of the joined maps."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product


class SyntheticCnn(nn.Sequential):
    """Features of synthetic distortions: (N, 3, H, W) -> (N, 128, H / 16, W / 16).

    Source: Zhang et al. 2020, section III.A, S-CNN for synthetic distortions.
    """

    def __init__(self, config: DbCnnConfig) -> None:
        layers: list[nn.Module] = []
        for before, after, stride in zip((3, *config.widths), config.widths, config.strides, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers)


class DbCnn(nn.Module):
    """Images (N, 3, H, W), float32 in [0, 1], any size from one position -> Output with a score.

    Raises ValueError for images of another shape, or when the backbone has no features at S-CNN's reduction.
    Source: Zhang et al. 2020, section III.C, DB-CNN by bilinear pooling.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DbCnnConfig) -> None:
        super().__init__()
        self.config = config
        mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        reductions = _reductions(config)
        if config.reduction not in reductions:
            raise ValueError(
                f"{config.backbone} has features at 1/{reductions}; S-CNN reduces to 1/{config.reduction}"
            )
        self.distortion = SyntheticCnn(config)
        options = {**config.backbone_options, "out_indices": (reductions.index(config.reduction),)}
        self.content = timm.create_model(config.backbone, pretrained=False, features_only=True, **options)
        self.head = nn.Linear(self.content.feature_info.channels()[0] * config.widths[-1], 1)

    def forward(self, images: Tensor) -> Output:
        least = self.config.reduction
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < least:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; expected (N, 3, H, W), H and W at least {least}"
            )
        x = (images - self.mean) / self.std
        content, distortion = self.content(x)[0], self.distortion(x)
        if content.shape[2:] != distortion.shape[2:]:  # sizes that the strides do not divide
            distortion = functional.interpolate(distortion, content.shape[2:], mode="bilinear")
        return Output(score=self.head(bilinear(content, distortion))[:, 0])


def bilinear(first: Tensor, second: Tensor) -> Tensor:
    """Mean outer product of two maps, signed root, unit length: (N, A, h, w), (N, B, h, w) -> (N, A * B).

    Source: Zhang et al. 2020, section III.C, DB-CNN by bilinear pooling.
    """
    a, b = first.flatten(2), second.flatten(2)
    product = (a @ b.transpose(1, 2) / a.shape[2]).flatten(1)
    rooted = product.sign() * (product.abs() + 1e-8).sqrt()
    return functional.normalize(rooted, dim=1)


def _reductions(config: DbCnnConfig) -> list[int]:
    with torch.device("meta"):
        whole = timm.create_model(
            config.backbone, pretrained=False, features_only=True, **config.backbone_options
        )
    return list(whole.feature_info.reduction())
