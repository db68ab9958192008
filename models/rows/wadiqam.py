"""WaDIQaM-NR: ten convolutions a patch, a score and a weight of each, weighted mean (Bosse et al. 2018).

Deviations:
- All patches of the image are used in training too, where the paper draws 32 of them at random.
- Weights start as He et al. 2015 propose, so that ten layers without normalisation pass a signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.output import Output
from models.rows.patches import check_size, cut, put_back


@dataclass(frozen=True, slots=True, kw_only=True)
class WadiqamConfig:
    """The paper's values are the defaults. Raises ValueError for a dropout outside [0, 1)."""

    channels: tuple[int, ...] = (32, 64, 128, 256, 512)  #: of the pairs of convolutions, halving after each
    width: int = 512  #: of the dense layer of either head
    dropout: float = 0.5
    epsilon: float = 1e-6  #: smallest weight of a patch

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels are empty; expected one number for each pair of convolutions")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon {self.epsilon} is not positive; weights must not sum to 0")

    @property
    def patch(self) -> int:
        """Pixels a side of a patch, which the halvings bring down to one."""
        return int(2 ** len(self.channels))


class Wadiqam(nn.Module):
    """Images (N, 3, H, W), float32 in [0, 1] -> Output with patch_scores and patch_weights (N, h, w).

    Raises ValueError for images smaller than a patch.
    Source: Bosse et al. 2018, section III, weighted average patch aggregation and network for NR IQA.
    """

    def __init__(self, config: WadiqamConfig) -> None:
        super().__init__()
        self.config = config
        self.features = nn.Sequential(*_pairs(config.channels), nn.Flatten())
        self.score = _head(config)
        self.weight = _head(config)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Output:
        check_size(images, self.config.patch)
        patches, rows, columns = cut(images, self.config.patch)
        features = self.features(patches)  # (N * h * w, channels)
        scores = put_back(self.score(features), rows, columns)
        weights = put_back(self.weight(features).relu() + self.config.epsilon, rows, columns)
        pooled = (scores * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
        return Output(score=pooled, patch_scores=scores, patch_weights=weights)


def _pairs(channels: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in zip((3, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return layers


def _head(config: WadiqamConfig) -> nn.Sequential:
    last = config.channels[-1]
    return nn.Sequential(
        nn.Linear(last, config.width), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.width, 1)
    )
