"""Weighted ridge regression on standardised features: the whole learning of the default model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]

CLIP = 5.0  #: standardised features beyond this are cut, so that an unusual image cannot run away


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """targets = clip((x - mean) / scale) @ weight + bias; mean and scale (F,), weight (F, T), bias (T,)."""

    mean: Floats
    scale: Floats
    weight: Floats
    bias: Floats

    def __call__(self, features: Features) -> Floats:
        """(N, F) -> (N, T)."""
        return standardise(features, self.mean, self.scale) @ self.weight + self.bias


def standardise(features: Features, mean: Floats, scale: Floats) -> Floats:
    return np.asarray(np.clip((features - mean) / scale, -CLIP, CLIP), dtype=np.float64)


def spread(features: Features, weights: Floats) -> tuple[Floats, Floats]:
    """(F,) weighted mean and deviation; features that hardly vary get a floor."""
    mean = np.average(features, axis=0, weights=weights).astype(np.float64)
    deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))
    return mean, np.maximum(deviation, 1e-3 * float(np.median(deviation)) + 1e-9)


def fit(
    features: Features,
    targets: Floats,
    weights: Floats,
    ridge: float,
    *,
    groups: npt.NDArray[np.generic] | None = None,
    within: float = 0.0,
) -> Linear:
    """Minimise sum w (t - f(x))^2 + ridge * F * |weight|^2, the weights scaled to mean 1.

    features (N, F), targets (N, T), weights (N,) > 0. The intercept is not penalised. Solved in whichever
    of the two spaces, features or samples, is smaller.

    within: the share of their group's mean that is taken from features and targets first, 0 to 1, groups
    named by (N,): what tells the groups apart then counts less than what changes inside them, and nothing at
    1. This is the quasi-demeaning of random-effects regression (Wooldridge 2010, section 10.4).
    """
    w = weights / weights.mean()
    mean, scale = spread(features, w)
    x = standardise(features, mean, scale)
    centre, target = np.average(x, axis=0, weights=w), np.average(targets, axis=0, weights=w)
    root = np.sqrt(w)[:, None]
    a, b = x - centre, targets - target
    if within and groups is not None:
        a, b = (values - within * group_means(values, w, groups) for values in (a, b))
    a, b = a * root, b * root
    penalty = ridge * a.shape[1]
    if a.shape[0] < a.shape[1]:
        gram = a @ a.T
        gram[np.diag_indices_from(gram)] += penalty
        weight = a.T @ np.linalg.solve(gram, b)
    else:
        gram = a.T @ a
        gram[np.diag_indices_from(gram)] += penalty
        weight = np.linalg.solve(gram, a.T @ b)
    return Linear(mean=mean, scale=scale, weight=weight, bias=target - centre @ weight)


def given(linear: Linear, slope: float) -> Linear:
    """The same with one more feature, taken as it is, whose slope is given and not fitted."""
    return Linear(
        mean=np.append(linear.mean, 0.0),
        scale=np.append(linear.scale, 1.0),
        weight=np.vstack([linear.weight, np.full(linear.weight.shape[1], slope)]),
        bias=linear.bias,
    )


def group_means(values: Floats, weights: Floats, groups: npt.NDArray[np.generic]) -> Floats:
    """(N, K) -> (N, K) the weighted mean of each row's group."""
    _, group = np.unique(groups, return_inverse=True)
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    sums = np.add.reduceat((values * weights[:, None])[order], first, axis=0)
    return np.asarray((sums / np.bincount(group, weights)[:, None])[group])
