"""Degraded copies of the references with their features and teachers' similarities, cached on disk."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from models.features import FeatureExtractor
from models.inputs import working_pixels
from train.consensus import TEACHERS, teach
from train.references import Reference, Volume, load
from train.simulate import SIMULATORS, degrade, randomise

Result = TypeVar("Result")
Floats = npt.NDArray[np.float64]
#: Raise when features, simulators or teachers change, so that old caches are not read.
FORMAT = {"CT": 6, "MR": 8}
FORMAT_COPIES = {"CT": 8, "MR": 9}  #: the same for what touches randomised copies only


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """How the heads of one modality are taught, beside the penalty. Raises ValueError outside its range."""

    ridge: float = 0.0  #: penalty of the score; 0: the recipe's
    within: float = 0.0  #: share of a protocol's mean taken away first (`train.ridge.fit`), for the score
    type_within: float = 0.0  #: the same for the types
    type_ridge: float = 0.0  #: penalty of the types; 0: the score's
    noise_slope: float = 0.0  #: score lost in a decade of the shortfall, the last feature; 0: it is fitted

    def __post_init__(self) -> None:
        if not (0 <= self.within <= 1 and 0 <= self.type_within <= 1):
            raise ValueError(f"{self}: within and type_within are 0 to 1")
        if min(self.ridge, self.type_ridge, self.noise_slope) < 0:
            raise ValueError(f"{self}: ridge, type_ridge and noise_slope are 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What `train/recipes/*.toml` says."""

    seed: int  #: of every random choice
    version: str  #: of the model that comes out
    severities: tuple[float, ...]  #: of each ladder, rising, 0 to 5
    randomised: dict[str, int]  #: modality -> further randomised copies of each reference
    ridge: float  #: penalty as a multiple of the number of features
    taught: Mapping[str, Taught] = field(default_factory=dict)  #: by modality; as by default where none is
    strangers: bool = False  #: teach what is no slice of the modality (`train.strangers`)
    volumes: tuple[Volume, ...] = field(default=())

    def __post_init__(self) -> None:
        if list(self.severities) != sorted(set(self.severities)) or not self.severities:
            raise ValueError(f"severities {self.severities} must rise")
        if self.ridge <= 0:
            raise ValueError(f"ridge {self.ridge} must be positive")


def read_recipe(path: Path) -> Recipe:
    """Raises TypeError or ValueError naming an unknown, missing or impossible key."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    volumes = tuple(Volume(**_frozen(one)) for one in raw.pop("volume"))
    taught = {modality: Taught(**one) for modality, one in raw.pop("taught", {}).items()}
    return Recipe(volumes=volumes, taught=taught, **_frozen(raw))


def _frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """N images. Row i of every array speaks of image i; severity 0 is the clean one, artefact "none"."""

    reference: npt.NDArray[np.str_]
    subject: npt.NDArray[np.str_]
    copy: npt.NDArray[np.int_]  #: 0 is the reference as it is, others are randomised
    artefact: npt.NDArray[np.str_]
    severity: Floats
    teachers: Floats  #: (N, 4)
    features: npt.NDArray[np.float32]  #: (N, F)

    def __len__(self) -> int:
        return len(self.severity)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Samples:
        return Samples(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


def join(parts: Sequence[Samples]) -> Samples:
    return Samples(
        **{n: np.concatenate([getattr(p, n) for p in parts]) for n in Samples.__dataclass_fields__}
    )


def ladders(
    reference: Reference, copy: int, recipe: Recipe
) -> Iterator[tuple[str, float, npt.NDArray[np.float32]]]:
    """(artefact, severity, pixels) of one copy of a reference: first the clean one, then every ladder.

    Copy 0 is the reference itself; every copy of every reference has artefact seeds of its own.
    """
    rng = np.random.default_rng(_seeds(recipe.seed, reference.name, copy))
    clean = reference.pixels if copy == 0 else randomise(reference.pixels, rng, reference.modality)
    yield "none", 0.0, clean
    for artefact in SIMULATORS[reference.modality]:
        seed = int(rng.integers(2**63))
        for severity in recipe.severities:
            moved = severity if copy == 0 else min(max(severity + rng.uniform(-0.4, 0.4), 0.5), 5.0)
            pixels = degrade(clean, artefact, moved, np.random.default_rng(seed), reference.modality)
            yield artefact, moved, pixels


def samples_of(reference: Reference, copy: int, recipe: Recipe, extract: FeatureExtractor) -> Samples:
    """The ladders of one copy with features and similarities."""
    rows = list(ladders(reference, copy, recipe))
    clean = rows[0][2]
    similar = [teach(clean, pixels, reference.modality) for _, _, pixels in rows]
    work = [working_pixels(pixels) for _, _, pixels in rows]
    count = len(rows)
    return Samples(
        reference=np.full(count, reference.name),
        subject=np.full(count, reference.subject),
        copy=np.full(count, copy),
        artefact=np.array([a for a, _, _ in rows]),
        severity=np.array([s for _, s, _ in rows]),
        teachers=np.array([[s[t] for t in TEACHERS] for s in similar]),
        features=extract(work, reference.modality).cpu().numpy(),
    )


def build(recipe: Recipe, folder: Path, cache: Path, weights: Path, processes: int = 2) -> dict[str, Samples]:
    """Modality -> samples of all its volumes; what the cache already holds is not computed again."""
    every = [reference for volume in recipe.volumes for reference in load(volume, folder)]
    return {
        modality: build_references(
            [one for one in every if one.modality == modality], recipe, cache, weights, processes
        )
        for modality in sorted({volume.modality for volume in recipe.volumes})
    }


def build_references(
    references: Sequence[Reference], recipe: Recipe, cache: Path, weights: Path, processes: int = 2
) -> Samples:
    """Samples of references of one modality."""
    cache.mkdir(parents=True, exist_ok=True)
    jobs = [
        (reference, copy, recipe, cache, weights)
        for reference in references
        for copy in range(1 + recipe.randomised[reference.modality])
    ]
    return join(in_parallel(_cached, jobs, processes))


def in_parallel(
    function: Callable[..., Result], jobs: Sequence[tuple[object, ...]], processes: int
) -> list[Result]:
    """`function(*job)` of every job, in order; in this process when `processes` is 1."""
    if processes <= 1:
        return [function(*job) for job in jobs]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.starmap(function, jobs, chunksize=1)


_extractors: dict[Path, FeatureExtractor] = {}


def _cached(reference: Reference, copy: int, recipe: Recipe, cache: Path, weights: Path) -> Samples:
    told = {**asdict(recipe), "volumes": None, "randomised": None, "ridge": None, "version": None}
    del told["taught"], told["strangers"]  # they touch no image
    version = (FORMAT_COPIES if copy else FORMAT)[reference.modality]
    key = json.dumps([version, reference.name, copy, told]).encode() + reference.pixels.tobytes()
    path = cache / f"{hashlib.sha256(key).hexdigest()[:24]}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return Samples(**{name: stored[name] for name in Samples.__dataclass_fields__})
    torch.set_num_threads(1)
    if weights not in _extractors:
        _extractors[weights] = FeatureExtractor(weights)
    samples = samples_of(reference, copy, recipe, _extractors[weights])
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(temporary, **{name: getattr(samples, name) for name in Samples.__dataclass_fields__})
    temporary.rename(path)
    return samples


def _seeds(seed: int, name: str, copy: int) -> list[int]:
    return [seed, copy, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")]
