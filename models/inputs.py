"""What goes into a quality model and what comes out; the one way from pixels to network channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]

MODALITIES = ("CT", "MR")
CT_WINDOWS_HU = ((-160.0, 240.0), (-1000.0, 1000.0), (-25.0, 95.0))
HALVE_FROM = 384  #: pixels a side from which an image is averaged 2x2
MIN_SIDE = 32  #: pixels a side below which features have no meaning
MAX_SIDE = 8192  #: pixels a side above which an image is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceInput:
    """One slice to judge: pixels (H, W) float32, Hounsfield units for CT, arbitrary units for MR."""

    pixels: Pixels
    modality: str  #: "CT" or "MR"
    prompt: Mapping[str, str] = field(default_factory=dict)  #: part (`models.prompt.PARTS`) -> word


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOutput:
    """What a model concludes of one slice."""

    score: float  #: on the model's own scale (`QualityModel.score_range`), higher is better
    quality: float  #: 0 to 1, higher is better; a monotone map of the score fitted on unseen subjects
    artefacts: Mapping[str, float] = field(default_factory=dict)
    """Artefact type (a value of `qagate.assessment.Artefact`, or "none") -> probability, summing to 1;
    empty when the model names none."""
    out_of_distribution: float | None = None
    """Distance to the training images, 0 at their centre; above 1 the image resembles no slice the model
    knows, and score and quality mean nothing. None when the model cannot tell."""
    uncertainty: float | None = None
    """Entropy of the model's distribution over grades, 0 (sure) to 1; None when it has none."""
    weight: float = 1.0
    """How much the slice counts beside the others of its series, > 0."""
    quality_map: Pixels | None = field(default=None, compare=False)
    """(h, w) scores of the whole image's patches, on the model's scale; None when the model has none."""


class QualityModel(Protocol):
    """What every entry of the registry answers."""

    name: str
    version: str
    weights_sha256: str
    score_range: tuple[float, float]
    modalities: tuple[str, ...]

    def predict(self, slices: Sequence[SliceInput]) -> list[SliceOutput]:
        """One output a slice, in order. Raises ValueError for a slice that cannot be judged."""
        ...


def check(item: SliceInput, modalities: Sequence[str] = MODALITIES) -> None:
    """Raise ValueError naming what is wrong with the slice and what would be right."""
    if item.modality not in modalities:
        raise ValueError(
            f"modality {item.modality!r} is not supported; this model knows {', '.join(modalities)}"
        )
    if item.pixels.ndim != 2:
        raise ValueError(f"pixels have shape {item.pixels.shape}; one slice is (rows, columns)")
    low, high = min(item.pixels.shape), max(item.pixels.shape)
    if low < MIN_SIDE or high > MAX_SIDE:
        shape = f"{item.pixels.shape[0]}x{item.pixels.shape[1]}"
        raise ValueError(f"image of {shape} pixels; between {MIN_SIDE} and {MAX_SIDE} a side can be judged")
    if not np.isfinite(item.pixels).all():
        raise ValueError("pixels contain NaN or infinity; check the rescale slope and intercept")


def working_pixels(pixels: Pixels) -> Pixels:
    """Exact 2x2 means while both sides have at least `HALVE_FROM` pixels; never any other resizing."""
    work = np.asarray(pixels, dtype=np.float32)
    while min(work.shape) >= HALVE_FROM:
        rows, columns = work.shape[0] // 2 * 2, work.shape[1] // 2 * 2
        even = work[:rows, :columns]
        work = (even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]) * np.float32(0.25)
    return work


def channels(work: Pixels, modality: str) -> Pixels:
    """(C, H, W) in [0, 1]: three windows for CT; the 1st to 99.5th percentile for MR.

    work: (H, W) as `working_pixels` gives it. A constant MR image gives zeros.
    """
    if modality == "CT":
        return np.stack([np.clip((work - low) / (high - low), 0, 1) for low, high in CT_WINDOWS_HU])
    low, high = (float(v) for v in np.percentile(work, (1.0, 99.5)))
    if high - low <= 1e-6 * max(abs(high), abs(low), 1e-30):
        return np.zeros((1, *work.shape), np.float32)
    return np.asarray(np.clip((work - low) / (high - low), 0, 1)[None], dtype=np.float32)
