"""What there is to learn from: one image or series with what is known of it, whoever said so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.labels.sample import Sample, UnusableLabels, units

QUALITY = "quality"  #: the task of finetune; pretrain's are the keys of `train.physics.PARAMETERS`


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image or series. Holds no patient's identity: `unit` is a number in the order of the cases."""

    name: str  #: Series Instance UID or the image's name; no other case has it
    paths: tuple[Path, ...]  #: the image, or the DICOM files
    modality: str  #: "CT", "MR", ...; "" for a photograph
    unit: int  #: cases that share a patient, a study or a reference share it; no split parts it
    scanner: str = ""  #: what stands for the device; "" where unknown
    part: str = ""  #: "train", "validation" or "test" where the data set is divided already
    targets: Mapping[str, float]  #: task -> 0 (worst) to 1 (best)
    values: Mapping[str, float]  #: task -> the same in its own unit, for people


def from_samples(samples: Sequence[Sample]) -> list[Case]:
    """Labelled samples as cases. Raises UnusableLabels for a score outside its scale."""
    for one in samples:
        if one.mos not in one.scale:
            raise UnusableLabels(
                f"{one.name}: the score {one.mos:g} is outside its scale {one.scale}; mend one of them"
            )
    return [
        Case(
            name=one.name,
            paths=one.paths,
            modality=one.modality,
            unit=unit,
            scanner=one.station,
            part=one.part,
            targets={QUALITY: one.quality},
            values={QUALITY: one.mos},
        )
        for one, unit in zip(samples, numbered(units(samples)), strict=True)
    ]


def numbered(names: Sequence[str]) -> list[int]:
    """Names as numbers in the order in which they first appear, so that no name is kept."""
    seen: dict[str, int] = {}
    return [seen.setdefault(name, len(seen)) for name in names]
