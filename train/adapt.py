"""Adapt the default model to a house without labels: its own accepted series, degraded, teach new heads.

The backbone stays; the head of each modality with patients enough is fitted as if the house's series had been
among those it was trained on. What comes out is a challenger like any other: it is compared and promoted,
never switched on by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from models.default import PARTS, Head, read_heads
from models.weights_file import WEIGHTS
from train.dataset import Recipe, Samples, Taught, build_references
from train.evaluation.ladders import Figures, figures
from train.fit import (
    PLAIN,
    SEEN_FROM,
    HeldOut,
    balance,
    calibrate,
    labels,
    protocols,
    sample_weights,
    seen_as,
)
from train.prior import Prior, update
from train.references import Reference
from train.ridge import group_means, standardise

Floats = npt.NDArray[np.float64]

FEWEST_SUBJECTS = 3  #: of one modality; with fewer nothing can be held out
FOLDS = 10  #: parts the subjects are held out in; one each where they are fewer
IMAGES = 3500.0  #: images the shipped heads were fitted on, about; a third or thrice of it changes little


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """One modality's new head, and how it and the old one do on subjects left out of its training."""

    head: Head
    subjects: int
    images: int
    new: Figures
    old: Figures


def adapt(
    references: Sequence[Reference],
    recipe: Recipe,
    cache: Path,
    *,
    processes: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Adapted]:
    """Modality -> its new head. Raises ValueError when no modality has subjects enough."""
    found: dict[str, Adapted] = {}
    heads = read_heads(WEIGHTS / "default.safetensors")
    for modality in sorted({reference.modality for reference in references}):
        mine = [reference for reference in references if reference.modality == modality]
        subjects = len({reference.subject for reference in mine})
        if subjects < FEWEST_SUBJECTS:
            progress(f"{modality}: {subjects} patients; {FEWEST_SUBJECTS} are needed, its head stays")
            continue
        progress(f"{modality}: degrading {len(mine)} slices of {subjects} patients")
        samples = build_references(mine, recipe, cache, WEIGHTS / "lite0.safetensors", processes)
        found[modality] = _fit(samples, recipe, recipe.taught.get(modality, PLAIN), heads[modality])
    if not found:
        raise ValueError(
            f"no modality has accepted series of {FEWEST_SUBJECTS} patients; name more folders, or wait"
        )
    return found


def _fit(samples: Samples, recipe: Recipe, taught: Taught, old: Head) -> Adapted:
    label = labels(samples)
    held_out = _leave_subjects_out(samples, label, recipe.ridge, taught, old)
    plain = samples.copy == 0
    before = scores(samples, old)
    new = moved(old, samples, label, recipe.ridge, taught)
    limit = max(1.0, 1.1 * float(np.quantile(held_out.strangeness, 0.999)))
    head = replace(
        new,
        calibration=np.array(calibrate(samples, held_out, old.types), dtype=np.float32),
        ood_scale=np.append(old.ood_scale[:-1], old.ood_scale[-1] * limit).astype(np.float32),
        foreign=(old.foreign / limit).astype(np.float32),
    )
    return Adapted(
        head=head,
        subjects=len(set(samples.subject)),
        images=len(samples),
        new=figures(samples.where(plain), held_out.score[plain], label[plain]),
        old=figures(samples.where(plain), before[plain], label[plain]),
    )


def _standardised(samples: Samples, head: Head) -> Floats:
    return standardise(samples.features, head.mean.astype(np.float64), head.scale.astype(np.float64))


def scores(samples: Samples, head: Head) -> Floats:
    """(N,) what a head says of samples."""
    return np.asarray(_standardised(samples, head) @ head.weight[:, 0] + head.bias[0])


def moved(
    old: Head,
    samples: Samples,
    label: Floats,
    ridge: float,
    taught: Taught = PLAIN,
    images: float = IMAGES,
) -> Head:
    """The old head as it would be had these samples been among its own; calibration and limit stay.

    ridge, taught: how it was fitted. images: how many it was fitted on. See `train.prior`.
    """
    z = _standardised(samples, old)
    prior = Prior(
        axes=old.ood_axes.astype(np.float64),
        along=old.ood_scale[:-2].astype(np.float64),
        off=float(old.ood_scale[-2]),
        images=images,
        ridge=ridge,
    )
    weights, groups = sample_weights(samples), protocols(samples)
    told = (samples.artefact == "none") | (samples.severity >= SEEN_FROM)
    kinds = (seen_as(samples)[told, None] == np.array(old.types)[None, :]).astype(np.float64)
    weight, bias = old.weight.astype(np.float64), old.bias.astype(np.float64)
    every = np.ones(len(samples), bool)
    for rows, targets, of, columns, penalty, within in (
        (every, label[:, None], weights, slice(0, 1), taught.ridge, taught.within),
        (told, kinds, weights[told] * balance(kinds), slice(1, None), taught.type_ridge, taught.type_within),
    ):
        x, left = z[rows], targets - (z[rows] @ weight[:, columns] + bias[columns])
        if within:
            x, left = (values - within * group_means(values, of, groups[rows]) for values in (x, left))
        more, shift = update(x, left, of, replace(prior, ridge=penalty or ridge))
        weight[:, columns] += more
        bias[columns] += shift
    return replace(old, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _leave_subjects_out(samples: Samples, label: Floats, ridge: float, taught: Taught, old: Head) -> HeldOut:
    score, kinds = np.zeros(len(samples)), np.zeros((len(samples), len(old.types)))
    z = _standardised(samples, old)
    part = np.unique(samples.subject, return_inverse=True)[1] % FOLDS
    for fold in range(FOLDS):
        out = part == fold
        if not out.any():
            continue
        head = moved(old, samples.where(~out), label[~out], ridge, taught)
        targets = z[out] @ head.weight + head.bias
        score[out], kinds[out] = targets[:, 0], targets[:, 1:]
    strange = old.strangeness(z.astype(np.float32)).astype(np.float64)
    return HeldOut(score=score, kinds=kinds, strangeness=strange)


def write(adapted: dict[str, Adapted], path: Path, version: str) -> None:
    """Write the heads as a default model's file; modalities that were not adapted keep the shipped head."""
    heads = read_heads(WEIGHTS / "default.safetensors") | {m: one.head for m, one in adapted.items()}
    tensors = {
        f"{modality}.{part}": np.ascontiguousarray(getattr(head, part))
        for modality, head in heads.items()
        for part in PARTS
    }
    types = json.dumps({modality: list(head.types) for modality, head in heads.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"types": types, "version": version})


def summary(adapted: dict[str, Adapted]) -> str:
    """The figures as JSON, for the run's folder."""
    told = {
        modality: {
            "subjects": one.subjects,
            "images": one.images,
            "new": asdict(one.new),
            "old": asdict(one.old),
        }
        for modality, one in adapted.items()
    }
    return json.dumps(told, indent=1)
