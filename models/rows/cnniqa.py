"""CNNIQA, which MIQANet's tables call SimpleCNN: one convolution, then dense layers (Kang et al. 2014).

Deviations:
- Gray is the mean of the three channels, as inputs here are gray copies or windows of one image.
- Patches do not overlap in training either; the paper gives no stride. Train on `patch_scores` against the
  image's label, or on `score`, which is their mean.
- The constant of the local normalisation, unnamed in the paper, is one gray level of 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.output import Output
from models.rows.patches import check_size, cut, gray, locally_normalised, put_back


@dataclass(frozen=True, slots=True, kw_only=True)
class CnnIqaConfig:
    """The paper's values are the defaults. Raises ValueError for sizes that do not fit together."""

    patch: int = 32  #: pixels a side
    filters: int = 50
    kernel: int = 7  #: pixels a side of a filter
    widths: tuple[int, int] = (800, 800)  #: of the two dense layers
    dropout: float = 0.5  #: after the second dense layer
    normalisation_radius: int = 3  #: windows of 2 * 3 + 1 pixels
    normalisation_constant: float = 1 / 255

    def __post_init__(self) -> None:
        if not 1 <= self.kernel <= self.patch:
            raise ValueError(f"kernel {self.kernel} does not fit a patch of {self.patch} pixels")
        if not 0 < self.normalisation_radius < self.patch:
            raise ValueError(
                f"normalisation_radius {self.normalisation_radius} is not in 1 .. {self.patch - 1}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")


class CnnIqa(nn.Module):
    """Images (N, 3, H, W), float32 in [0, 1] -> Output with patch_scores (N, h, w); score is their mean.

    Raises ValueError for images smaller than a patch. Where H or W is not a multiple, the rest is not seen.
    Source: Kang et al. 2014, section 3, network architecture, figure 1.
    """

    def __init__(self, config: CnnIqaConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.widths
        self.conv = nn.Conv2d(1, config.filters, config.kernel)
        self.dense = nn.Sequential(
            nn.Linear(2 * config.filters, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(second, 1),
        )

    def forward(self, images: Tensor) -> Output:
        config = self.config
        check_size(images, config.patch)
        x = locally_normalised(gray(images), config.normalisation_radius, config.normalisation_constant)
        patches, rows, columns = cut(x, config.patch)
        maps = self.conv(patches)  # (N * h * w, filters, 26, 26)
        pooled = torch.cat([maps.amax(dim=(2, 3)), maps.amin(dim=(2, 3))], dim=1)
        scores = put_back(self.dense(pooled), rows, columns)
        return Output(score=scores.mean(dim=(1, 2)), patch_scores=scores)
