"""A trained network as the gate uses it: slices in, scores and quality out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from models import network_file
from models.fast.engine import accelerate
from models.fast.precision import Precision, fast_precisions
from models.heat_map import heat_map
from models.inputs import SliceInput, SliceOutput, check
from models.mediqa import Mediqa
from models.network_file import Calibration, TrainedNetwork
from models.output import Output, distribution, entropy
from models.prompt import PromptVocabulary
from models.weights_file import WEIGHTS, ModelEntry, WeightsError, verified

CAM_SLICES = 3  #: worst slices of a batch that get a Grad-CAM map, at most
CAM_BELOW = 0.5  #: quality below which they do


class NetworkModel:
    """See the module; `predict` is deterministic on one machine. Not safe to share between threads."""

    def __init__(
        self, trained: TrainedNetwork, *, entry: ModelEntry, sha256: str, device: str = "cpu"
    ) -> None:
        self.name, self.version, self.weights_sha256 = entry.name, entry.version, sha256
        self.score_range, self.modalities = entry.score_range, entry.modalities
        self._prepare, self._calibration = trained.preparation, trained.calibration
        module = trained.module
        self._vocabulary: PromptVocabulary | None = (
            module.config.vocabulary if isinstance(module, Mediqa) and module.prompts is not None else None
        )
        self._explained = module if hasattr(module, "cam_layer") else None
        self._network = accelerate(module, device=device, precision=_precision(trained, device))

    @classmethod
    def from_entry(cls, entry: ModelEntry, *, folder: Path = WEIGHTS, device: str = "cpu") -> Self:
        """Load what the manifest names. Raises WeightsError naming the file."""
        (file,) = entry.files
        trained = network_file.load(verified(file, folder))
        if trained.network != entry.network:
            raise WeightsError(
                f"weights {file.file} are of {trained.network}, the manifest says {entry.network}; "
                "train again"
            )
        return cls(trained, entry=entry, sha256=file.sha256, device=device)

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        """One output a slice, in order. Raises ValueError naming the first slice that cannot be judged."""
        for number, item in enumerate(slices, 1):
            try:
                check(item, self.modalities)
            except ValueError as error:
                raise ValueError(f"slice {number} of {len(slices)}: {error}") from error
        if not slices:
            return []
        images = torch.stack([self._prepare(item.pixels, item.modality) for item in slices])
        found = self._network(images, *self._prompts(slices))
        return self._with_cam(images, _outputs(found, self._calibration))

    def _with_cam(self, images: Tensor, outputs: list[SliceOutput]) -> list[SliceOutput]:
        """Grad-CAM maps of the worst slices, where the network has no patch scores.

        It costs a pass forward and one back, so only slices that somebody will look at are worth it: at most
        CAM_SLICES, of quality below CAM_BELOW. What speaks for the score stands above it, the rest below.
        """
        worst = sorted(range(len(outputs)), key=lambda n: outputs[n].quality)[:CAM_SLICES]
        worst = [n for n in worst if outputs[n].quality < CAM_BELOW and outputs[n].quality_map is None]
        if self._explained is None or not worst:
            return outputs
        cams = heat_map(self._explained, images[worst]).cpu().numpy()
        for n, cam in zip(worst, cams, strict=True):
            outputs[n] = replace(outputs[n], quality_map=np.float32(outputs[n].score) + cam - cam.mean())
        return outputs

    def _prompts(self, slices: Sequence[SliceInput]) -> tuple[Tensor, ...]:
        if self._vocabulary is None:
            return ()
        return (torch.tensor([_encode(self._vocabulary, item) for item in slices]),)


def _precision(trained: TrainedNetwork, device: str) -> Precision:
    """The format the network was found to bear, where this device multiplies it fast."""
    return trained.precision if trained.precision in fast_precisions(device) else "fp32"


def _encode(vocabulary: PromptVocabulary, item: SliceInput) -> tuple[float, ...]:
    """The slice's prompt; words the network was not built for count as unknown."""
    words = {"modality": item.modality, **item.prompt}
    known = {part: word for part, word in words.items() if word in vocabulary.words(part)}
    return vocabulary.encode(**known)


def _outputs(found: Output, calibration: Calibration) -> list[SliceOutput]:
    scores = found.score.double().cpu().numpy()
    quality = 1 / (1 + np.exp(-np.clip((scores - calibration.middle) / calibration.spread, -60, 60)))
    unsure = None if found.logits is None else entropy(distribution(found.logits)).cpu().numpy()
    maps = None if found.patch_scores is None else found.patch_scores.flatten(0, -3).float().cpu().numpy()
    if maps is not None and len(maps) != len(scores):
        maps = None  # of crops
    logits = None if found.slice_logits is None else found.slice_logits.flatten().cpu().numpy()
    return [
        SliceOutput(
            score=float(score),
            quality=float(quality[i]),
            uncertainty=None if unsure is None else float(unsure[i]),
            quality_map=None if maps is None else maps[i],
            weight=1.0 if logits is None else float(np.exp(np.clip(logits[i], -30, 30))),
        )
        for i, score in enumerate(scores)
    ]
