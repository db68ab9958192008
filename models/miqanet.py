"""MIQANet: a CNN for local detail beside a Transformer for global context (Ma et al. 2026).

The paper's network and the one in its authors' repository differ; `variant` picks one. The parts and their
choices are in models.miqanet_branches.

Deviations:
- Paper's network: no width is given. Both branches have MANIQA's second width, 384, on a grid of one
  patch for 8 pixels, 28 x 28, and the decoder's hidden layers have it too.
- Paper's network: the offsets come from one 3x3 convolution that starts at zero, so that training starts
  from a plain convolution; the deformable convolution is 3x3, on the projected CNN map.
- Paper's network: both branches are weighed by the adaptive parameter, then concatenated, as in the
  diagram; the text only says that it balances them. It starts at 0.8, as in the repository; without it
  the share is a half.
- Paper's network: with one branch there is nothing to align or to weigh, so neither deformable
  convolution nor adaptive parameter.
- Paper's network: mean and deviation of ImageNet, where its first weights come from.
- Paper's network: 51.53 M parameters; the printed 137.65 M are far above any ResNet34 and Swin-T
  together.
- Repository's network: the CNN's 14 x 14 map is tiled to 28 x 28 by concatenation, which puts a patch's
  context beside another patch's local features; kept as published.
- Repository's network: the ViT is cut after its last used block, as in models.maniqa; 147.12 M parameters
  whole (157.23 M with ResNet34), 132.18 M cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.compat import import_timm
from models.deform import DeformConv2d
from models.maniqa import Maniqa, ManiqaConfig
from models.miqanet_branches import (
    SWINS,
    AdaptiveParameter,
    CnnBranch,
    PatchDecoder,
    SwinBranch,
    cnn_map,
)
from models.output import Output

timm = import_timm()

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402

PATCH = 8  #: pixels a side of the paper's network's patches

_CHOICES = {
    "variant": ("paper", "repository"),
    "cnn": ("none", "simple", "vgg19", "resnet18", "resnet34", "resnet152"),
    "swin": ("off", "tiny", "large"),
    "ap": ("off", "scalar", "gated"),
    "decoder": ("cnn", "transformer"),
}


def _scaled_maniqa() -> ManiqaConfig:
    return ManiqaConfig(scale=0.13)


@dataclass(frozen=True, slots=True, kw_only=True)
class MiqanetConfig:
    """The paper's network is the default. Raises ValueError for values that contradict each other."""

    variant: Literal["paper", "repository"] = "paper"
    #: the repository's base; image size, second width, dropout and score activation serve the paper's too
    maniqa: ManiqaConfig = field(default_factory=_scaled_maniqa)
    cnn: Literal["none", "simple", "vgg19", "resnet18", "resnet34", "resnet152"] = "resnet34"
    swin: Literal["off", "tiny", "large"] = "tiny"  #: "off" in the repository's, whose Transformer is MANIQA
    #: for timm.create_model, by what they are for: a value of `cnn` or of `swin`
    backbone_options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    ap: Literal["off", "scalar", "gated"] = "scalar"  #: adaptive parameter; off is a half for each branch
    alpha: float = 0.8  #: the Transformer branch's share before training
    deform: bool = True  #: move the CNN's taps to where the Swin map says
    decoder: Literal["cnn", "transformer"] = "transformer"  #: 1x1 convolutions or linear layers

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha {self.alpha} is not between 0 and 1")
        if unknown := self.backbone_options.keys() - {*_CHOICES["cnn"][2:], *SWINS}:
            raise ValueError(f"backbone_options for {sorted(unknown)}: no such backbone takes options")
        if self.variant == "repository":
            for name, wanted in (("swin", "off"), ("deform", False), ("decoder", "transformer")):
                if getattr(self, name) != wanted:
                    raise ValueError(
                        f"{name} {getattr(self, name)!r} is not the repository's; expected {wanted!r}"
                    )
        elif self.cnn == "none" and self.swin == "off":
            raise ValueError("cnn 'none' and swin 'off' leave no branch; expected one or both")
        single = self.cnn == "none" or (self.variant == "paper" and self.swin == "off")
        if single and (self.ap != "off" or self.deform):
            raise ValueError(
                f"ap {self.ap!r} and deform {self.deform} need two branches; expected 'off' and False with "
                f"cnn {self.cnn!r} and swin {self.swin!r}"
            )


class PaperMiqanet(nn.Module):
    """The network that the paper describes; images (N, 3, S, S) -> Output with maps (N, S / 8, S / 8).

    Source: MIQANet, section IV and figure 4.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: MiqanetConfig) -> None:
        super().__init__()
        self.side = config.maniqa.image_size
        for name, values in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        if self.side % PATCH:
            raise ValueError(f"image_size {self.side} is not a multiple of {PATCH}")
        width, grid, dropout = config.maniqa.widths[1], self.side // PATCH, config.maniqa.dropout
        self.cnn: CnnBranch | None = None
        if config.cnn != "none":
            options = config.backbone_options.get(config.cnn, {})
            self.cnn = CnnBranch(cnn_map(config.cnn, options, dropout), width, grid)
        self.swin: SwinBranch | None = None
        if config.swin != "off":
            options = config.backbone_options.get(config.swin, {})
            self.swin = SwinBranch(SWINS[config.swin], self.side, options, width, grid)
        both = self.cnn is not None and self.swin is not None
        self.adaptive = AdaptiveParameter(config.ap, width, config.alpha) if both else None
        self.offsets, self.deform = None, None
        if config.deform:
            self.offsets = nn.Conv2d(width, 2 * 3 * 3, 3, padding=1)
            nn.init.zeros_(self.offsets.weight)
            nn.init.zeros_(self.offsets.bias)  # type: ignore[arg-type]
            self.deform = DeformConv2d(width, width, 3, padding=1)
        self.decoder = PatchDecoder(
            2 * width if both else width, width, config.decoder, dropout, config.maniqa.score_activation
        )

    def forward(self, images: Tensor) -> Output:
        if images.ndim != 4 or images.shape[1:] != (3, self.side, self.side):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; expected (N, 3, {self.side}, {self.side})"
            )
        x = (images - self.mean) / self.std
        local = None if self.cnn is None else self.cnn(x)
        context = None if self.swin is None else self.swin(x)
        return self.decoder(self.fused(context, local))  # type: ignore[no-any-return]

    def fused(self, context: Tensor | None, local: Tensor | None) -> Tensor:
        """Maps of the branches there are (N, width, h, w) -> (N, width or 2 * width, h, w).

        Source: MIQANet, section IV-C, feature fusion.
        """
        if context is None or local is None or self.adaptive is None:
            found = local if context is None else context
            assert found is not None
            return found
        if self.offsets is not None and self.deform is not None:
            local = self.deform(local, self.offsets(context))
        share = self.adaptive(context, local)
        return torch.cat([share * context, (1 - share) * local], dim=1)


class RepositoryMiqanet(nn.Module):
    """The network of the authors' repository; images (N, 3, S, S) -> Output with maps of MANIQA's grid.

    Source: MIQANet, published code: MANIQA with a ResNet mixed in before its second stage.
    """

    def __init__(self, config: MiqanetConfig) -> None:
        super().__init__()
        self.maniqa = Maniqa(config.maniqa)
        self.cnn, self.project, self.adaptive = None, None, None
        if config.cnn == "none":
            return
        side, width = config.maniqa.image_size, config.maniqa.widths[1]
        options = config.backbone_options.get(config.cnn, {})
        self.cnn = cnn_map(config.cnn, options, config.maniqa.dropout)
        self.tiles, rest = divmod(self.maniqa.grid * self.cnn.stride, side)
        if rest or not self.tiles or side % self.cnn.stride:
            raise ValueError(
                f"cnn {config.cnn!r} gives {side / self.cnn.stride:g} patches a side; they cannot be tiled "
                f"to the {self.maniqa.grid} of {config.maniqa.backbone}"
            )
        self.project = nn.Sequential(
            nn.Conv2d(self.cnn.channels, width, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.adaptive = AdaptiveParameter(config.ap, width, config.alpha)

    def forward(self, images: Tensor) -> Output:
        base = self.maniqa
        x = base.narrow(base.first_stage(base.tokens(images)))
        if self.cnn is not None and self.project is not None and self.adaptive is not None:
            local = self.project(self.cnn((images - base.mean) / base.std))
            local = local.repeat(1, 1, self.tiles, self.tiles)
            share = self.adaptive(x, local)
            x = share * x + (1 - share) * local
        return base.second_stage(x)


class Miqanet(nn.Module):
    """Images (N, 3, S, S), float32 in [0, 1] -> Output with patch maps (N, 28, 28) for S = 224; score >= 0.

    Raises ValueError for backbones whose maps do not fit together and for images of another size.
    Source: MIQANet, figure 4, or the authors' repository.
    """

    def __init__(self, config: MiqanetConfig) -> None:
        super().__init__()
        self.config = config
        kind = PaperMiqanet if config.variant == "paper" else RepositoryMiqanet
        self.network: nn.Module = kind(config)

    def forward(self, images: Tensor) -> Output:
        return self.network(images)  # type: ignore[no-any-return]


VARIANTS: Mapping[str, MiqanetConfig] = {
    "paper": MiqanetConfig(),
    "repository": MiqanetConfig(variant="repository", cnn="resnet18", swin="off", deform=False),
}
"""Name -> configuration."""


class Row(NamedTuple):
    """One row of the paper's tables: changes to `MiqanetConfig()`, and the figures printed for it."""

    model: Mapping[str, object]  #: fields of MiqanetConfig
    init: Literal["scratch", "imagenet"] = "imagenet"  #: of the backbones, for train.initial_weights
    plcc: float | None = None
    srocc: float | None = None
    minutes: float | None = None  #: an epoch on the authors' machine
    parameters: float | None = None  #: millions; no count of ours is meant to meet it


def _one(cnn: str = "none", swin: str = "off") -> Mapping[str, object]:
    decoder = "transformer" if cnn == "none" else "cnn"
    return {"cnn": cnn, "swin": swin, "ap": "off", "deform": False, "decoder": decoder}


_MANIQA = {**_one(), "variant": "repository"}

ABLATIONS: Mapping[str, Mapping[str, Row]] = {
    "IV": {
        # No ImageNet weights of SimpleCNN exist.
        "simpleCNN": Row(_one(cnn="simple"), "scratch", 0.5979, 0.5494),
        "VGG19": Row(_one(cnn="vgg19"), plcc=0.6909, srocc=0.6820),
        "ResNet34": Row(_one(cnn="resnet34"), plcc=0.7048, srocc=0.7549),
        "Swin-T": Row(_one(swin="tiny"), plcc=0.9014, srocc=0.8885),
        "simpleCNN + Swin-T": Row({"cnn": "simple", "ap": "off"}, plcc=0.8794, srocc=0.8964),
        "VGG19 + Swin-T": Row({"cnn": "vgg19", "ap": "off"}, plcc=0.9056, srocc=0.9178),
        "ResNet34 + Swin-T": Row({"ap": "off"}, plcc=0.9166, srocc=0.9178),
        "simpleCNN + Swin-T + AP": Row({"cnn": "simple"}, plcc=0.9208, srocc=0.9294),
        "VGG19 + Swin-T + AP": Row({"cnn": "vgg19"}, plcc=0.9233, srocc=0.9206),
        "ResNet34 + Swin-T + AP": Row({}, plcc=0.9320, srocc=0.9289),
    },
    "V": {
        "MANIQA": Row(_MANIQA, minutes=34, parameters=135.62),
        "MIQANet (ours)": Row({}, minutes=35, parameters=137.65),
    },
    "VI": {
        "CNN-only (ResNet152)": Row(_one(cnn="resnet152"), plcc=0.7332, minutes=26, parameters=137.28),
        "Transformer-only (Swin-L)": Row(_one(swin="large"), plcc=0.9188, minutes=38, parameters=137.51),
        "MIQANet (ours)": Row({}, plcc=0.9320, minutes=35, parameters=137.65),
    },
}
"""Table -> row as printed (table IV prints ticks; its rows are named after them) -> switches and figures."""
