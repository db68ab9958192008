"""ClinReadNet's Sobel ordinal quality network: edges beside the overall grade (Xiao et al., section 3.2).

Takes a feature map and gives one of the same shape; where it stands in a backbone is not decided here. In
training it needs two images or more, for its batch norms after global pooling.

Deviations:
- Widths are not given: fully connected 256 and 128; a quarter of the channels in the weight maps of the
  Sobel features, in the ordinal branch's convolutions (four groups) and in the mixing of the branches;
  four times the channels between the first fusion's convolutions; Gumbel-softmax at tau 1.
- Channel and spatial attention are not described; those of the bottleneck attention module, which the
  paper cites elsewhere (reference 48), one after the other, each multiplying its input by its sigmoid.
- Both norms are layer norms over channels, as in Swin.
- Equation 5 multiplies by e(.), the text and figure 4 apply it; applied here. Equation 4 calls the weight
  map's network f "fusion network 1"; it is the lightweight sub-network of the text.
- Sobel features repeat the border pixels, so that the border of the image is no edge.
- `residual="plain"` is F + X.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.compat import import_timm

import_timm()

from timm.layers.norm import LayerNorm2d  # noqa: E402

Branches = Literal["sobel", "ordinal", "both"]
Residual = Literal["plain", "weighted"]

#: Kernels of section 3.2: horizontal and vertical edges, then edges along the main and the second diagonal.
SOBEL = (
    ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    ((0, 1, 2), (-1, 0, 1), (-2, -1, 0)),
    ((-2, -1, 0), (-1, 0, 1), (0, 1, 2)),
)


def _conv(inputs: int, outputs: int, size: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution, batch norm, Mish; the size of the map stays."""
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.Mish()]


class ChannelAttention(nn.Module):
    """x * sigmoid(BN(MLP(mean over the map))): (N, C, h, w) -> the same shape.

    Source: Bottleneck attention module (ClinReadNet's reference 48), channel attention branch.
    """

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(width // reduction, 1)
        self.weight = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, width, bias=False),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight(x.mean(dim=(2, 3))).sigmoid()[:, :, None, None]  # type: ignore[no-any-return]


class SpatialAttention(nn.Module):
    """x * sigmoid(a map from convolutions dilated by 4): (N, C, h, w) -> the same shape.

    Source: Bottleneck attention module (ClinReadNet's reference 48), spatial attention branch.
    """

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(width // reduction, 1)
        layers: list[nn.Module] = [nn.Conv2d(width, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()]
        for _ in range(2):
            dilated = nn.Conv2d(hidden, hidden, 3, padding=4, dilation=4, bias=False)
            layers += [dilated, nn.BatchNorm2d(hidden), nn.ReLU()]
        self.weight = nn.Sequential(*layers, nn.Conv2d(hidden, 1, 1, bias=False), nn.BatchNorm2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight(x).sigmoid()  # type: ignore[no-any-return]


class SobelBranch(nn.Module):
    """Edges in four directions, each with its own weight map, fused: (N, C, h, w) -> the same shape.

    Source: ClinReadNet, section 3.2, equation 4.
    """

    kernels: Tensor

    def __init__(self, width: int, reduction: int = 4) -> None:
        super().__init__()
        # One group a channel, giving its four directions: (4 C, 1, 3, 3).
        kernels = torch.tensor(SOBEL, dtype=torch.float32)[:, None].repeat(width, 1, 1, 1)
        self.register_buffer("kernels", kernels, persistent=False)
        narrow = max(width // reduction, 1)
        self.maps = nn.ModuleList(
            nn.Sequential(*_conv(width, narrow), *_conv(narrow, width)) for _ in SOBEL
        )  # fmt: skip
        self.fuse = nn.Sequential(
            *_conv(4 * width, 4 * width), nn.Conv2d(4 * width, width, 3, padding=1),
            *_conv(width, width), *_conv(width, width, 3),
        )  # fmt: skip

    def edges(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 4, C, h, w), in the order of SOBEL.

        Source: ClinReadNet, section 3.2, h(X, K_i) of equation 4.
        """
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        found = functional.conv2d(padded, self.kernels, groups=x.shape[1])  # (N, 4 C, h, w)
        return found.reshape(x.shape[0], x.shape[1], len(SOBEL), *x.shape[2:]).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        directions = zip(self.maps, self.edges(x).unbind(1), strict=True)
        weighted = [edges * weight(edges) for weight, edges in directions]
        return self.fuse(torch.cat(weighted, dim=1))  # type: ignore[no-any-return]


class OrdinalBranch(nn.Module):
    """Channels weighted after a distribution over grades: (N, C, h, w) -> the same shape.

    Source: ClinReadNet, section 3.2, equation 5.
    """

    def __init__(
        self, width: int, grades: int, hidden: tuple[int, int], reduction: int, groups: int, dropout: float
    ) -> None:  # fmt: skip
        super().__init__()
        first, second = hidden
        self.grades = nn.Sequential(
            nn.Linear(2 * width, first, bias=False), nn.BatchNorm1d(first), nn.Mish(), nn.Dropout(dropout),
            nn.Linear(first, second, bias=False), nn.BatchNorm1d(second), nn.Mish(), nn.Dropout(dropout),
            nn.Linear(second, grades),
        )  # fmt: skip
        self.ordinal = nn.Parameter(torch.randn(grades, width))
        self.norm = nn.LayerNorm(width)
        narrow = width // reduction
        self.enhance = nn.Sequential(
            *_conv(width, narrow), *_conv(narrow, narrow, 3, groups), *_conv(narrow, width)
        )  # fmt: skip

    def distribution(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, grades), summing to 1.

        Source: ClinReadNet, section 3.2, softmax of h(.) in equation 5.
        """
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return self.grades(pooled).softmax(dim=1)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        weights = self.norm(self.distribution(x) @ self.ordinal).tanh()
        return self.enhance(x * weights[:, :, None, None])  # type: ignore[no-any-return]


class BranchMixer(nn.Module):
    """Share of each branch: two maps (N, C, h, w) -> (N, 2), summing to 1; random in training only.

    Source: ClinReadNet, section 3.2, equation 1.
    """

    def __init__(self, width: int, reduction: int, tau: float) -> None:
        super().__init__()
        self.tau = tau
        narrow = max(width // reduction, 1)
        self.logits = nn.Sequential(
            *_conv(2 * width, width), nn.AdaptiveAvgPool2d(1), *_conv(width, narrow), nn.Conv2d(narrow, 2, 1)
        )

    def forward(self, sobel: Tensor, ordinal: Tensor) -> Tensor:
        logits = self.logits(torch.cat([sobel, ordinal], dim=1)).flatten(1)
        if self.training:
            return functional.gumbel_softmax(logits, tau=self.tau, dim=1)
        return logits.softmax(dim=1)  # type: ignore[no-any-return]


class SOQN(nn.Module):
    """Sobel ordinal quality network: (N, C, h, w) -> the same shape, normalised over channels.

    gamma and beta are first values of the weighted residual's learnable factors.
    Source: ClinReadNet, section 3.2, equations 1-3 and figure 2.
    """

    def __init__(
        self,
        width: int,
        *,
        grades: int = 21,
        branches: Branches = "both",
        residual: Residual = "weighted",
        gamma: float = 0.2,
        beta: float = 0.8,
        hidden: tuple[int, int] = (256, 128),
        reduction: int = 4,
        groups: int = 4,
        attention_reduction: int = 16,
        dropout: float = 0.1,
        tau: float = 1.0,
    ) -> None:
        if width % reduction or (width // reduction) % groups:
            raise ValueError(f"width {width} does not split into reduction {reduction} and groups {groups}")
        super().__init__()
        self.branches, self.residual = branches, residual
        self.norm1, self.norm2 = LayerNorm2d(width), LayerNorm2d(width)
        self.attention = nn.Sequential(
            ChannelAttention(width, attention_reduction), SpatialAttention(width, attention_reduction)
        )
        if branches != "ordinal":
            self.sobel = SobelBranch(width, reduction)
        if branches != "sobel":
            self.ordinal = OrdinalBranch(width, grades, hidden, reduction, groups, dropout)
        if branches == "both":
            self.mixer = BranchMixer(width, reduction, tau)
        self.enhance = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), *_conv(width, width)
        )
        if residual == "weighted":
            self.gamma = nn.Parameter(torch.tensor(float(gamma)))
            self.beta = nn.Parameter(torch.tensor(float(beta)))

    def fused(self, x: Tensor) -> Tensor:
        """The branches' weighted sum, or the only branch.

        Source: ClinReadNet, section 3.2, F_fused of equation 2.
        """
        if self.branches == "sobel":
            return self.sobel(x)  # type: ignore[no-any-return]
        if self.branches == "ordinal":
            return self.ordinal(x)  # type: ignore[no-any-return]
        sobel, ordinal = self.sobel(x), self.ordinal(x)
        first, second = self.mixer(sobel, ordinal)[:, :, None, None, None].unbind(1)
        return first * sobel + second * ordinal  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        enhanced = self.enhance(self.fused(self.attention(self.norm1(x))))
        if self.residual == "plain":
            return self.norm2(enhanced + x)  # type: ignore[no-any-return]
        return self.norm2(self.gamma * enhanced + self.beta * x)  # type: ignore[no-any-return]
