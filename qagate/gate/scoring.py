"""Runs a quality model over the slices of many series at once. The only gate module that knows models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
import torch

from models.inputs import QualityModel, SliceInput, SliceOutput, check
from qagate.assessment import SliceScore
from qagate.image import SliceImage

log = structlog.get_logger(__name__)

_WORST_SHARE = 0.5  #: weight of the worst third against the mean of all slices


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesScore:
    """The model's answer for one series."""

    quality: float | None  #: 0 to 1; None when not assessed
    score: float | None  #: mean slice score on the model's own scale
    slices: tuple[SliceScore, ...] = ()
    not_assessed: str | None = None


class Scorer:
    """Scores slices in batches that may span series; halves a batch that does not fit the device."""

    def __init__(self, model: QualityModel, *, max_batch: int = 32) -> None:
        self._model, self._max_batch = model, max_batch
        self.model_name = model.name
        self.model_version = model.version
        self.weights_sha256 = model.weights_sha256

    def score(self, series: Sequence[Sequence[SliceImage]]) -> list[SeriesScore]:
        """Score the salient slices of each series; one result for each, in order."""
        refused = [self._refusal(slices) for slices in series]
        flat = [
            _input(image)
            for slices, reason in zip(series, refused, strict=True)
            if reason is None
            for image in slices
        ]
        outputs = iter(self._predict(flat))
        return [
            SeriesScore(quality=None, score=None, not_assessed=reason)
            if reason is not None
            else pool(slices, [next(outputs) for _ in slices])
            for slices, reason in zip(series, refused, strict=True)
        ]

    def _refusal(self, slices: Sequence[SliceImage]) -> str | None:
        if not slices:
            return "the series has no slice to score"
        modality = slices[0].header.modality
        if modality not in self._model.modalities:
            known = " and ".join(self._model.modalities)
            return f"the model {self.model_name} knows {known}, not {modality or 'an unnamed modality'}"
        try:
            for image in slices:
                check(_input(image))
        except ValueError as error:
            return str(error)
        return None

    def _predict(self, inputs: Sequence[SliceInput]) -> Iterator[SliceOutput]:
        start, size = 0, self._max_batch
        while start < len(inputs):
            try:
                outputs = self._model.predict(inputs[start : start + size])
            except torch.cuda.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                log.warning("batch_halved", slices=size)
                torch.cuda.empty_cache()
                continue
            yield from outputs
            start += size


def _input(image: SliceImage) -> SliceInput:
    return SliceInput(pixels=image.pixels, modality=image.header.modality)


def pool(slices: Sequence[SliceImage], outputs: Sequence[SliceOutput]) -> SeriesScore:
    """Join slice scores: half the mean of all, half the mean of the worst third.

    A mean alone hides motion that spoils a few slices; a minimum alone follows the noise of one slice.
    A series most of whose slices look like nothing the model was trained on is not assessed.
    Slices are numbered as given.
    """
    scores = tuple(
        SliceScore(
            sop_instance_uid=image.header.sop_instance_uid,
            frame_number=image.header.frame_number,
            slice_number=number,
            score=output.score,
            quality=output.quality,
            artefacts=output.artefacts,
        )
        for number, (image, output) in enumerate(zip(slices, outputs, strict=True), start=1)
    )
    strange = sum(output.out_of_distribution > 1 for output in outputs)
    if 2 * strange > len(outputs):
        reason = f"{strange} of {len(outputs)} scored slices look like nothing the model was trained on"
        return SeriesScore(quality=None, score=None, slices=scores, not_assessed=reason)
    quality = np.sort([output.quality for output in outputs])
    worst = quality[: max(1, len(quality) // 3)]
    return SeriesScore(
        quality=float(_WORST_SHARE * worst.mean() + (1 - _WORST_SHARE) * quality.mean()),
        score=float(np.mean([output.score for output in outputs])),
        slices=scores,
    )
