"""What the networks are trained to lower: ClinReadNet's ordinal losses, and losses of order and correlation.

Everything here is differentiable and takes tensors; how batches come about is not decided here.

Deviations from ClinReadNet (section 3.4; the recipe of its parent, github.com/agaldran/ldct_iqa):
- The whole loss is the mean of the heads' cross-entropies and HRPS, all alike, as the parent computes it;
  `combine="half"` is the mean of two: the mean cross-entropy, and HRPS.
- Equations 26 and 27 divide a loss by a ratio of losses, though the text balances gradients. As printed
  ("attached") all three terms have the gradient of the cross-entropy: three times CE. By default the ratio is
  a constant of the backward pass ("loss"); "gradient" takes the ratio of the gradients' norms at the mean
  logits, through which all terms reach the network; "off" leaves the terms as they are.
- The ratio is that of the batch's means, and is written without the division by CE, which can be 0.
- A head's weighted cross-entropy divides by the sum of the weights, as torch's does and the parent's did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Metabalance = Literal["loss", "attached", "gradient", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """The paper's values are the defaults. Raises ValueError for values that contradict each other."""

    heads: int = 4
    grades: int = 21
    group: int = 3  #: neighbouring grades that make one coarse grade
    seed: int = 0  #: of the shuffle that gives each head its grades
    head_ce: bool = True  #: each head's weighted cross-entropy
    hrps: bool = True  #: the ranked probability scores of the heads' mean
    combine: Literal["mean", "half"] = "mean"  #: of heads + 1 losses alike, or of two
    metabalance: Metabalance = "loss"  #: what is levelled with the cross-entropy
    ce: float = 1.0  #: lambda 1
    fine: float = 1.0  #: lambda 2
    coarse: float = 1.0  #: lambda 3
    entropy: float = 5e-5  #: lambda 4
    epsilon: float = 1e-8  #: of equations 26 and 27

    def __post_init__(self) -> None:
        if self.combine not in ("mean", "half"):
            raise ValueError(f"combine {self.combine!r} is neither mean nor half")
        if self.metabalance not in ("loss", "attached", "gradient", "off"):
            raise ValueError(f"metabalance {self.metabalance!r} is not loss, attached, gradient or off")
        if not 1 <= self.heads <= self.grades:
            raise ValueError(f"heads {self.heads}: 1 to {self.grades}, the number of grades, are expected")
        if self.group < 1 or self.grades % self.group:
            raise ValueError(f"group {self.group} does not divide {self.grades} grades")
        for name in ("ce", "fine", "coarse", "entropy", "epsilon"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} is below 0")
        if self.hrps and not (self.ce or self.fine or self.coarse):
            raise ValueError("hrps has no term: one of ce, fine and coarse is expected above 0")
        if not (self.hrps or self.head_ce):
            raise ValueError("neither head_ce nor hrps: one of them is expected")


def rps(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Ranked probability score: (N, K) summing to 1 and labels (N,) in 0..K-1 -> (N,) in [0, K - 1].

    Source: ClinReadNet, section 3.4, equations 18-20 and 23-25.
    """
    truth = functional.one_hot(labels, probabilities.shape[-1]).to(probabilities.dtype)
    return (probabilities - truth).cumsum(dim=-1).square().sum(dim=-1)


def class_weights(heads: int, grades: int, seed: int) -> Tensor:
    """Weight of each grade in each head, (heads, grades): `heads` for its own share, 1 / heads otherwise.

    Every grade is one head's own; shares of shuffled grades, as even as can be: 6, 5, 5, 5 of 21.
    Source: ClinReadNet, section 3.1, weights of the classification heads.
    """
    order = torch.randperm(grades, generator=torch.Generator().manual_seed(seed))
    weights = torch.full((heads, grades), 1 / heads)
    for head, own in enumerate(order.tensor_split(heads)):
        weights[head, own] = heads
    return weights


class HRPS(nn.Module):
    """Hierarchical ranked probability score: logits (N, grades), labels (N,) int64 -> a scalar.

    Source: ClinReadNet, section 3.4, equations 17-30.
    """

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config

    def terms(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means over the batch of cross-entropy, fine and coarse ranked probability score.

        Source: ClinReadNet, section 3.4, equations 17, 20 and 21-25.
        """
        group = self.config.group
        probabilities = logits.softmax(dim=-1)
        groups = probabilities.reshape(len(logits), -1, group).sum(dim=-1)  # (N, coarse grades)
        return (
            functional.cross_entropy(logits, labels),
            rps(probabilities, labels).mean(),
            rps(groups, labels // group).mean(),
        )

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        config = self.config
        ce, *scores = self.terms(logits, labels)
        fine, coarse = self._balanced(ce, scores, logits, labels)
        # By log_softmax: the slope of p log p is infinite where a probability underflows to 0.
        entropy: Tensor = -(logits.softmax(dim=-1) * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
        return config.ce * ce + config.fine * fine + config.coarse * coarse - config.entropy * entropy

    def _balanced(self, ce: Tensor, scores: list[Tensor], logits: Tensor, labels: Tensor) -> list[Tensor]:
        """Source: ClinReadNet, section 3.4, equations 26 and 27."""
        mode = self.config.metabalance
        if mode == "off":
            return scores
        if mode == "attached":
            return [score * self._factor(ce, score) for score in scores]
        if mode == "loss":
            return [score * self._factor(ce.detach(), score.detach()) for score in scores]
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            found = [
                torch.autograd.grad(term, leaf, retain_graph=True)[0] for term in self.terms(leaf, labels)
            ]
        target, *norms = (gradient.norm() for gradient in found)
        return [score * self._factor(target, norm) for score, norm in zip(scores, norms, strict=True)]

    def _factor(self, target: Tensor, size: Tensor) -> Tensor:
        """1 / (size / target + epsilon)."""
        divisor = size + self.config.epsilon * target
        return target / divisor.clamp_min(torch.finfo(divisor.dtype).tiny)


class ClinReadNetLoss(nn.Module):
    """Logits (N, heads, grades) and labels (N,), int64 grades -> a scalar.

    Raises ValueError when the logits have other heads or grades than the configuration.
    Source: ClinReadNet, section 3.1, joint loss.
    """

    weights: Tensor

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        weights = class_weights(config.heads, config.grades, config.seed)
        self.register_buffer("weights", weights, persistent=False)
        self.hrps = HRPS(config)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        config = self.config
        if logits.ndim != 3 or logits.shape[1:] != (config.heads, config.grades):
            raise ValueError(
                f"logits have shape {tuple(logits.shape)}; expected (N, {config.heads}, {config.grades})"
            )
        heads = zip(logits.unbind(1), self.weights, strict=True)
        losses = [functional.cross_entropy(head, labels, weight) for head, weight in heads]
        if not config.hrps:
            return torch.stack(losses).mean()
        score: Tensor = self.hrps(logits.mean(dim=1), labels)
        if not config.head_ce:
            return score
        if config.combine == "half":
            return (torch.stack(losses).mean() + score) / 2
        return torch.stack([*losses, score]).mean()


def _check_pair(scores: Tensor, targets: Tensor) -> None:
    if scores.ndim != 1 or scores.shape != targets.shape or len(scores) < 2:
        raise ValueError(
            f"scores have shape {tuple(scores.shape)}, targets {tuple(targets.shape)}; "
            f"expected two of (N,), N > 1"
        )


def ranking_loss(scores: Tensor, targets: Tensor, margin: float = 0.1) -> Tensor:
    """Mean over pairs of unequal targets of max(0, margin - rise in score), >= 0; 0 where no pair is unequal.

    scores, targets: (N,), N > 1. Raises ValueError otherwise.
    Source: RankIQA (Liu et al. 2017), section 3.2, pairwise hinge loss.
    """
    _check_pair(scores, targets)
    above = (targets[:, None] > targets[None, :]).to(scores.dtype)
    missing = (margin - (scores[:, None] - scores[None, :])).relu()
    return (missing * above).sum() / above.sum().clamp_min(1)


def plcc_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """1 - Pearson's correlation, in [0, 2]; 1 where either is constant. scores, targets: (N,), N > 1.

    Raises ValueError for other shapes.
    Source: ClinReadNet, section 4.2, equation 31.
    """
    _check_pair(scores, targets)
    return 1 - functional.cosine_similarity(scores - scores.mean(), targets - targets.mean(), dim=0)
