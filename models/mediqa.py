"""MedIQA: MANIQA told by a prompt what it looks at, over the salient slices of a series.

Deviations:
- The paper's slice weights come "from a linear layer" whose input it does not name: here it reads each
  slice's mean feature, a softmax makes the weights, and it starts at zero, which is the mean over slices.
- `pooling="mean"` is the authors' code: a plain mean.
- The physical parameter of the first training stage has a patch head of its own beside the quality's, so
  that fine-tuning can keep or drop it.
- Table 2's switches: prompts are off with `prompt_parts=()`, and for one part by leaving it out (they hurt
  FLAIR); without salient slices a series is its middle slice, or `train.slices.legacy_slices`; pretraining is
  where fine-tuning starts. "Ours-s" is all of them off, "Ours-e" all on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from models.maniqa import Maniqa, ManiqaConfig, PatchHead
from models.output import Output
from models.prompt import PARTS, PromptVocabulary

QUALITY = "quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediqaConfig:
    """The paper's model is the default. Raises ValueError for values that contradict each other."""

    maniqa: ManiqaConfig = field(default_factory=ManiqaConfig)
    vocabulary: PromptVocabulary = field(default_factory=PromptVocabulary)
    prompt_parts: tuple[str, ...] = PARTS  #: which parts are listened to; none switches prompts off
    pooling: Literal["learned", "mean"] = "learned"  #: of slices
    parameters: tuple[str, ...] = ()  #: physical parameters that have a head, such as "mas" or "tesla"

    def __post_init__(self) -> None:
        if unknown := set(self.prompt_parts) - set(PARTS):
            raise ValueError(f"prompt_parts {sorted(unknown)} do not exist; there are {', '.join(PARTS)}")
        if self.pooling not in ("learned", "mean"):
            raise ValueError(f"pooling {self.pooling!r} is neither learned nor mean")
        if QUALITY in self.parameters or len(set(self.parameters)) != len(self.parameters):
            raise ValueError(f"parameters {self.parameters} repeat one or name {QUALITY!r}")


class PromptLayer(nn.Module):
    """Prompts (N, width) -> (N, channels), added to every patch after each layer of a Swin stage.

    Source: MedIQA, section 2.2, y = x + FC_i(concat(p_dim, p_mod, p_reg, p_type)), i = 1, 2.
    """

    used: Tensor

    def __init__(self, vocabulary: PromptVocabulary, parts: Sequence[str], channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(vocabulary.width, channels)
        sizes = [(len(vocabulary.words(part)), part in parts) for part in PARTS]
        mask = [float(use) for count, use in sizes for _ in range(count)]
        mask += [0.0] * (vocabulary.width - len(mask))
        self.register_buffer("used", torch.tensor(mask), persistent=False)

    def forward(self, prompt: Tensor) -> Tensor:
        return self.linear(prompt * self.used)  # type: ignore[no-any-return]


class SlicePooling(nn.Module):
    """Importance of slices: features (N, S, C) -> logits (N, S), whose softmax are the weights.

    Source: MedIQA, section 2.2, quality assessment, Q = sum of w_i q_i.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features).squeeze(-1)  # type: ignore[no-any-return]


class Mediqa(nn.Module):
    """Series (N, S, 3, side, side) in [0, 1] and prompts (N, width) -> Output of N rows.

    Images (N, 3, side, side) are series of one slice. patch_scores and patch_weights are (N, S, h, w),
    slice_weights (N, S).
    Source: MedIQA, figure 1.
    """

    def __init__(self, config: MediqaConfig) -> None:
        super().__init__()
        self.config = config
        self.maniqa = Maniqa(config.maniqa)
        wide, narrow = config.maniqa.widths
        self.prompts = (
            nn.ModuleList(
                PromptLayer(config.vocabulary, config.prompt_parts, width) for width in (wide, narrow)
            )
            if config.prompt_parts
            else None
        )
        self.pooling = SlicePooling(narrow) if config.pooling == "learned" else None
        self.parameter_heads = nn.ModuleDict(
            {name: PatchHead(narrow, config.maniqa.dropout, "softplus") for name in config.parameters}
        )

    def head(self, task: str = QUALITY) -> PatchHead:
        """The head of "quality" or of a physical parameter (section 2.2, upstream learning)."""
        if task == QUALITY:
            return self.maniqa.head
        if task not in self.parameter_heads:
            known = ", ".join((QUALITY, *self.config.parameters))
            raise ValueError(f"there is no head for {task!r}; there are {known}")
        found: PatchHead = self.parameter_heads[task]  # type: ignore[assignment]
        return found

    def forward(
        self,
        images: Tensor,
        prompt: Tensor | None = None,
        present: Tensor | None = None,
        task: str = QUALITY,
    ) -> Output:
        """present: (N, S) bool, False where a series has fewer slices; default: all are there.

        prompt: `PromptVocabulary.encode` of each series; default: nothing is known. Raises ValueError for
        wrong shapes and for a task without a head.
        """
        if images.ndim == 4:
            images = images.unsqueeze(1)
        if images.ndim != 5:
            raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, S, 3, side, side)")
        series, slices = images.shape[:2]
        if present is None:
            present = images.new_ones((series, slices), dtype=torch.bool)
        if present.shape != (series, slices):
            raise ValueError(f"present has shape {tuple(present.shape)}; expected {(series, slices)}")
        first, second = self._pushes(prompt, images, slices)
        tokens = self.maniqa.tokens(images.flatten(0, 1))
        narrow = self.maniqa.narrow(self.maniqa.first_stage(tokens, first))
        features = self.maniqa.stage2(narrow, second)  # (N * S, C, h, w)
        found: Output = self.head(task)(features)
        logits = None
        if self.pooling is None:
            weights = present / present.sum(dim=1, keepdim=True)
        else:
            logits = self.pooling(features.mean(dim=(2, 3)).view(series, slices, -1))
            weights = logits.masked_fill(~present, float("-inf")).softmax(dim=1)
        assert found.patch_scores is not None and found.patch_weights is not None
        maps = (series, slices, *found.patch_scores.shape[1:])
        return Output(
            score=(weights * found.score.view(series, slices)).sum(dim=1),
            patch_scores=found.patch_scores.view(maps),
            patch_weights=found.patch_weights.view(maps),
            slice_weights=weights,
            slice_logits=logits,
        )

    def _pushes(
        self, prompt: Tensor | None, images: Tensor, slices: int
    ) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """What the prompt adds in each stage, one row a slice."""
        if self.prompts is None:
            return None, None
        width = self.config.vocabulary.width
        if prompt is None:
            prompt = images.new_zeros((images.shape[0], width))
        if prompt.shape != (images.shape[0], width):
            raise ValueError(f"prompt has shape {tuple(prompt.shape)}; expected {(images.shape[0], width)}")
        first, second = (layer(prompt).repeat_interleave(slices, dim=0) for layer in self.prompts)
        return first, second
