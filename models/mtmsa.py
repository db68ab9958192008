"""ClinReadNet's window attention at several temperatures, on timm's Swin blocks (Xiao et al., section 3.3).

`sharpen` puts it into the blocks of a Swin stage; partition, padding, shift and mask stay timm's.

Deviations:
- The "temperature" multiplies the logits, so it is an inverse temperature: 0.5 is smooth, 2 is sharp.
- Equations 11 and 12 take a softmax before the temperature and another after the values. Here each
  temperature takes one softmax, softmax(T * logits) V. `softmax="double"` gives softmax(T * softmax(logits))
  V, masked again so that windows stay apart; `softmax="printed"` is equation 12 to the letter, a softmax
  over the channels of T * softmax(logits) V.
- The mask is added after the temperature: the paper's is -infinity, which no temperature changes, but
  timm's is -100.
- S(.) of equation 14 is undefined; a softmax here. All weights then stay near 1 / temperatures.
- The modulator's hidden width is not given; a quarter of the channels. Its mean token is that of the whole
  window, as printed: what the mask keeps apart, and padding, still share the temperatures' weights.
- timm 1.0.31 pads on the right and below when the window does not divide the grid, after the shift, but
  lays the shift's mask out for the padded grid. Such blocks therefore attend across opposite edges of the
  image (16 tokens with window 7: row 0 sees rows 10 to 15), and padding is attended to. Kept, for the output
  of timm's blocks; a window that divides every grid (8 at 512 pixels) has neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from models.compat import import_timm

import_timm()

from timm.models.swin_transformer import (  # noqa: E402
    SwinTransformerBlock,
    SwinTransformerStage,
    WindowAttention,
)

Softmax = Literal["single", "double", "printed"]


class MultiTemperatureAttention(WindowAttention):  # type: ignore[misc]
    """Window attention at several temperatures: windows (N * nW, tokens, C) -> the same shape.

    It takes the place, and a copy of the weights, of timm's `like`. temperatures: first values, > 0;
    progressive: first value of each one's weight. With every temperature 1 it gives what `like` gives.
    Source: ClinReadNet, section 3.3, equations 6-16.
    """

    def __init__(
        self,
        like: WindowAttention,
        temperatures: Sequence[float],
        progressive: Sequence[float],
        softmax: Softmax,
    ) -> None:
        if not temperatures or len(temperatures) != len(progressive):
            raise ValueError(f"{len(progressive)} progressive weights for {len(temperatures)} temperatures")
        super().__init__(
            like.dim,
            num_heads=like.num_heads,
            head_dim=like.qkv.out_features // 3 // like.num_heads,
            window_size=like.window_size,
            qkv_bias=like.qkv.bias is not None,
            attn_drop=like.attn_drop.p,
            proj_drop=like.proj_drop.p,
        )
        self.load_state_dict(like.state_dict())
        self.form = softmax
        self.temperature = nn.Parameter(torch.tensor([*temperatures], dtype=torch.float32))
        self.progressive = nn.Parameter(torch.tensor([*progressive], dtype=torch.float32))
        hidden = max(like.dim // 4, 1)
        self.modulator = nn.Sequential(
            nn.Linear(like.dim, hidden), nn.Mish(), nn.Linear(hidden, len(temperatures)), nn.Sigmoid()
        )

    def weights(self, x: Tensor) -> Tensor:
        """Share of each temperature: (windows, tokens, C) -> (windows, temperatures), summing to 1.

        Source: ClinReadNet, section 3.3, equations 13 and 14.
        """
        quality = self.modulator(x.mean(dim=1))
        return (quality * self.progressive.softmax(dim=0)).softmax(dim=-1)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask: (nW, tokens, tokens), 0 where a pair may attend and far below 0 elsewhere."""
        # (3, windows, heads, tokens, d)
        query, key, value = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        logits = (query * self.scale) @ key.transpose(-2, -1) + self._get_rel_pos_bias()
        if self.form != "single":
            logits = self._attention(logits, mask)
        # (windows, temperatures, heads, tokens, d)
        outputs = torch.stack(
            [self._attend(t * logits, value, mask) for t in self.temperature.unbind()], dim=1
        )
        mixed = (self.weights(x)[:, :, None, None, None] * outputs).sum(dim=1)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]

    def _attend(self, sharpened: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        if self.form == "printed":
            return (sharpened @ value).softmax(dim=-1)
        return self._attention(sharpened, mask) @ value

    def _attention(self, logits: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            # (N, nW, heads, tokens, tokens)
            count = mask.shape[0]
            logits = (logits.reshape(-1, count, *logits.shape[1:]) + mask[:, None]).flatten(0, 1)
        return self.attn_drop(logits.softmax(dim=-1))  # type: ignore[no-any-return]


class GateBlock(nn.Module):
    """timm's Swin block with a gate in the place of its attention: (N, h, w, C) -> the same shape.

    gate: a module (N, C, h, w) -> the same shape. Norms, MLP and drop paths are those of `like`.
    Source: ClinReadNet, section 4.5.2, table 7.
    """

    def __init__(self, like: SwinTransformerBlock, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate
        self.norm1, self.drop_path1 = like.norm1, like.drop_path1
        self.norm2, self.mlp, self.drop_path2 = like.norm2, like.mlp, like.drop_path2

    def forward(self, x: Tensor) -> Tensor:
        gated = self.gate(self.norm1(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.drop_path1(gated)
        return x + self.drop_path2(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


def sharpen(
    stage: SwinTransformerStage,
    temperatures: Sequence[float],
    progressive: Sequence[float],
    softmax: Softmax = "single",
) -> None:
    """Put attention at these temperatures into every block of the stage, shifted or not; none: leave it.

    Source: ClinReadNet, section 3.1, stage 4 of figure 1.
    """
    if temperatures:
        for block in stage.blocks:
            assert isinstance(block, SwinTransformerBlock)
            block.attn = MultiTemperatureAttention(block.attn, temperatures, progressive, softmax)


def gate(stage: SwinTransformerStage, make: Callable[[int], nn.Module]) -> None:
    """Put a gate, made for the block's width, in the place of attention in every block of the stage.

    Source: ClinReadNet, section 4.5.2, table 7.
    """
    blocks = [block for block in stage.blocks if isinstance(block, SwinTransformerBlock)]
    stage.blocks = nn.Sequential(*(GateBlock(block, make(block.dim)) for block in blocks))
