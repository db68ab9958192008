"""Reads the prompt's modality, region and type off the pixels, for series whose tags do not say.

Deviations:
- "A 12-layer, 12-head ViT with a size of 3072": ViT-B, 3072 being the width of its MLP.
- The authors' three classifiers of 256 pixels are three networks of one class here, at 224.
- `vote` gives a word only when its mean probability over the slices reaches a limit; the paper
  always takes the likeliest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.compat import import_timm
from models.prompt import UNKNOWN, PromptVocabulary

timm = import_timm()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptClassifierConfig:
    """One part of the prompt. Raises ValueError for a part that pixels cannot tell."""

    part: str  #: "modality", "region" or "type"
    vocabulary: PromptVocabulary = field(default_factory=PromptVocabulary)
    image_size: int = 224  #: pixels a side
    backbone: str = "vit_base_patch16_224"  #: a timm vision transformer
    backbone_options: Mapping[str, object] = field(default_factory=dict)  #: for timm.create_model

    def __post_init__(self) -> None:
        if self.part not in ("modality", "region", "type"):
            raise ValueError(f"part {self.part!r} is not one of modality, region, type")


class PromptClassifier(nn.Module):
    """Images (N, 3, side, side) in [0, 1] -> logits (N, words of the part).

    Source: MedIQA, section 2.2, prompts from a pre-trained ViT.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: PromptClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.words = config.vocabulary.words(config.part)
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5), persistent=False)
        self.register_buffer("std", torch.full((3, 1, 1), 0.5), persistent=False)
        options = {"img_size": config.image_size, **config.backbone_options}
        self.vit = timm.create_model(
            config.backbone, pretrained=False, num_classes=len(self.words), **options
        )

    def forward(self, images: Tensor) -> Tensor:
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, {side}, {side})")
        return self.vit((images - self.mean) / self.std)  # type: ignore[no-any-return]


@torch.inference_mode()
def vote(logits: Tensor, words: tuple[str, ...], *, limit: float = 0.8) -> tuple[str, float]:
    """The word of a series and its probability, from its slices' logits (S, words).

    "unknown" when the mean probability stays below `limit` (0 to 1).
    """
    probability, index = logits.softmax(dim=1).mean(dim=0).max(dim=0)
    sure = float(probability)
    return (words[int(index)] if sure >= limit else UNKNOWN), sure
