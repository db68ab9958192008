"""The direction in feature space that tells slices of a modality from pictures that are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.features import FeatureExtractor
from models.inputs import Pixels, working_pixels
from train.dataset import Samples
from train.fit import sample_weights
from train.ridge import Features, Floats, Linear, fit, spread, standardise

RIDGE = 3.0  #: penalty as a multiple of the number of features
QUANTILE = 0.999  #: of the images of left-out subjects that stay below the limit, before the margin
MARGIN = 1.15  #: a scanner never seen costs more when declined than a photograph when let through
SHARE = 0.2  #: weight of the test objects beside the samples
FOLDS = 5  #: of the pictures; crops of one stay together


def features_of(images: Sequence[Pixels], modality: str, backbone: Path) -> Features:
    """(M, F)."""
    extract = FeatureExtractor(backbone)
    found = [extract([working_pixels(one)], modality)[0].numpy() for one in images]
    return np.asarray(found, dtype=np.float32)


def direction(samples: Samples, strange: Features, objects: Features) -> Linear:
    """0 for the samples and test objects (K, F), 1 for the strangers (M, F); standardised by the samples."""
    own = sample_weights(samples)
    mean, scale = spread(samples.features, own)
    z = [standardise(features, mean, scale) for features in (samples.features, objects, strange)]
    even = [
        np.full(len(some), share / max(len(some), 1)) for some, share in ((objects, SHARE), (strange, 1.0))
    ]
    weights = np.concatenate([own / own.sum(), *even])
    wanted = np.concatenate([np.zeros(len(own) + len(objects)), np.ones(len(strange))])
    found = fit(np.concatenate(z).astype(np.float32), wanted[:, None], weights, RIDGE)
    weight = found.weight / found.scale[:, None]
    return Linear(mean=mean, scale=scale, weight=weight, bias=found.bias - found.mean @ weight)


def held_out(
    samples: Samples, strange: Features, names: Sequence[str], objects: Features
) -> tuple[Floats, Floats]:
    """What directions say that saw neither: of each sample's subject (N,), of each picture (M,).

    names: (M,) the picture, or any wider group, that each stranger was cut from.
    """
    own, theirs = np.zeros(len(samples)), np.zeros(len(strange))
    for subject in np.unique(samples.subject):
        out = samples.subject == subject
        own[out] = direction(samples.where(~out), strange, objects)(samples.features[out])[:, 0]
    _, group = np.unique(names, return_inverse=True)
    part = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
    for fold in range(FOLDS):
        out = part == fold
        if out.any():
            theirs[out] = direction(samples, strange[~out], objects)(strange[out])[:, 0]
    return own, theirs


def limit_of(own: Floats) -> float:
    """The limit, from what `held_out` says of the samples."""
    return MARGIN * float(np.quantile(own, QUANTILE))


def foreign(samples: Samples, strange: Features, objects: Features, limit: float) -> npt.NDArray[np.float32]:
    """(F + 1,) `models.default.Head.foreign`; its head is standardised by the same samples."""
    found = direction(samples, strange, objects)
    return np.append(found.weight[:, 0], found.bias).astype(np.float32) / np.float32(limit)
