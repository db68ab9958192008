"""How far a fast network's scores lie from the original's, and whether that may be used.

Speed may cost digits, not order: Spearman's correlation between the scores must reach 0.999. Order means
nothing where scores hardly differ, as on copies of one image or with random weights, so the images must be
real and of varied degradation (`train.simulate.degrade` makes them), and the check refuses to decide when
the scores spread no further than rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor, nn

from models.fast.errors import DriftError
from models.output import Output

SROCC_LIMIT = 0.999
MIN_IMAGES = 24  #: with fewer, one exchange of neighbours is already too much
MIN_SPREAD = 2e-3  #: standard deviation of the scores over their size, about bfloat16's own step (2^-8 / 2)


class Drift(NamedTuple):
    """Fast scores against reference scores."""

    srocc: float  #: Spearman's rank correlation, ties averaged; 1 when all scores are the same in both
    max_abs: float  #: largest difference, on the score's scale
    mean_abs: float
    spread: float  #: standard deviation of the reference scores


def drift(reference: Tensor, fast: Tensor) -> Drift:
    """(N,) scores each, N >= 2 -> their drift. Raises ValueError for other shapes, NaN or infinity."""
    if reference.ndim != 1 or reference.shape != fast.shape or len(reference) < 2:
        raise ValueError(
            f"scores have shapes {tuple(reference.shape)} and {tuple(fast.shape)}; expected (N,), N >= 2"
        )
    wanted, found = reference.detach().double().cpu(), fast.detach().double().cpu()
    if not (wanted.isfinite().all() and found.isfinite().all()):
        raise ValueError("scores contain NaN or infinity")
    apart = (wanted - found).abs()
    flat = bool((wanted == wanted[0]).all() or (found == found[0]).all())
    srocc = float(torch.equal(wanted, found)) if flat else float(stats.spearmanr(wanted, found).statistic)
    return Drift(srocc, float(apart.max()), float(apart.mean()), float(wanted.std(correction=0)))


def gate(
    net: nn.Module, accelerated: Callable[..., Output], *inputs: Tensor | None, srocc: float = SROCC_LIMIT
) -> Drift:
    """The drift of an accelerated network on images of varied quality, when it may be used.

    inputs: what both take, 24 rows or more; the original runs one row at a time, in float32. Raises
    DriftError when the order of the scores changes, or when the images cannot tell: too few, or scores that
    differ by less than rounding.
    """
    images = inputs[0]
    if images is None or len(images) < MIN_IMAGES:
        raise DriftError(f"{0 if images is None else len(images)} images; {MIN_IMAGES} or more can tell")
    with torch.inference_mode():
        answers: list[Output] = [
            net(*(None if given is None else given[row : row + 1] for given in inputs))
            for row in range(len(images))
        ]
    reference = torch.cat([answer.score for answer in answers])
    found = drift(reference, accelerated(*inputs).score)
    size = float(reference.abs().mean())
    if found.spread < MIN_SPREAD * size:
        raise DriftError(
            f"the scores of these images spread by {found.spread:.2g} around {size:.3g}, no more than "
            "rounding: give images of varied degradation, and trained weights"
        )
    if found.srocc < srocc:
        raise DriftError(
            f"fast scores order the images otherwise: SROCC {found.srocc:.5f} is below {srocc} (largest "
            f'difference {found.max_abs:.2g}, spread {found.spread:.2g}); use precision="fp32"'
        )
    return found
