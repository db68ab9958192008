"""Runs a quality model over the slices of many series at once. The only gate module that knows models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import structlog
import torch

from models.inputs import QualityModel, SliceInput, SliceOutput, check
from models.prompt import PARTS
from qagate.assessment import Prompt, QualityMap, SliceScore
from qagate.gate.slices import BODY_HU
from qagate.image import SliceImage
from qagate.reason import Reason

log = structlog.get_logger(__name__)

MAP_SIDE = 32  #: cells a side of a kept quality map, at most
_BODY_SHARE = 0.1  #: of a cell, below which it shows air
# torch before 2.8 says it with a RuntimeError
_LOST_ERROR: type[RuntimeError] = getattr(torch, "AcceleratorError", RuntimeError)
_LOST_WORDS = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "CUDNN_STATUS")
_SIGNAL = 0.08  #: of the range from the 1st to the 99.5th percentile, below which it is air, CT aside
_WORST_SHARE = 0.5  #: weight of the worst third against the mean of all slices


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesScore:
    """The model's answer for one series."""

    quality: float | None  #: 0 to 1; None when not assessed
    score: float | None  #: weighted mean of the slice scores, on the model's own scale
    slices: tuple[SliceScore, ...] = ()
    not_assessed: str | None = None


class DeviceLost(RuntimeError):
    """The accelerator stopped answering; only a new process can use it again."""


def is_device_trouble(error: Exception) -> bool:
    """Tell whether an error is the accelerator's: out of memory, lost, or broken down."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    if _LOST_ERROR is not RuntimeError and isinstance(error, _LOST_ERROR):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _LOST_WORDS)


class Scorer:
    """Scores slices in batches that may span series; halves a batch that does not fit the device.

    on_cpu: loads the same model onto the CPU, for what the device cannot do; None: it is there already. A
    single slice that does not fit is scored there; once the device is lost everything is.
    """

    def __init__(
        self,
        model: QualityModel,
        *,
        max_batch: int = 32,
        on_cpu: Callable[[], QualityModel] | None = None,
    ) -> None:
        self._model, self._max_batch = model, max_batch
        self._on_cpu = on_cpu
        self._spare: QualityModel | None = None
        self.device_lost = False  #: the worker should end, so that a new process finds the device again
        self.model_name = model.name
        self.model_version = model.version
        self.weights_sha256 = model.weights_sha256

    def score(
        self, series: Sequence[Sequence[SliceImage]], prompts: Sequence[Prompt] = ()
    ) -> list[SeriesScore]:
        """Score the salient slices of each series; one result for each, in order.

        prompts: one a series; none means that nothing is known of any.
        """
        refused = [self._refusal(slices) for slices in series]
        known = [_words(prompt) for prompt in prompts] or [{}] * len(series)
        flat = [
            _input(image, words)
            for slices, words, reason in zip(series, known, refused, strict=True)
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
                check(_input(image, {}), self._model.modalities)
        except ValueError as error:
            return str(error)
        return None

    def _predict(self, inputs: Sequence[SliceInput]) -> Iterator[SliceOutput]:
        start, size = 0, self._max_batch
        while start < len(inputs):
            batch = inputs[start : start + size]
            try:
                outputs = (self._spare if self.device_lost and self._spare else self._model).predict(batch)
            except RuntimeError as error:
                memory = isinstance(error, torch.cuda.OutOfMemoryError)
                if memory and size > 1:
                    size //= 2
                    log.warning("batch_halved", slices=size)
                    torch.cuda.empty_cache()
                    continue
                if self._on_cpu is None or self.device_lost or not is_device_trouble(error):
                    raise
                log.error("scoring_on_cpu", reason=Reason("out of memory" if memory else "device lost"))
                self._spare = self._spare or self._on_cpu()
                self.device_lost = not memory
                outputs = self._spare.predict(batch)
            yield from outputs
            start += size


def _input(image: SliceImage, words: Mapping[str, str]) -> SliceInput:
    return SliceInput(pixels=image.pixels, modality=image.header.modality, prompt=words)


def _words(prompt: Prompt) -> dict[str, str]:
    return {part: getattr(prompt, part) for part in PARTS}


def map_of(scores: npt.NDArray[np.float32], image: SliceImage) -> QualityMap:
    """(h, w) scores in 256 steps; sides above MAP_SIDE are averaged down.

    Cells that hold next to nothing of the body count as the best of the slice: what a model makes of air
    points nobody to anything.
    """
    sides = (min(scores.shape[0], MAP_SIDE), min(scores.shape[1], MAP_SIDE))
    values = _averaged(scores, sides)
    body = _averaged(_body(image), sides) >= _BODY_SHARE
    if body.any():
        values[~body] = values[body].max()
    low, high = float(values.min()), float(values.max())
    steps = np.rint((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return QualityMap(rows=sides[0], columns=sides[1], low=low, high=high, cells=steps.tobytes())


def _averaged(values: npt.NDArray[np.float32], sides: tuple[int, int]) -> npt.NDArray[np.float32]:
    found = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(values)[None], sides)[0]
    return np.asarray(found.numpy(), dtype=np.float32)


def _body(image: SliceImage) -> npt.NDArray[np.float32]:
    """1 where the slice shows more than air, of every fourth row and column where there are enough."""
    step = 4 if min(image.pixels.shape) >= 4 * MAP_SIDE else 1
    pixels = image.pixels[::step, ::step]
    if image.header.modality == "CT":
        return (pixels > BODY_HU).astype(np.float32)
    low, high = np.percentile(pixels, (1.0, 99.5))
    return np.asarray(pixels > low + _SIGNAL * (high - low), dtype=np.float32)


def pool(slices: Sequence[SliceImage], outputs: Sequence[SliceOutput]) -> SeriesScore:
    """Join slice scores: half the mean of all by the model's weights, half the mean of the worst third.

    A mean alone hides motion that spoils a few slices; a minimum alone follows the noise of one slice.
    A series most of whose slices look like nothing the model was trained on is not assessed.
    Slices are numbered as given.
    """
    total = sum(output.weight for output in outputs)
    weights = [output.weight / total for output in outputs]
    scores = tuple(
        SliceScore(
            sop_instance_uid=image.header.sop_instance_uid,
            frame_number=image.header.frame_number,
            slice_number=number,
            score=output.score,
            quality=output.quality,
            artefacts=output.artefacts,
            uncertainty=output.uncertainty,
            weight=weight,
            quality_map=None if output.quality_map is None else map_of(output.quality_map, image),
        )
        for number, (image, output, weight) in enumerate(zip(slices, outputs, weights, strict=True), start=1)
    )
    strange = sum((output.out_of_distribution or 0) > 1 for output in outputs)
    if 2 * strange > len(outputs):
        reason = f"{strange} of {len(outputs)} scored slices look like nothing the model was trained on"
        return SeriesScore(quality=None, score=None, slices=scores, not_assessed=reason)
    quality = np.array([output.quality for output in outputs])
    worst = np.sort(quality)[: max(1, len(quality) // 3)]
    return SeriesScore(
        quality=float(_WORST_SHARE * worst.mean() + (1 - _WORST_SHARE) * np.dot(weights, quality)),
        score=float(np.dot(weights, [output.score for output in outputs])),
        slices=scores,
    )
