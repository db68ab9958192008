"""The rivals: every single measure of the gate, all of them together, and BRISQUE, on the same images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.inputs import channels, working_pixels
from models.metrics.no_reference import brisque_features
from qagate.gate.measures import MEASURES, slice_measures
from qagate.image import SliceHeader, SliceImage
from train.dataset import Recipe, Samples, in_parallel, ladders
from train.evaluation.correlation import srocc
from train.fit import labels, leave_subjects_out
from train.references import Reference, load

Floats = npt.NDArray[np.float64]

NAMES = tuple(name for name, spec in MEASURES.items() if spec.per_slice)
FORMAT = 1  #: raise when measures change
FORMAT_LADDERS = 7  #: raise when simulators or randomised copies change
COPIES = {"CT": 4, "MR": 1}  #: randomised copies that rivals learn from at most: more take long, gain little
MEASURED, BRISQUE = "all measures", "BRISQUE"
PENALTIES = (0.003, 0.03, 0.3, 3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """What the measures say of the references as they are (P images), higher for better."""

    single: dict[str, Floats]  #: measure -> (P,); its sign is the better one, what it lacks its median
    together: dict[str, Floats]  #: all measures, BRISQUE -> (P,) held-out scores at the best penalty


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Pooled SROCC against the consensus on the same held-out references; a rival's best sign or penalty."""

    single: dict[str, float]  #: measure -> |SROCC| where it could be computed
    measures: float  #: ridge on all measures
    brisque: float  #: ridge on BRISQUE's features


def compare(
    recipe: Recipe, modality: str, samples: Samples, folder: Path, cache: Path, processes: int
) -> Comparison:
    """samples: as `dataset.build` gives them, so that row i is the same image here and there."""
    references = [
        one for volume in recipe.volumes if volume.modality == modality for one in load(volume, folder)
    ]
    found = rivals(references, recipe, modality, samples, cache, processes)
    wanted = labels(samples)[samples.copy == 0]
    return Comparison(
        single={name: srocc(given, wanted) for name, given in found.single.items()},
        measures=srocc(found.together[MEASURED], wanted),
        brisque=srocc(found.together[BRISQUE], wanted),
    )


def rivals(
    references: Sequence[Reference],
    recipe: Recipe,
    modality: str,
    samples: Samples,
    cache: Path,
    processes: int,
) -> Rivals:
    """references: those that the samples were made of, in order."""
    copies = min(recipe.randomised[modality], COPIES[modality])
    jobs = [(reference, copy, recipe, cache) for reference in references for copy in range(1 + copies)]
    values = np.concatenate(in_parallel(_cached, jobs, processes))
    label, known = labels(samples), samples.copy <= copies
    samples, label = samples.where(known), label[known]
    measured, brisque = values[:, : len(NAMES)], values[:, len(NAMES) :]
    plain = samples.copy == 0
    single = {}
    for name, column in zip(NAMES, measured[plain].T, strict=True):
        there = np.isfinite(column)
        if there.mean() > 0.5 and np.ptp(column[there]) > 0:
            sign = np.sign(srocc(column[there], label[plain][there]))
            single[name] = sign * np.where(there, column, np.median(column[there]))
    return Rivals(
        single=single,
        together={MEASURED: _best(samples, measured, label), BRISQUE: _best(samples, brisque, label)},
    )


def _best(samples: Samples, values: Floats, label: Floats) -> Floats:
    """(P,) held-out scores of a ridge on the values and their logarithms, at the best penalty."""
    known = np.isfinite(values).any(axis=0)
    values = values[:, known]
    filled = np.where(np.isfinite(values), values, np.nanmedian(values, axis=0))
    with_logs = np.hstack([filled, np.log(np.abs(filled) + 1e-3)]).astype(np.float32)
    rival, plain = dataclasses.replace(samples, features=with_logs), samples.copy == 0
    found = [leave_subjects_out(rival, label, penalty).score[plain] for penalty in PENALTIES]
    return max(found, key=lambda score: srocc(score, label[plain]))


def _cached(reference: Reference, copy: int, recipe: Recipe, cache: Path) -> Floats:
    told = json.dumps([FORMAT, FORMAT_LADDERS, NAMES, reference.name, copy, recipe.seed, recipe.severities])
    key = hashlib.sha256(told.encode() + reference.pixels.tobytes()).hexdigest()[:24]
    path = cache / f"rivals-{key}.npy"
    if path.is_file():
        return np.asarray(np.load(path))
    torch.set_num_threads(1)
    rows = np.array([_row(pixels, reference.modality) for _, _, pixels in ladders(reference, copy, recipe)])
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npy")
    np.save(temporary, rows)
    temporary.rename(path)
    return rows


def _row(pixels: npt.NDArray[np.float32], modality: str) -> Floats:
    rows, columns = pixels.shape
    spacing = 380.0 / max(rows, columns) if modality == "CT" else 1.0
    header = SliceHeader(
        path="", sop_instance_uid="", sop_class_uid="", modality=modality, rows=rows, columns=columns,
        pixel_spacing_mm=(spacing, spacing),
    )  # fmt: skip
    found = slice_measures(SliceImage(header=header, pixels=pixels))
    gray = channels(working_pixels(pixels), modality)[0]
    return np.concatenate([[found.get(name, np.nan) for name in NAMES], brisque_features(gray)])
