"""From samples to heads: labels, leave-one-subject-out predictions, calibration and the final fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import linalg, optimize

from models.default import Head
from train.consensus import consensus
from train.dataset import Samples, Taught
from train.ridge import Features, Linear, fit, given, standardise
from train.simulate import SEEN_AS

Floats = npt.NDArray[np.float64]

PLAIN = Taught()
SEEN_FROM = 1.5  #: below this severity an artefact's type is not taught: nobody could see it
QUALITY = (1.0, 0.9, 0.7, 0.4, 0.2, 0.05)  #: what the calibration aims at for severity 0 to 5
AXES = 48  #: principal axes of the out-of-distribution distance


def labels(samples: Samples) -> Floats:
    """(N,) consensus over all these images, 0 to 1, higher is better."""
    return consensus(samples.teachers)


def type_names(samples: Samples) -> tuple[str, ...]:
    """What a reader would call the artefacts, "none" first."""
    return ("none", *sorted({SEEN_AS[a] for a in samples.artefact if a != "none"}))


def seen_as(samples: Samples) -> npt.NDArray[np.str_]:
    return np.array([SEEN_AS.get(a, "none") for a in samples.artefact])


def sample_weights(samples: Samples) -> Floats:
    """Each subject weighs as the square root of its images, so that none drowns the others.

    A clean image counts once for each ladder that starts from it, else "nearly clean" outweighs "clean".
    """
    _, inverse, counts = np.unique(samples.subject, return_inverse=True, return_counts=True)
    ladders = len(set(samples.artefact) - {"none"})
    return np.asarray(np.where(samples.artefact == "none", ladders, 1) / np.sqrt(counts[inverse]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Heads of one modality: one for the score, one for the types, on the same standardisation rules."""

    score: Linear
    kind: Linear
    types: tuple[str, ...]


def protocols(samples: Samples) -> npt.NDArray[np.str_]:
    """(N,) name of what stands for one protocol: a volume, or one randomised copy of it."""
    volumes = (name.partition("/")[0] for name in samples.reference)
    return np.array([f"{volume} {copy}" for volume, copy in zip(volumes, samples.copy, strict=True)])


def fit_heads(
    samples: Samples, label: Floats, ridge: float, types: Sequence[str], taught: Taught = PLAIN
) -> Fitted:
    weights, groups = sample_weights(samples), protocols(samples)
    features = samples.features[:, :-1] if taught.noise_slope else samples.features
    score = fit(features, label[:, None], weights, taught.ridge or ridge, groups=groups, within=taught.within)
    kinds = seen_as(samples)
    told = (samples.artefact == "none") | (samples.severity >= SEEN_FROM)
    one_hot = (kinds[told, None] == np.array(types)[None, :]).astype(np.float64)
    kind = fit(
        features[told], one_hot, weights[told] * balance(one_hot), taught.type_ridge or ridge,
        groups=groups[told], within=taught.type_within,
    )  # fmt: skip
    if taught.noise_slope:
        score, kind = given(score, -taught.noise_slope), given(kind, 0.0)
    return Fitted(score=score, kind=kind, types=tuple(types))


def balance(one_hot: Floats) -> Floats:
    """(N,) weights that let each of the types (N, T) count the same; types nobody has count nothing."""
    return np.asarray((one_hot / np.maximum(one_hot.sum(axis=0), 1)).sum(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Predictions for every image by heads that saw neither its subject nor its artefact seeds."""

    score: Floats  #: (N,)
    kinds: Floats  #: (N, T)
    strangeness: Floats  #: (N,) with the limit at 1 unit


def leave_subjects_out(samples: Samples, label: Floats, ridge: float, taught: Taught = PLAIN) -> HeldOut:
    """One fold a subject. The labels are those of the whole set: ranks, which no fold can learn from."""
    types = type_names(samples)
    score, kinds, strange = (
        np.zeros(len(samples)),
        np.zeros((len(samples), len(types))),
        np.zeros(len(samples)),
    )
    for subject in np.unique(samples.subject):
        out = samples.subject == subject
        heads = fit_heads(samples.where(~out), label[~out], ridge, types, taught)
        score[out] = heads.score(samples.features[out])[:, 0]
        kinds[out] = heads.kind(samples.features[out])
        axes, scale = distribution(samples.features[~out], heads.score)
        strange[out] = distances(
            standardise(samples.features[out], heads.score.mean, heads.score.scale), axes, scale
        )
    return HeldOut(score=score, kinds=kinds, strangeness=strange)


def distribution(features: Features, linear: Linear) -> tuple[Floats, Floats]:
    """Principal axes (F, K) of the clipped standardised features; deviations along and off them (K + 1,)."""
    z = standardise(features, linear.mean, linear.scale)
    z = z[:: max(len(z) // 1500, 1)]
    count = min(AXES, len(z) // 3, z.shape[1])
    gram = z @ z.T if len(z) <= z.shape[1] else z.T @ z  # far smaller than z's own decomposition
    squares, vectors = linalg.eigh(gram, subset_by_index=(len(gram) - count, len(gram) - 1))
    values = np.sqrt(np.maximum(squares[::-1], 1e-12))
    axes = vectors[:, ::-1] if len(z) > z.shape[1] else z.T @ vectors[:, ::-1] / values
    along = values / np.sqrt(len(z))
    off = np.square(z).sum(axis=1) - np.square(z @ axes).sum(axis=1)
    return axes, np.append(np.maximum(along, 1e-3), max(float(np.sqrt(max(off.mean(), 0))), 1e-3))


def distances(z: Floats, axes: Floats, scale: Floats) -> Floats:
    along = z @ axes
    off = np.sqrt(np.clip(np.square(z).sum(axis=1) - np.square(along).sum(axis=1), 0, None))
    return np.asarray(np.sqrt(np.square(along / scale[:-1]).mean(axis=1) + np.square(off / scale[-1])))


def calibrate(
    samples: Samples, held_out: HeldOut, types: Sequence[str] | None = None
) -> tuple[float, float, float]:
    """(score at quality 1/2, spread, sharpness of the softmax), from held-out predictions.

    The logistic map comes closest, in cross-entropy, to QUALITY at each severity; every severity weighs the
    same, the clean slices as much as all severities below 3. The sharpness is that of least cross-entropy.
    types: the columns of held_out.kinds; those of the samples by default.
    """
    steps = np.minimum(np.round(samples.severity), 5).astype(int)
    wanted = np.array(QUALITY)[steps]
    weights = np.array([2.0, 1, 1, 1, 1, 1])[steps] / np.bincount(steps, minlength=6)[steps]

    def loss(parameters: Floats) -> float:
        logits = (held_out.score - parameters[0]) / np.exp(parameters[1])
        return float(np.average(np.logaddexp(0, logits) - wanted * logits, weights=weights))

    best = optimize.minimize(loss, [float(np.median(held_out.score)), np.log(0.15)], method="Nelder-Mead").x
    told = (samples.artefact == "none") | (samples.severity >= SEEN_FROM)
    names = list(types or type_names(samples))
    kinds = np.array([names.index(k) for k in seen_as(samples)])[told]
    losses = {s: _cross_entropy(s * held_out.kinds[told], kinds) for s in np.linspace(1, 20, 39)}
    return float(best[0]), float(np.exp(best[1])), float(min(losses, key=lambda s: losses[s]))


def _cross_entropy(logits: Floats, wanted: npt.NDArray[np.int_]) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(wanted)), wanted] - np.log(np.exp(shifted).sum(axis=1))
    counts = np.bincount(wanted)[wanted]
    return float(-np.average(chosen, weights=1 / counts))


def head_of(samples: Samples, label: Floats, ridge: float, taught: Taught = PLAIN) -> Head:
    """The head fitted on every subject; neither calibrated nor with a limit of strangeness yet."""
    types = type_names(samples)
    heads = fit_heads(samples, label, ridge, types, taught)
    # The types' weights are rewritten for the score's standardisation, which both then share; the
    # difference in clipping touches only features beyond CLIP deviations.
    ratio = heads.score.scale / heads.kind.scale
    shift = (heads.score.mean - heads.kind.mean) / heads.kind.scale
    kind_bias = heads.kind.bias + shift @ heads.kind.weight
    axes, scale = distribution(samples.features, heads.score)
    f32 = np.float32
    return Head(
        types=types,
        mean=heads.score.mean.astype(f32),
        scale=heads.score.scale.astype(f32),
        weight=np.hstack([heads.score.weight, heads.kind.weight * ratio[:, None]]).astype(f32),
        bias=np.concatenate([heads.score.bias, kind_bias]).astype(f32),
        calibration=np.array([0.5, 1.0, 1.0], dtype=f32),
        ood_axes=axes.astype(f32),
        ood_scale=np.append(scale, np.inf).astype(f32),
        foreign=np.zeros(len(heads.score.mean) + 1, f32),
    )


def final_head(
    samples: Samples, label: Floats, ridge: float, held_out: HeldOut, margin: float, taught: Taught = PLAIN
) -> Head:
    """The head fitted on every subject, calibrated on the held-out predictions.

    margin: the limit of the out-of-distribution distance, as a multiple of the largest held-out distance.
    """
    head = head_of(samples, label, ridge, taught)
    limit = margin * float(np.quantile(held_out.strangeness, 0.999))
    return replace(
        head,
        calibration=np.array(calibrate(samples, held_out), dtype=np.float32),
        ood_scale=np.append(head.ood_scale[:-1], limit).astype(np.float32),
    )
