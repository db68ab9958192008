"""The models qagate can use, by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.default import DefaultModel
from models.house_folder import find, names, read_entry
from models.inputs import QualityModel, SliceInput
from models.weights_file import MANIFEST, WEIGHTS, ModelEntry, WeightsError, read_manifest

__all__ = ["DEFAULT", "ModelRow", "WeightsError", "load", "open_entry", "table"]

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One line of `qagate models`."""

    name: str
    variant: str
    version: str  #: empty for what has no weights: a network to be trained, a metric
    parameters: int
    input: str
    score_range: tuple[float | None, float | None]  #: None: unbounded
    source: str
    default: bool
    trained: bool  #: whether the gate can use it now


def load(
    name: str = DEFAULT,
    *,
    device: str = "cpu",
    manifest: Path = MANIFEST,
    folder: Path = WEIGHTS,
    house: Path | None = None,
) -> QualityModel:
    """A model ready to predict, on "cpu", "cuda" or "cuda:N".

    house: folder of the house's own models (`models.house_folder`), looked through after the shipped ones.
    The files' sha256, configuration, shapes and a first answer are checked. Raises WeightsError naming file
    and mend, ValueError for an unknown name. Never touches the network.
    """
    entry = find(name, manifest=manifest, folder=house)
    if house is not None and name not in read_manifest(manifest):
        folder = house
    return open_entry(entry, folder=folder, device=device)


def open_entry(entry: ModelEntry, *, folder: Path, device: str = "cpu") -> QualityModel:
    """What a manifest's entry names, checked as `load` does."""
    model: QualityModel
    if entry.network == DEFAULT:
        model = DefaultModel.from_entry(entry, folder=folder, device=device)
    else:
        from models.network_model import NetworkModel  # timm and all networks: slow to import

        model = NetworkModel.from_entry(entry, folder=folder, device=device)
    _self_test(model)
    return model


def _self_test(model: QualityModel) -> None:
    """Judge one small synthetic slice a modality. Raises WeightsError when an answer is not finite."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = (x**2 + y**2 < 0.6).astype(np.float32)
    for modality in model.modalities:
        pixels = disc * 1000 - 1000 * (modality == "CT")
        (answer,) = model.predict([SliceInput(pixels=pixels, modality=modality)])
        values = [answer.score, answer.quality, answer.out_of_distribution or 0, *answer.artefacts.values()]
        if not np.isfinite(values).all():
            raise WeightsError(
                f"model {model.name} answers {modality} with NaN or infinity; reinstall qagate or train again"
            )


def table(manifest: Path = MANIFEST, *, house: Path | None = None) -> list[ModelRow]:
    """What exists, for people: trained models (also the house's), then networks to train, then metrics."""
    own = [] if house is None else [read_entry(house, name) for name in names(house)]
    return [*_trained([*read_manifest(manifest).values(), *own]), *_networks(), *_metrics()]


def _trained(entries: Sequence[ModelEntry]) -> list[ModelRow]:
    return [
        ModelRow(
            name=entry.name,
            variant=entry.variant,
            version=entry.version,
            parameters=entry.parameters,
            input=entry.input,
            score_range=_ends(*entry.score_range),
            source=entry.source,
            default=entry.name == DEFAULT,
            trained=True,
        )
        for entry in entries
    ]


def _ends(low: float, high: float) -> tuple[float | None, float | None]:
    return low if math.isfinite(low) else None, high if math.isfinite(high) else None


def _networks() -> list[ModelRow]:
    from models.networks import NETWORKS, parameter_count

    return [
        ModelRow(
            name=name,
            variant=variant,
            version="",
            parameters=parameter_count(name, variant),
            input=network.input,
            score_range=network.score_range,
            source=network.source,
            default=False,
            trained=False,
        )
        for name, network in NETWORKS.items()
        for variant in network.variants
    ]


def _metrics() -> list[ModelRow]:
    from models.metrics.full_reference import METRICS

    rows = [(name, "full reference", metric.range, metric.source) for name, metric in METRICS.items()]
    rows += [
        ("brisque", "no reference, features", (-math.inf, math.inf), "Mittal et al. 2012, BRISQUE"),
        ("niqe", "no reference, to be fitted to clean images", (0.0, math.inf), "Mittal et al. 2013, NIQE"),
    ]
    return [
        ModelRow(
            name=name,
            variant=variant,
            version="",
            parameters=0,
            input="one gray image" + (" and its reference" if variant == "full reference" else ""),
            score_range=_ends(low, high),
            source=source,
            default=False,
            trained=False,
        )
        for name, variant, (low, high), source in rows
    ]
