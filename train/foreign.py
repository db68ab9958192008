"""The direction in feature space that tells slices of a modality from pictures that are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.features import FeatureExtractor
from models.inputs import working_pixels
from train.dataset import Samples
from train.fit import sample_weights
from train.ridge import Features, Floats, Linear, fit, spread, standardise
from train.strangers import Stranger

RIDGE = 3.0  #: penalty as a multiple of the number of features
QUANTILE = 0.999  #: of the images of left-out subjects that stay below the limit
FOLDS = 5  #: of the pictures; crops of one stay together


def stranger_features(strangers: Sequence[Stranger], modality: str, backbone: Path) -> Features:
    """(M, F)."""
    extract = FeatureExtractor(backbone)
    found = [extract([working_pixels(one.pixels)], modality)[0].numpy() for one in strangers]
    return np.asarray(found, dtype=np.float32)


def direction(samples: Samples, strange: Features) -> Linear:
    """0 for the samples, 1 for the strangers (M, F), which weigh the same; standardised by the samples."""
    own = sample_weights(samples)
    mean, scale = spread(samples.features, own)
    z = [standardise(features, mean, scale) for features in (samples.features, strange)]
    weights = np.concatenate([own / own.sum(), np.full(len(strange), 1 / len(strange))])
    wanted = np.concatenate([np.zeros(len(own)), np.ones(len(strange))])
    found = fit(np.concatenate(z).astype(np.float32), wanted[:, None], weights, RIDGE)
    weight = found.weight / found.scale[:, None]
    return Linear(mean=mean, scale=scale, weight=weight, bias=found.bias - found.mean @ weight)


def held_out(samples: Samples, strange: Features, names: Sequence[str]) -> tuple[Floats, Floats]:
    """What directions say that saw neither: of each sample's subject (N,), of each picture (M,).

    names: (M,) the picture, or any wider group, that each stranger was cut from.
    """
    own, theirs = np.zeros(len(samples)), np.zeros(len(strange))
    for subject in np.unique(samples.subject):
        out = samples.subject == subject
        own[out] = direction(samples.where(~out), strange)(samples.features[out])[:, 0]
    _, group = np.unique(names, return_inverse=True)
    part = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
    for fold in range(FOLDS):
        out = part == fold
        if out.any():
            theirs[out] = direction(samples, strange[~out])(strange[out])[:, 0]
    return own, theirs


def limit_of(own: Floats) -> float:
    """The limit, from what `held_out` says of the samples."""
    return float(np.quantile(own, QUANTILE))


def foreign(samples: Samples, strange: Features, limit: float) -> npt.NDArray[np.float32]:
    """(F + 1,) `models.default.Head.foreign`; its head is standardised by the same samples."""
    found = direction(samples, strange)
    return np.append(found.weight[:, 0], found.bias).astype(np.float32) / np.float32(limit)
