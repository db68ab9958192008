"""The models that may become champion or challenger, as their manifests describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.house_folder import names, read_entry
from models.weights_file import WeightsError, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A trained model that may have a role."""

    name: str
    version: str
    variant: str
    weights_sha256: str
    modalities: tuple[str, ...]
    figures: Mapping[str, float]  #: from its card, on volumes it had not seen
    house: bool  #: the house's own


def trained(house: Path) -> tuple[TrainedModel, ...]:
    """The shipped ones, then the house's own from its folder; torch is not needed to list them.

    One of the house whose manifest cannot be read is left out: choosing it by name says why.
    """
    entries = [(entry, False) for entry in read_manifest().values()]
    for name in names(house):
        try:
            entries.append((read_entry(house, name), True))
        except WeightsError:
            continue
    return tuple(
        TrainedModel(
            name=entry.name,
            version=entry.version,
            variant=entry.variant,
            weights_sha256=entry.files[0].sha256,
            modalities=entry.modalities,
            figures=entry.figures,
            house=own,
        )
        for entry, own in entries
    )
