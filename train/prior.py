"""Ridge regression that goes on from an earlier one: new samples join as if the old ones were still there.

The earlier fit's samples are known by their second moments alone: deviations along principal axes and off
them, as the out-of-distribution distance keeps them. Where the old samples varied much they hold the weights
fast, elsewhere only the ridge penalty does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What the earlier fit knew. Features are standardised as it did, so that their means were 0."""

    axes: Floats  #: (F, K) orthonormal
    along: Floats  #: (K,) deviations of the old samples along the axes
    off: float  #: root mean square distance of the old samples from the axes' span
    images: float  #: how many old samples there were
    ridge: float  #: the earlier penalty, as a multiple of F

    @property
    def stiffness(self) -> tuple[Floats, float]:
        """Penalty of a squared change of the weights: along each axis (K,), and off the axes."""
        count, axes = self.axes.shape
        penalty = self.ridge * count
        return penalty + self.images * self.along**2, penalty + self.images * self.off**2 / max(
            count - axes, 1
        )


def update(z: Floats, left: Floats, weights: Floats, prior: Prior) -> tuple[Floats, Floats]:
    """Changes (F, T) of the weights and (T,) of the intercepts.

    z: (N, F) new samples, standardised. left: (N, T) what the earlier fit leaves of their targets. weights:
    (N,) > 0, scaled to mean 1. Minimises the squared error of the new samples plus the growth of the earlier
    fit's own objective. Solved in whichever of the two spaces, features or samples, is smaller.
    """
    w = weights / weights.mean()
    along, off = prior.stiffness
    if len(z) <= z.shape[1]:
        span = z @ prior.axes
        soft = (z - span @ prior.axes.T) / off + (span / along) @ prior.axes.T
        gram = soft @ z.T + 1 / prior.images
        gram[np.diag_indices_from(gram)] += 1 / w
        dual = np.linalg.solve(gram, left)
        return soft.T @ dual, dual.sum(axis=0) / prior.images
    root = np.sqrt(w)[:, None]
    a = np.hstack([z, np.ones((len(z), 1))]) * root
    normal = a.T @ a
    normal[:-1, :-1] += prior.axes * (along - off) @ prior.axes.T
    normal[np.diag_indices_from(normal)] += np.append(np.full(z.shape[1], off), prior.images)
    both = np.linalg.solve(normal, a.T @ (left * root))
    return both[:-1], both[-1]
