"""LeNet-5 in the place of CNNIQA's network (LeCun et al. 1998), as in MIQANet's tables.

Deviations:
- MIQANet says only that the backbone of SimpleCNN is replaced by LeNet: so the same 32-pixel patches, locally
  normalised, and the mean over patches.
- The second convolution sees all six maps (the paper's table I leaves some out), subsampling is a plain mean
  without trainable gain, tanh is not scaled, and the last layer is linear, one value, not radial basis
  functions for ten digits.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.output import Output
from models.rows.patches import check_size, cut, gray, locally_normalised, put_back


@dataclass(frozen=True, slots=True, kw_only=True)
class LeNet5Config:
    """The paper's values are the defaults. Raises ValueError for a patch that does not halve twice."""

    patch: int = 32  #: pixels a side
    filters: tuple[int, int] = (6, 16)
    widths: tuple[int, int] = (120, 84)  #: of the two dense layers
    normalisation_radius: int = 3
    normalisation_constant: float = 1 / 255

    def __post_init__(self) -> None:
        if self.patch < 16 or self.patch % 4:
            raise ValueError(f"patch {self.patch} is not a multiple of 4 from 16")
        if not 0 < self.normalisation_radius < self.patch:
            raise ValueError(
                f"normalisation_radius {self.normalisation_radius} is not in 1 .. {self.patch - 1}"
            )


class LeNet5(nn.Module):
    """Images (N, 3, H, W), float32 in [0, 1] -> Output with patch_scores (N, h, w); score is their mean.

    Raises ValueError for images smaller than a patch.
    Source: LeCun et al. 1998, section II.B, figure 2.
    """

    def __init__(self, config: LeNet5Config) -> None:
        super().__init__()
        self.config = config
        (few, many), (wide, narrow) = config.filters, config.widths
        left = ((config.patch - 4) // 2 - 4) // 2  # pixels a side after both convolutions
        self.net = nn.Sequential(
            nn.Conv2d(1, few, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(few, many, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(many * left**2, wide),
            nn.Tanh(),
            nn.Linear(wide, narrow),
            nn.Tanh(),
            nn.Linear(narrow, 1),
        )

    def forward(self, images: Tensor) -> Output:
        config = self.config
        check_size(images, config.patch)
        x = locally_normalised(gray(images), config.normalisation_radius, config.normalisation_constant)
        patches, rows, columns = cut(x, config.patch)
        scores = put_back(self.net(patches), rows, columns)
        return Output(score=scores.mean(dim=(1, 2)), patch_scores=scores)
