"""Any timm backbone with a linear head, as the papers' general rows: a score, or ordinal logits.

Simonyan & Zisserman 2015 (VGG), He et al. 2016 (ResNet), Liu et al. 2021 (Swin), Dosovitskiy et al. 2021
(ViT), Bao et al. 2022 (BEiT), Liu et al. 2022 (ConvNeXt), Sandler et al. 2018 (MobileNetV2), Tan & Le 2021
(EfficientNetV2).

Deviations:
- The papers say neither head nor loss of these rows: one linear layer in the place of timm's classifier, its
  value taken as it is (regression), or heads x grades logits of which the score is the expected grade.
- Swin-L has 195 M parameters and ResNet152 58 M, not the 137 M that MIQANet's table VI prints for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.compat import import_timm
from models.output import Output, distribution

timm = import_timm()

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class TimmNetConfig:
    """Regression with one output unless `grades` is set. Raises ValueError for contradicting values."""

    backbone: str  #: name of a timm model that ends in a classifier
    backbone_options: Mapping[str, object] = field(default_factory=dict)  #: for timm.create_model
    image_size: int | None = 224  #: pixels a side; None takes any size, where the backbone does
    grades: int = 0  #: ordinal grades, each head's logits; 0 for regression
    heads: int = 1  #: heads of `grades` logits each
    grade_step: float = 0.2  #: score between two neighbouring grades, the lowest being 0
    normalisation: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    """Mean and standard deviation of the channels; None for those of the backbone's own weights."""

    def __post_init__(self) -> None:
        taken = sorted({"pretrained", "num_classes", "in_chans"} & set(self.backbone_options))
        if taken:
            raise ValueError(f"backbone_options {taken} are set by TimmNet; leave them out")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size {self.image_size} is not positive")
        if self.grades == 1 or self.grades < 0:
            raise ValueError(f"grades {self.grades} is neither 0 (regression) nor at least 2")
        if self.heads < 1 or (self.heads > 1 and not self.grades):
            raise ValueError(f"heads {self.heads} with grades {self.grades}; several heads need grades")
        if self.grade_step <= 0:
            raise ValueError(f"grade_step {self.grade_step} is not positive")


class TimmNet(nn.Module):
    """Images (N, 3, H, W), float32 in [0, 1] -> Output; with grades also logits (N, heads, grades).

    Raises ValueError for images of another size or a backbone that needs `image_size` and has none.
    Source: MIQANet, tables II and VI; ClinReadNet, table 2; MedIQA, table 1: the general rows.
    """

    mean: Tensor
    std: Tensor
    values: Tensor

    def __init__(self, config: TimmNetConfig) -> None:
        super().__init__()
        self.config = config
        preset = timm.get_pretrained_cfg(config.backbone)
        options = dict(config.backbone_options)
        if preset is not None and preset.fixed_input_size:
            if config.image_size is None:
                raise ValueError(f"{config.backbone} works at one size only; set image_size")
            options.setdefault("img_size", config.image_size)
        outputs = config.heads * config.grades if config.grades else 1
        self.net = timm.create_model(config.backbone, pretrained=False, num_classes=outputs, **options)
        own = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD) if preset is None else (preset.mean, preset.std)
        for name, value in zip(("mean", "std"), config.normalisation or own, strict=True):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)
        values = torch.arange(max(config.grades, 1)) * config.grade_step
        self.register_buffer("values", values, persistent=False)

    def forward(self, images: Tensor) -> Output:
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1] != 3 or (side and images.shape[2:] != (side, side)):
            wanted = "(N, 3, H, W)" if side is None else f"(N, 3, {side}, {side})"
            raise ValueError(f"images have shape {tuple(images.shape)}; expected {wanted}")
        raw = self.net((images - self.mean) / self.std)
        if not self.config.grades:
            return Output(score=raw[:, 0])
        logits = raw.unflatten(1, (self.config.heads, self.config.grades))  # (N, heads, grades)
        # A sum, as autocast would round a matrix product to three digits.
        return Output(score=(distribution(logits) * self.values).sum(dim=1), logits=logits)


PRESETS: Mapping[str, TimmNetConfig] = {
    name: TimmNetConfig(backbone=backbone)
    for name, backbone in {
        "vgg16": "vgg16",
        "vgg19": "vgg19",
        "resnet18": "resnet18",
        "resnet34": "resnet34",
        "resnet50": "resnet50",
        "resnet152": "resnet152",
        "swin_t": "swin_tiny_patch4_window7_224",
        "swin_l": "swin_large_patch4_window7_224",
        "vit_b": "vit_base_patch16_224",
        "beit_b": "beit_base_patch16_224",
        "convnext_t": "convnext_tiny",
        "mobilenet_v2": "mobilenetv2_100",
        "efficientnetv2_s": "tf_efficientnetv2_s",
        "efficientnetv2_t": "efficientnetv2_rw_t",
    }.items()
}
"""Row -> its configuration as a regressor at 224 pixels; `dataclasses.replace` changes size or grades."""
