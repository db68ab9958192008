"""The models qagate can use, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.default import DefaultModel, self_test
from models.inputs import QualityModel
from models.weights_file import MANIFEST, WEIGHTS, WeightsError, read_manifest

__all__ = ["DEFAULT", "MODELS", "ModelRow", "WeightsError", "load", "table"]

DEFAULT = "default"
MODELS: Mapping[str, type[DefaultModel]] = {"default": DefaultModel}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One line of `qagate models`."""

    name: str
    variant: str
    version: str
    parameters: int
    input: str
    score_range: tuple[float, float]
    source: str
    default: bool


def load(
    name: str = DEFAULT, *, device: str = "cpu", manifest: Path = MANIFEST, folder: Path = WEIGHTS
) -> QualityModel:
    """A model ready to predict, on "cpu", "cuda" or "cuda:N".

    Its files' sha256, shapes and a first answer are checked. Raises WeightsError naming file and mend,
    ValueError for an unknown name. Never touches the network.
    """
    entries = read_manifest(manifest)
    if name not in MODELS or name not in entries:
        raise ValueError(f"there is no model {name!r}; there are {', '.join(sorted(MODELS))}")
    model = MODELS[name].from_entry(entries[name], folder=folder, device=device)
    self_test(model)
    return model


def table(manifest: Path = MANIFEST) -> list[ModelRow]:
    """The models of the manifest, for people."""
    return [
        ModelRow(
            name=entry.name,
            variant=entry.variant,
            version=entry.version,
            parameters=entry.parameters,
            input=entry.input,
            score_range=entry.score_range,
            source=entry.source,
            default=entry.name == DEFAULT,
        )
        for entry in read_manifest(manifest).values()
    ]
