"""The words of the MedIQA prompt and their encoding for a network; no torch, no DICOM.

Deviations:
- The paper joins four one-hots of widths it does not print; the authors' code uses one 64-way one-hot. Here
  four one-hots are joined and padded to 64, so that later words change no weight's shape.
- A word that is not known is all zeros in its part: the network then gets no push from it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

UNKNOWN = "unknown"
PARTS = ("dimension", "modality", "region", "type")

DIMENSIONS = ("2D", "3D")
MODALITIES = ("CT", "MR", "CR", "DX", "MG", "US", "OP", "XA", "RF", "NM", "PT")
REGIONS = (
    "head", "neck", "spine", "chest", "heart", "breast", "abdomen", "pelvis", "trunk", "shoulder", "arm",
    "hand", "hip", "leg", "knee", "foot", "eye", "vessel", "whole body",
)  # fmt: skip
MR_TYPES = (
    "t1", "t1 ce", "t2", "pd", "flair", "t2star", "swi", "dwi", "adc", "perfusion", "bold", "angio",
    "localizer",
)  # fmt: skip
CT_TYPES = ("soft", "soft ce", "bone", "bone ce", "lung", "lung ce", "localizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVocabulary:
    """The words a network was built for, in the order of its inputs. Raises ValueError for repeated words."""

    dimension: tuple[str, ...] = DIMENSIONS
    modality: tuple[str, ...] = MODALITIES
    region: tuple[str, ...] = REGIONS
    type: tuple[str, ...] = (*MR_TYPES, *(word for word in CT_TYPES if word not in MR_TYPES))
    width: int = 64  #: inputs of the network; those past the last word stay 0

    def __post_init__(self) -> None:
        for part in PARTS:
            words = self.words(part)
            if len(set(words)) != len(words) or UNKNOWN in words:
                raise ValueError(f"the {part} words {words} repeat one or name {UNKNOWN!r}")
        if (count := sum(len(self.words(part)) for part in PARTS)) > self.width:
            raise ValueError(f"{count} words do not fit {self.width} inputs")

    def words(self, part: str) -> tuple[str, ...]:
        """The words of one part. Raises ValueError for a part that does not exist."""
        if part not in PARTS:
            raise ValueError(f"{part!r} is no part of the prompt; there are {', '.join(PARTS)}")
        found: tuple[str, ...] = getattr(self, part)
        return found

    def encode(
        self,
        *,
        dimension: str = UNKNOWN,
        modality: str = UNKNOWN,
        region: str = UNKNOWN,
        type: str = UNKNOWN,
        parts: Collection[str] = PARTS,
    ) -> tuple[float, ...]:
        """`width` values, 1 at each known word and 0 elsewhere; parts left out stay 0.

        Raises ValueError for a word outside the vocabulary.
        Source: MedIQA, section 2.2, prompt-based upstream and downstream matching.
        """
        values = [0.0] * self.width
        start = 0
        for part, word in zip(PARTS, (dimension, modality, region, type), strict=True):
            words = self.words(part)
            if word != UNKNOWN:
                if word not in words:
                    raise ValueError(f"{part} {word!r} is not in the vocabulary: {', '.join(words)}")
                values[start + words.index(word)] = float(part in parts)
            start += len(words)
        return tuple(values)
