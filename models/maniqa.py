"""MANIQA, the base of MIQANet and MedIQA (Yang et al. 2022).

ViT tokens of four blocks, attention over channels, Swin stages with a scaled shortcut, and a score and a
weight for every patch.

Deviations:
- The ViT may be cut after its last used block (`truncated`): blocks 10 and 11, norm and head feed nothing.
- Each Swin stage owns a strided convolution that nothing calls (`unused`), as the published code does: its
  weights hold it, and the published parameter count counts it. It is not trained.
- The reshape after the channel attention scrambles tokens and channels, as the published code does; weights
  trained with it need it.
- `score_activation="softplus"` is offered beside the published ReLU, which can die at zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from models.compat import import_timm
from models.output import Output

timm = import_timm()

from timm.models.swin_transformer import SwinTransformerBlock  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class ManiqaConfig:
    """The paper's values are the defaults. Raises ValueError for values that contradict each other."""

    image_size: int = 224  #: pixels a side
    backbone: str = "vit_base_patch8_224"  #: a timm vision transformer with one class token
    backbone_options: Mapping[str, object] = field(default_factory=dict)  #: for timm.create_model
    blocks: tuple[int, ...] = (6, 7, 8, 9)  #: whose tokens are used, from 0
    truncated: bool = True  #: cut the ViT after the last of them
    widths: tuple[int, int] = (768, 384)  #: channels of the two stages
    channel_attentions: int = 2  #: transposed attention blocks before each stage
    swin_layers: int = 2  #: layers of each stage
    swin_depth: int = 2  #: Swin blocks a layer, every other one shifted
    heads: int = 4
    window: int = 4  #: tokens a side; divides the token grid
    mlp_width: int = 768  #: hidden width of the Swin blocks' MLP
    dropout: float = 0.1  #: in channel attention, at the start of each stage and in the heads
    drop_path: float = 0.1  #: of the last Swin block of a stage; rises from 0
    scale: float = 0.8  #: of each stage's new part against its shortcut; 0.13 in MIQANet's repository
    score_activation: Literal["relu", "softplus"] = "relu"

    def __post_init__(self) -> None:
        if not self.blocks or any(block < 0 for block in self.blocks) or list(self.blocks) != sorted(
            set(self.blocks)
        ):  # fmt: skip
            raise ValueError(f"blocks {self.blocks} are not rising numbers from 0")
        for width in self.widths:
            if width % self.heads:
                raise ValueError(f"width {width} is not a multiple of {self.heads} heads")
        if self.score_activation not in ("relu", "softplus"):
            raise ValueError(f"score_activation {self.score_activation!r} is neither relu nor softplus")
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not in [0, 1)")


class TransposedAttention(nn.Module):
    """Attention among channels (N, C, tokens) -> the same shape.

    Source: MANIQA, section 3.2, transposed attention block.
    """

    def __init__(self, tokens: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(tokens, tokens) for _ in range(3))
        self.scale = tokens**-0.5
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        attention = (self.query(x) @ self.key(x).transpose(1, 2) * self.scale).softmax(dim=-1)
        mixed = attention @ self.value(x)
        return self.dropout(mixed.transpose(1, 2).reshape(x.shape)) + x  # type: ignore[no-any-return]


class SwinStage(nn.Module):
    """Layers of Swin blocks and a 3x3 convolution, each `x + scale * layer(x)`; (N, C, h, w) -> the same.

    Source: MANIQA, section 3.3, scale Swin transformer block.
    """

    def __init__(self, width: int, grid: int, config: ManiqaConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.dropout = nn.Dropout(config.dropout)
        count = config.swin_layers * config.swin_depth
        rates = [config.drop_path * number / max(count - 1, 1) for number in range(count)]
        self.layers = nn.ModuleList(
            _SwinLayer(width, grid, config, rates[i * config.swin_depth : (i + 1) * config.swin_depth])
            for i in range(config.swin_layers)
        )
        self.unused = nn.Conv2d(width, width, 3, stride=2, padding=1).requires_grad_(False)

    def forward(self, x: Tensor, prompt: Tensor | None = None) -> Tensor:
        """prompt: (N, C), added after every layer (MedIQA)."""
        x = self.dropout(x)
        for layer in self.layers:
            x = self.scale * layer(x) + x
            if prompt is not None:
                x = x + prompt[:, :, None, None]
        return x


class _SwinLayer(nn.Module):
    def __init__(self, width: int, grid: int, config: ManiqaConfig, drop_path: Sequence[float]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                SwinTransformerBlock(
                    width,
                    (grid, grid),
                    num_heads=config.heads,
                    window_size=config.window,
                    shift_size=0 if number % 2 == 0 else config.window // 2,
                    mlp_ratio=config.mlp_width / width,
                    drop_path=rate,
                )
                for number, rate in enumerate(drop_path)
            )
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x.permute(0, 2, 3, 1))  # (N, h, w, C)
        return self.conv(x.permute(0, 3, 1, 2)).relu()  # type: ignore[no-any-return]


class PatchHead(nn.Module):
    """A score and a weight for each patch, and their weighted mean; (N, C, h, w) -> Output.

    Source: MANIQA, section 3.4, patch-weighted quality prediction.
    """

    def __init__(self, width: int, dropout: float, score_activation: str = "relu") -> None:
        super().__init__()
        last = nn.ReLU() if score_activation == "relu" else nn.Softplus()
        self.score = _patchwise(width, dropout, last)
        self.weight = _patchwise(width, dropout, nn.Sigmoid())

    def forward(self, x: Tensor) -> Output:
        tokens = x.permute(0, 2, 3, 1)  # (N, h, w, C)
        scores, weights = self.score(tokens).squeeze(-1), self.weight(tokens).squeeze(-1)
        pooled = (scores * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2)).clamp_min(1e-12)
        return Output(score=pooled, patch_scores=scores, patch_weights=weights)


def _patchwise(width: int, dropout: float, last: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1), last
    )  # fmt: skip


class Maniqa(nn.Module):
    """Images (N, 3, S, S), float32 in [0, 1] -> Output with patch maps (N, h, w); score >= 0.

    The steps are methods, so that MIQANet and MedIQA can put their own between them. Raises ValueError when
    the window does not divide the token grid, the ViT has too few blocks, or images have another size.
    Source: MANIQA, figure 2.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ManiqaConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5), persistent=False)
        self.register_buffer("std", torch.full((3, 1, 1), 0.5), persistent=False)
        options = {"pretrained": False, "img_size": config.image_size, **config.backbone_options}
        self.vit = timm.create_model(config.backbone, **options)
        depth = len(self.vit.blocks)
        if config.blocks[-1] >= depth:
            raise ValueError(f"{config.backbone} has {depth} blocks; there is no block {config.blocks[-1]}")
        rows, columns = self.vit.patch_embed.grid_size
        if rows != columns or rows % config.window:
            raise ValueError(
                f"window {config.window} does not divide the {rows}x{columns} tokens of {config.backbone} at "
                f"{config.image_size} pixels"
            )
        if config.truncated:
            self.vit.prune_intermediate_layers([*config.blocks], prune_norm=True, prune_head=True)
        self.grid = int(rows)
        tokens, joined = self.grid**2, self.vit.embed_dim * len(config.blocks)
        wide, narrow = config.widths
        self.attention1 = self._attentions(tokens)
        self.conv1 = nn.Conv2d(joined, wide, 1)
        self.stage1 = SwinStage(wide, self.grid, config)
        self.attention2 = self._attentions(tokens)
        self.conv2 = nn.Conv2d(wide, narrow, 1)
        self.stage2 = SwinStage(narrow, self.grid, config)
        self.head = PatchHead(narrow, config.dropout, config.score_activation)

    def _attentions(self, tokens: int) -> nn.Sequential:
        config = self.config
        blocks = (TransposedAttention(tokens, config.dropout) for _ in range(config.channel_attentions))
        return nn.Sequential(*blocks)

    def tokens(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) in [0, 1] -> (N, blocks * embedding, h * w)."""
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, {side}, {side})")
        found = self.vit.forward_intermediates(
            (images - self.mean) / self.std,
            indices=[*self.config.blocks],
            stop_early=True,
            intermediates_only=True,
        )
        return torch.cat(found, dim=1).flatten(2)

    def first_stage(self, tokens: Tensor, prompt: Tensor | None = None) -> Tensor:
        """(N, C, h * w) -> (N, widths[0], h, w)."""
        x = self.attention1(tokens).unflatten(2, (self.grid, self.grid))
        return self.stage1(self.conv1(x), prompt)  # type: ignore[no-any-return]

    def narrow(self, x: Tensor) -> Tensor:
        """(N, widths[0], h, w) -> (N, widths[1], h, w), before the second stage."""
        mixed = self.attention2(x.flatten(2)).unflatten(2, (self.grid, self.grid))
        return self.conv2(mixed)  # type: ignore[no-any-return]

    def second_stage(self, x: Tensor, prompt: Tensor | None = None) -> Output:
        """(N, widths[1], h, w) -> Output."""
        return self.head(self.stage2(x, prompt))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Output:
        return self.second_stage(self.narrow(self.first_stage(self.tokens(images))))
