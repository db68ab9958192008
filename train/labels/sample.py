"""What training gets: an image or a series, its opinion score, and what it must not be parted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qagate.assessment import Artefact
from qagate.label import Label, Scale

_SHOWN = 20  #: problems in one message


class UnusableLabels(ValueError):
    """Nothing can be trained on these labels; the message says why and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image, or one series, with the opinion its raters had of it."""

    name: str  #: of the image or series within its data set; no other sample has it
    paths: tuple[Path, ...]  #: the image, or the DICOM files of the series
    modality: str  #: "CT", "MR", ...; "" for a photograph
    mos: float  #: mean opinion score, on `scale`
    scale: Scale
    group: str  #: the reference image or volume it was made from; its own name where there is none
    patient: str = ""  #: stands for the patient and never leaves the run folder; "" where unknown
    study: str = ""  #: (0020,000D); "" outside DICOM
    station: str = ""  #: (0008,1010); "" where unknown
    part: str = ""  #: "train", "validation" or "test" where the publisher divided the set
    raters: int = 0  #: whose ratings are in `mos`; 0 where the publisher does not say
    deviation: float | None = None  #: standard deviation of the ratings, in units of `scale`
    artefacts: tuple[Artefact, ...] = ()  #: that half of the raters or more named
    labels: tuple[Label, ...] = ()  #: the house's own labels behind it

    @property
    def quality(self) -> float:
        """The opinion as quality, 0 (worst) to 1 (best)."""
        return self.scale.quality(self.mos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What was read: samples, what is missing or broken, and what to know of the rest."""

    samples: tuple[Sample, ...]
    problems: tuple[str, ...] = ()  #: a sentence for each study or row that gives no sample
    notes: tuple[str, ...] = ()  #: sentences that a reader of the figures should know

    def complete(self) -> Labelled:
        """Itself, where nothing is missing; raises UnusableLabels naming the problems."""
        if self.problems:
            more = len(self.problems) - _SHOWN
            lines = [*self.problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
            raise UnusableLabels(f"{len(self.problems)} problems with the labels:\n  " + "\n  ".join(lines))
        return self


class Related(Protocol):
    """What tells which samples must stay together."""

    @property
    def group(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def study(self) -> str: ...


def units(samples: Sequence[Related]) -> list[str]:
    """The name of each sample's unit: samples that share a patient, a study or a reference share it.

    No split may part a unit; folds take these names as their groups.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    keys = [
        [f"reference {one.group}"]
        + ([f"patient {one.patient}"] if one.patient else [])
        + ([f"study {one.study}"] if one.study else [])
        for one in samples
    ]
    for first, *others in keys:
        for other in others:
            a, b = sorted((root(first), root(other)))
            parent[b] = a  # the least name leads, whatever the order of the samples
    return [root(first) for first, *_ in keys]


def usable(samples: Sequence[Sample], parts: int = 2) -> None:
    """Raise UnusableLabels unless scores differ and there are units enough for `parts` of a split.

    Too few labels, or constant ones, otherwise show only after hours.
    """
    if not samples:
        raise UnusableLabels("there are no labelled images: import labels, or name a folder that has some")
    if len({one.name for one in samples}) < len(samples):
        raise UnusableLabels("two samples have one name: give each image and series one opinion")
    scores = {one.quality for one in samples}
    if len(scores) == 1:
        score = next(iter(samples)).mos
        raise UnusableLabels(
            f"all {len(samples)} labels say {score:g} of {samples[0].scale}: a model learns nothing from "
            "them; label better and worse images too"
        )
    there = len(set(units(samples)))
    if there < parts:
        raise UnusableLabels(
            f"{len(samples)} labelled images come from {there} patients or references, and {parts} parts of "
            f"a split need one each: label images of {parts - there} more, or ask for fewer folds"
        )
