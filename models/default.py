"""The default model: linear heads per modality on frozen Lite0, spectral and layout features.

Score: predicted consensus of full-reference metrics, 0 (among the worst of the simulated training images) to
1 (as its clean reference); predictions may pass these ends a little and are cut there. Quality is a logistic
map of the score, fitted on subjects left out of training so that clean slices lie above 0.7 and strong
degradations below 0.4. Labels are simulated: see the model card.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.features import FeatureExtractor
from models.inputs import SliceInput, SliceOutput, check, working_pixels
from models.lite0 import FEATURES, LAST_FEATURES
from models.local_scores import local_scores
from models.weights_file import WEIGHTS, Array, ModelEntry, WeightsError, read_tensors, verified

CLIP = 5.0  #: standardised features are cut here, as in training
SCORE_RANGE = (0.0, 1.0)
_FOREIGN = "foreign"  #: absent in heads of version 1, which judge by distance alone
#: A head's tensors in the file, each under "modality.part".
PARTS = ("mean", "scale", "weight", "bias", "calibration", "ood_axes", "ood_scale", _FOREIGN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One modality's linear head; F features, 1 + T targets (the score, then each artefact type)."""

    types: tuple[str, ...]  #: T names, "none" among them
    mean: Array  #: (F,)
    scale: Array  #: (F,)
    weight: Array  #: (F, 1 + T)
    bias: Array  #: (1 + T,)
    calibration: Array  #: (3,): score at quality 1/2, score's spread, sharpness of the type's softmax
    ood_axes: Array  #: (F, K) principal axes of the clipped features
    ood_scale: Array  #: (K + 2,): deviation along each axis, deviation off the axes, the limit
    foreign: Array  #: (F + 1,): weights and bias of "no slice of this modality", 1 at the limit

    def __post_init__(self) -> None:
        features, targets = self.weight.shape
        axes = self.ood_axes.shape[1] if self.ood_axes.ndim == 2 else -1
        wanted = {
            "mean": (features,), "scale": (features,), "bias": (targets,), "calibration": (3,),
            "ood_axes": (features, axes), "ood_scale": (axes + 2,), "foreign": (features + 1,),
        }  # fmt: skip
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise WeightsError(
                    f"{name} has shape {getattr(self, name).shape}, not {shape}; reinstall qagate"
                )
        if targets != 1 + len(self.types):
            raise WeightsError(f"the head has {targets} targets, not 1 + {len(self.types)}; reinstall qagate")

    def __call__(self, features: Array) -> list[SliceOutput]:
        """(N, F or more) -> N outputs; features beyond the first F are newer than the head."""
        z = np.clip((features[:, : len(self.mean)] - self.mean) / self.scale, -CLIP, CLIP)
        targets = z @ self.weight + self.bias
        score = np.clip(targets[:, 0], *SCORE_RANGE)
        middle, spread, sharpness = self.calibration
        quality = 1 / (1 + np.exp(-(targets[:, 0] - middle) / spread))
        logits = sharpness * targets[:, 1:]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances = odds / odds.sum(axis=1, keepdims=True)
        strange = self.strangeness(z)
        return [
            SliceOutput(
                score=float(score[i]),
                quality=float(quality[i]),
                artefacts={name: float(p) for name, p in zip(self.types, chances[i], strict=True)},
                out_of_distribution=float(strange[i]),
            )
            for i in range(len(z))
        ]

    def slopes(self, features: Array) -> Array:
        """(N, F or more) -> (N, F): what the score changes with each feature; 0 where the feature is cut."""
        z = (features[:, : len(self.mean)] - self.mean) / self.scale
        return np.asarray(np.where(np.abs(z) < CLIP, self.weight[:, 0] / self.scale, 0), dtype=np.float32)

    def strangeness(self, z: Array) -> npt.NDArray[np.float32]:
        """The larger of two, each over its limit.

        Mahalanobis distance on the main axes joined with the distance off them, from the training images; and
        how much an image is like photographs, drawings, noise and pages rather than like those.
        """
        along = z @ self.ood_axes
        off = np.sqrt(np.clip(np.square(z).sum(axis=1) - np.square(along).sum(axis=1), 0, None))
        spread, off_spread, limit = self.ood_scale[:-2], self.ood_scale[-2], self.ood_scale[-1]
        distance = np.sqrt(np.square(along / spread).mean(axis=1) + np.square(off / off_spread))
        unlike = z @ self.foreign[:-1] + self.foreign[-1]
        return np.asarray(np.maximum(distance / limit, unlike), dtype=np.float32)


class DefaultModel:
    """See the module; `predict` is deterministic on one machine. Not safe to share between threads."""

    def __init__(
        self,
        heads: dict[str, Head],
        backbone: Path,
        *,
        name: str,
        version: str,
        sha256: str,
        device: str = "cpu",
    ) -> None:
        self.name, self.version, self.weights_sha256 = name, version, sha256
        self.score_range = SCORE_RANGE
        self.modalities = tuple(sorted(heads))
        self._heads = heads
        self._extract = FeatureExtractor(backbone, device)

    @classmethod
    def from_entry(cls, entry: ModelEntry, *, folder: Path = WEIGHTS, device: str = "cpu") -> Self:
        """Load what the manifest names: the head's file first, then the backbone's."""
        head_file, backbone_file = entry.files
        heads = read_heads(verified(head_file, folder))
        if tuple(sorted(heads)) != tuple(sorted(entry.modalities)):
            raise WeightsError(f"{head_file.file} has heads for {sorted(heads)}; reinstall qagate")
        backbone = verified(backbone_file, folder)
        sha = head_file.sha256
        return cls(heads, backbone, name=entry.name, version=entry.version, sha256=sha, device=device)

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        """One output a slice, in order; slices of one shape and modality are computed together.

        Raises ValueError naming the first slice that cannot be judged (unknown modality, not one image, NaN,
        too small), before anything is computed.
        """
        groups: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
        for number, item in enumerate(slices):
            try:
                check(item)
            except ValueError as error:
                raise ValueError(f"slice {number + 1} of {len(slices)}: {error}") from error
            groups[item.modality, item.pixels.shape].append(number)
        outputs: dict[int, SliceOutput] = {}
        for (modality, _), numbers in groups.items():
            work = [working_pixels(slices[n].pixels) for n in numbers]
            last: list[tuple[Tensor, ...]] = []
            found = self._extract(work, modality, last)
            features, head = found.cpu().numpy(), self._heads[modality]
            maps = _local_scores(last, found, torch.from_numpy(head.slopes(features)).to(found.device))
            outputs.update(
                (number, replace(output, quality_map=np.float32(output.score) + part))
                for number, output, part in zip(numbers, head(features), maps.cpu().numpy(), strict=True)
            )
        return [outputs[n] for n in range(len(slices))]


def _local_scores(last: Sequence[tuple[Tensor, ...]], features: Tensor, slopes: Tensor) -> Tensor:
    """(N, h, w), the sum of the colour channels' maps; features, slopes: (N, F) with Lite0's blocks first."""
    layers = [torch.cat(parts) for parts in zip(*last, strict=True)]  # (N * channels, C, H, W) each
    planes = len(layers[0]) // len(features)  # of a slice: 2 in CT, 1 in MR
    blocks = (
        block[:, : planes * FEATURES].reshape(-1, FEATURES)[:, -LAST_FEATURES:]
        for block in (features, slopes)
    )
    found = local_scores(layers, *blocks)
    return found.view(len(features), planes, *found.shape[1:]).sum(dim=1)


def read_heads(path: Path) -> dict[str, Head]:
    """Modality -> head. Raises WeightsError when tensors or names are missing."""
    tensors, metadata = read_tensors(path)
    try:
        types: dict[str, list[str]] = json.loads(metadata["types"])
        return {
            modality: Head(
                types=tuple(names),
                **{part: tensors[f"{modality}.{part}"] for part in PARTS if part != _FOREIGN},
                foreign=tensors.get(
                    f"{modality}.{_FOREIGN}", np.zeros(len(tensors[f"{modality}.mean"]) + 1, np.float32)
                ),
            )
            for modality, names in types.items()
        }
    except (KeyError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"weights {path.name} are not a default model ({error!r}); reinstall qagate"
        ) from error
