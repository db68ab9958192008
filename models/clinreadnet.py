"""ClinReadNet: Swin with Sobel ordinal networks, attention at several temperatures and four ordinal heads.

Xiao et al., "ClinReadNet: A clinical reading-inspired network for low-dose abdominal CT image quality
assessment". Grades 0 to 20 stand for reader scores 0 to 4. The losses are train.losses.

Deviations (see also models.soqn and models.mtmsa):
- The input size is not given; 512 pixels, as the data set. At 224 the last stage is one window of 7, and
  its shift vanishes.
- 512 pixels give token grids of 128, 64, 32 and 16, which window 7 does not divide. timm 1.0.31 pads them
  to 133, 70, 35 and 21 and does not adapt the window; the mask of its shifted blocks is then misplaced and
  they see across opposite edges of the image (models.mtmsa). `window=8` divides all four.
- "Between stages 1 and 2" (section 4.5) or "stage 1 and stage 2" (3.1): two networks, SOQN1 and SOQN2, one
  after each of the two stages. Each feeds both the next stage and the head.
- The head takes the last stage after Swin's own layer norm, which its ImageNet weights were trained with.
- The paper does not say how the heads' mean becomes a score: `score` is the expected grade of the mean of
  their softmaxes, on the reader's scale; `decode` also gives the most probable grade, as the tables do.
- Tables win over text: the text takes the first three rows of table 6 in the opposite order.
- Rows without HRPS are taken as trained with the heads' weighted cross-entropies alone; the first row of
  table 3 as the same heads on plain Swin.
- Where the paper gives no width (models.soqn, models.mtmsa) ours is a choice; 31.73 M parameters in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.compat import import_timm
from models.mtmsa import Softmax, gate, sharpen
from models.output import Output, distribution
from models.soqn import SOQN, ChannelAttention, Residual, SpatialAttention

timm = import_timm()

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402

GRADES_PER_POINT = 5  #: grades in one point of the readers' scale


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinReadNetConfig:
    """The paper's values are the defaults. Raises ValueError for values that contradict each other."""

    image_size: int = 512  #: pixels a side
    backbone: str = "swin_tiny_patch4_window7_224"  #: a timm Swin transformer of four stages
    backbone_options: Mapping[str, object] = field(default_factory=dict)  #: for timm.create_model
    window: int = 7  #: tokens a side; no larger than the last stage's grid
    heads: int = 4
    grades: int = 21
    soqn: Literal["off", "sobel", "ordinal", "both"] = "both"  #: branches after stages 1 and 2
    residual: Residual = "weighted"  #: of the SOQNs: gamma * F + beta * X, or F + X
    gamma: float = 0.2  #: first value
    beta: float = 0.8  #: first value
    hidden: tuple[int, int] = (256, 128)  #: widths of the ordinal branch's fully connected layers
    reduction: int = 4  #: of channels in the SOQNs' bottlenecks
    groups: int = 4  #: of the ordinal branch's 3x3 convolution
    attention_reduction: int = 16  #: of channels in channel and spatial attention
    dropout: float = 0.1  #: in the ordinal branch
    tau: float = 1.0  #: temperature of the Gumbel-softmax that mixes the branches in training
    attention: Literal["temperature", "channel", "spatial"] = "temperature"  #: in the last stage
    temperatures: tuple[float, ...] = (0.5, 1.0, 2.0)  #: first values; none is Swin's own attention
    progressive: tuple[float, ...] = (0.3, 0.4, 0.3)  #: first weight of each temperature
    softmax: Softmax = "single"  #: where equation 12 takes its softmax

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(choices)}")
        for name in ("image_size", "window", "heads", "reduction", "groups", "attention_reduction", "tau"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)} is not above 0")
        taken = {"img_size", "window_size", "num_classes", "pretrained"} & self.backbone_options.keys()
        if taken:
            raise ValueError(f"backbone_options {sorted(taken)} are set by the other fields")
        if self.grades < 2:
            raise ValueError(f"grades {self.grades}: two or more are expected")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        if any(temperature <= 0 for temperature in self.temperatures):
            raise ValueError(f"temperatures {self.temperatures} are not all above 0")
        if len(self.progressive) != len(self.temperatures):
            raise ValueError(
                f"progressive {self.progressive} has {len(self.progressive)} weights for "
                f"{len(self.temperatures)} temperatures"
            )
        if self.softmax != "single" and (self.attention != "temperature" or not self.temperatures):
            raise ValueError(f"softmax {self.softmax!r} needs attention at temperatures")


_CHOICES = {
    "soqn": ("off", "sobel", "ordinal", "both"),
    "residual": ("plain", "weighted"),
    "attention": ("temperature", "channel", "spatial"),
    "softmax": ("single", "double", "printed"),
}


def encode(scores: Tensor) -> Tensor:
    """Grades of reader scores: float (N,) in [0, 4] -> int64 (N,) in 0..20.

    Source: ClinReadNet, section 4.1.
    """
    return (scores * GRADES_PER_POINT).round().long()


def decode(logits: Tensor, how: Literal["argmax", "continuous"] = "argmax") -> Tensor:
    """Reader scores from logits (N, heads, grades) -> (N,), 0 to (grades - 1) / 5: 4 for 21 grades.

    argmax: the most probable grade of the mean of the heads' softmaxes; continuous: its expected grade.
    Source: ClinReadNet, section 3.1, mean of the heads' predictions.
    """
    if how not in ("argmax", "continuous"):
        raise ValueError(f"how {how!r} is neither argmax nor continuous")
    probabilities = distribution(logits)
    if how == "argmax":
        return probabilities.argmax(dim=1).to(logits.dtype) / GRADES_PER_POINT
    grades = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    # A sum, as autocast would round a matrix product to three digits.
    return (probabilities * grades).sum(dim=1) / GRADES_PER_POINT


class ClinReadNet(nn.Module):
    """Images (N, 3, S, S), float32 in [0, 1] -> Output with a score in [0, 4] and logits (N, heads, grades).

    `score` is the continuous one of `decode`. In training a batch has two images or more. Raises ValueError
    when the token grids do not halve evenly, the window is larger than the last of them, the backbone is no
    Swin of four stages, or images have another size.
    Source: ClinReadNet, section 3.1 and figure 1.
    """

    mean: Tensor
    std: Tensor
    cam_axes = (1, 2)  #: rows and columns in the output of `cam_layer`

    def __init__(self, config: ClinReadNetConfig) -> None:
        super().__init__()
        self.config = config
        for name, values in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        if not timm.models.is_model_in_modules(config.backbone, ["swin_transformer"]):
            raise ValueError(f"backbone {config.backbone!r} is not one of timm's Swin transformers")
        options = {"img_size": config.image_size, "window_size": config.window, "num_classes": 0}
        self.swin = timm.create_model(
            config.backbone, pretrained=False, **options, **config.backbone_options
        )  # fmt: skip
        self._check_sizes()
        last = self.swin.layers[-1]
        if config.attention == "temperature":
            sharpen(last, config.temperatures, config.progressive, config.softmax)
        else:
            kind = ChannelAttention if config.attention == "channel" else SpatialAttention
            gate(last, lambda width: kind(width, config.attention_reduction))
        widths = [stage["num_chs"] for stage in self.swin.feature_info]
        self.soqn = nn.ModuleList(self._soqn(width) for width in widths[:2] if config.soqn != "off")
        self.heads = nn.ModuleList(nn.Linear(sum(widths), config.grades) for _ in range(config.heads))

    def _soqn(self, width: int) -> SOQN:
        config = self.config
        return SOQN(
            width,
            grades=config.grades,
            branches="both" if config.soqn == "off" else config.soqn,
            residual=config.residual,
            gamma=config.gamma,
            beta=config.beta,
            hidden=config.hidden,
            reduction=config.reduction,
            groups=config.groups,
            attention_reduction=config.attention_reduction,
            dropout=config.dropout,
            tau=config.tau,
        )

    def _check_sizes(self) -> None:
        config = self.config
        if len(self.swin.layers) != 4:
            raise ValueError(f"backbone {config.backbone!r} has {len(self.swin.layers)} stages; expected 4")
        stride = self.swin.feature_info[-1]["reduction"]
        if config.image_size % stride:
            raise ValueError(f"image_size {config.image_size} is not a multiple of {stride}")
        side = config.image_size // stride
        if config.window > side:
            raise ValueError(
                f"window {config.window} is larger than the last stage's grid of {side}x{side} tokens at "
                f"{config.image_size} pixels"
            )

    @property
    def cam_layer(self) -> str:
        """Name of the submodule whose output (N, h, w, C), channels last, Grad-CAM weighs.

        Source: ClinReadNet, section 5.1 and figure 10.
        """
        return "swin.norm"

    def features(self, images: Tensor) -> Tensor:
        """Means over the map of the four stages: (N, 3, S, S) in [0, 1] -> (N, sum of widths).

        Source: ClinReadNet, section 3.1, global average pooling.
        """
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side) or not images.is_floating_point():
            raise ValueError(
                f"images have shape {tuple(images.shape)} and are {images.dtype}; expected floating-point "
                f"(N, 3, {side}, {side})"
            )
        x = self.swin.patch_embed((images - self.mean) / self.std)  # (N, h, w, C)
        pooled = []
        for number, stage in enumerate(self.swin.layers):
            x = stage(x)
            if number < len(self.soqn):
                x = self.soqn[number](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            if number == len(self.swin.layers) - 1:
                x = self.swin.norm(x)
            pooled.append(x.mean(dim=(1, 2)))
        return torch.cat(pooled, dim=1)

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        logits = torch.stack([head(features) for head in self.heads], dim=1)
        return Output(score=decode(logits, "continuous"), logits=logits)


class Row(NamedTuple):
    """One row of an ablation table: what to change from the defaults, and the figures printed for it."""

    model: Mapping[str, object]  #: fields of ClinReadNetConfig
    loss: Mapping[str, object]  #: fields of train.losses.LossConfig
    plcc: float
    srocc: float
    krocc: float
    score: float


_FULL = Row({}, {}, 0.9507, 0.9554, 0.8629, 2.7690)
_PLAIN: Mapping[str, object] = {"temperatures": (), "progressive": ()}


def _sharp(temperatures: tuple[float, ...], progressive: tuple[float, ...]) -> Mapping[str, object]:
    return {"temperatures": temperatures, "progressive": progressive}


ABLATIONS: Mapping[str, Mapping[str, Row]] = {
    "3": {
        "Swin-T": Row({"soqn": "off", **_PLAIN}, {"hrps": False}, 0.9414, 0.9452, 0.8373, 2.7239),
        "Swin-T+SOAN": Row(_PLAIN, {"hrps": False}, 0.9440, 0.9507, 0.8471, 2.7419),
        "Swin-T+SOAN+(S)W-MTMSA": Row({}, {"hrps": False}, 0.9491, 0.9539, 0.8582, 2.7611),
        "ClinReadNet (Ours)": _FULL,
    },
    "4": {
        "1# SOQN w/o Sobel branch": Row({"soqn": "ordinal"}, {}, 0.9468, 0.9479, 0.8496, 2.7443),
        "2# SOQN w/o ordinal quality branch": Row({"soqn": "sobel"}, {}, 0.9472, 0.9508, 0.8523, 2.7503),
        "3# ClinReadNet (ours)": _FULL,
    },
    "5": {
        "1# SOQN with common residual connection": Row(
            {"residual": "plain"}, {}, 0.9479, 0.9524, 0.8544, 2.7548
        ),
        "2# SOQN with weighted residual connection, β=0.8 and γ=0.2 (ours)": _FULL,
    },
    "6": {
        "1# (S)W-MTMSA w/o low and medium temperature": Row(
            _sharp((2.0,), (0.3,)), {}, 0.9463, 0.9463, 0.8410, 2.7336
        ),
        "2# (S)W-MTMSA w/o low and high temperature": Row(
            _sharp((1.0,), (0.4,)), {}, 0.9435, 0.9479, 0.8447, 2.7361
        ),
        "3# (S)W-MTMSA w/o medium and high temperature": Row(
            _sharp((0.5,), (0.3,)), {}, 0.9470, 0.9480, 0.8459, 2.7409
        ),
        "4# (S)W-MTMSA w/o high temperature": Row(
            _sharp((0.5, 1.0), (0.3, 0.4)), {}, 0.9458, 0.9492, 0.8488, 2.7438
        ),
        "5# (S)W-MTMSA w/o medium temperature": Row(
            _sharp((0.5, 2.0), (0.3, 0.3)), {}, 0.9460, 0.9493, 0.8478, 2.7431
        ),
        "6# (S)W-MTMSA w/o low temperature": Row(
            _sharp((1.0, 2.0), (0.4, 0.3)), {}, 0.9458, 0.9495, 0.8488, 2.7442
        ),
        "7# (S)W-MTMSA (Ours)": _FULL,
    },
    "7": {
        "Spatial Attention": Row({"attention": "spatial"}, {}, 0.9480, 0.9507, 0.8515, 2.7502),
        "Channel Attention": Row({"attention": "channel"}, {}, 0.9472, 0.9515, 0.8556, 2.7542),
        "(S)W-MTMSA (Ours)": _FULL,
    },
    "8": {
        "1# HRPS w/o Fine RPS": Row({}, {"fine": 0.0}, 0.9484, 0.9528, 0.8552, 2.7564),
        "2# HRPS w/o CrossEntropy": Row({}, {"ce": 0.0}, 0.9482, 0.9528, 0.8555, 2.7566),
        "3# HRPS w/o Entropy Regularizer": Row({}, {"entropy": 0.0}, 0.9481, 0.9531, 0.8567, 2.7578),
        "4# HRPS w/o Coarse RPS": Row({}, {"coarse": 0.0}, 0.9489, 0.9540, 0.8583, 2.7612),
        "5# ClinReadNet (Ours)": _FULL,
    },
}
