"""DeepViT: a deep vision transformer whose heads mix their attention maps anew (Zhou et al. 2021).

Deviations:
- MedIQA does not say which DeepViT it compared with; the defaults are DeepViT-S of the published code, with
  its convolutional embedding and re-attention from the twelfth block on.
- That code's doubled residual branches and its scaling of the mixed maps are left out: the norm after the
  mixing has a scale of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.compat import import_timm
from models.output import Output

timm = import_timm()

from timm.layers.patch_embed import PatchEmbed  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepVitConfig:
    """DeepViT-S by default. Raises ValueError for values that contradict each other."""

    image_size: int = 224  #: pixels a side
    patch: int = 16  #: pixels a side of a token
    width: int = 396  #: of a token
    depth: int = 16  #: blocks
    heads: int = 12
    mlp_ratio: float = 3.0
    plain_blocks: int = 11  #: blocks with ordinary attention before those with re-attention
    stem: int = 64  #: channels of the convolutional embedding; 0 cuts plain patches
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if self.patch % 2 or self.image_size % self.patch:
            raise ValueError(f"patch {self.patch} is odd or does not divide image_size {self.image_size}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if not 0 <= self.plain_blocks < self.depth:
            raise ValueError(
                f"plain_blocks {self.plain_blocks} leave none of {self.depth} blocks to re-attention"
            )
        if self.stem < 0 or not 0 <= self.drop_path < 1:
            raise ValueError(f"stem {self.stem} is negative or drop_path {self.drop_path} not in [0, 1)")


class ReAttention(nn.Module):
    """Self-attention (N, tokens, C) -> the same; heads' maps are mixed by a learnt matrix, then normalised.

    The last two arguments are what timm's block passes on; a mask is not supported.

    Source: Zhou et al. 2021, section 4, Re-attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Conv2d(heads, heads, 1)
        self.norm = nn.BatchNorm2d(heads)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor, attn_mask: None = None, is_causal: bool = False) -> Tensor:
        parts = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # (N, heads, tokens, C / heads)
        maps = (query @ key.transpose(2, 3) * self.scale).softmax(dim=-1)
        mixed = self.norm(self.mix(maps)) @ value
        return self.projection(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class ConvolutionalEmbed(PatchEmbed):  # type: ignore[misc]
    """Two convolutions, the first halving, before patches are cut: (N, 3, S, S) -> (N, tokens, C).

    Source: Zhou et al. 2021, published code, convolutional patch embedding of DeepViT-S.
    """

    def __init__(self, config: DeepVitConfig) -> None:
        super().__init__(config.image_size // 2, config.patch // 2, config.stem, config.width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem, 7, 2, 3, bias=False),
            nn.BatchNorm2d(config.stem),
            nn.ReLU(),
            nn.Conv2d(config.stem, config.stem, 3, 1, 1, bias=False),
            nn.BatchNorm2d(config.stem),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.stem(x))  # type: ignore[no-any-return, no-untyped-call]


class DeepVit(nn.Module):
    """Images (N, 3, S, S), float32 in [0, 1] -> Output with a score.

    Raises ValueError for images of another size.
    Source: Zhou et al. 2021, section 4, DeepViT.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DeepVitConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5), persistent=False)
        self.register_buffer("std", torch.full((3, 1, 1), 0.5), persistent=False)
        self.net = timm.create_model(
            "vit_base_patch16_224",
            pretrained=False,
            num_classes=1,
            img_size=config.image_size,
            patch_size=config.patch,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=config.drop_path,
        )
        for block in self.net.blocks[config.plain_blocks :]:
            block.attn = ReAttention(config.width, config.heads)
        if config.stem:
            self.net.patch_embed = ConvolutionalEmbed(config)

    def forward(self, images: Tensor) -> Output:
        side = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise ValueError(f"images have shape {tuple(images.shape)}; expected (N, 3, {side}, {side})")
        return Output(score=self.net((images - self.mean) / self.std)[:, 0])
