"""The ordinal losses: their values, their gradients under each balance, and that every switch learns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from models.clinreadnet import ABLATIONS, ClinReadNet, ClinReadNetConfig
from train.losses import (
    HRPS,
    ClinReadNetLoss,
    LossConfig,
    Metabalance,
    class_weights,
    plcc_loss,
    ranking_loss,
    rps,
)

LABELS = torch.tensor([0, 3, 6, 8, 11, 14, 17, 20])


def _logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _gradient(config: LossConfig, logits: Tensor) -> Tensor:
    leaf = logits.clone().requires_grad_()
    HRPS(config)(leaf, LABELS).backward()
    assert leaf.grad is not None
    return leaf.grad


def _term_gradients(logits: Tensor) -> list[Tensor]:
    leaf = logits.clone().requires_grad_()
    terms = HRPS(LossConfig()).terms(leaf, LABELS)
    return [torch.autograd.grad(term, leaf, retain_graph=True)[0] for term in terms]


def test_ranked_probability_score() -> None:
    # By hand: cumulative 0.2, 0.7, 1 against 0, 1, 1.
    found = rps(torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]]), torch.tensor([1, 1]))
    torch.testing.assert_close(found, torch.tensor([0.13, 0.0]))
    sure = torch.eye(21)[[0, 0, 0]]
    torch.testing.assert_close(rps(sure, torch.tensor([1, 5, 20])), torch.tensor([1.0, 5.0, 20.0]))


def test_terms_of_hrps_by_loops() -> None:
    logits = _logits(8, 21)
    p = logits.softmax(1).numpy()
    fine, coarse, cross = [], [], []
    for row, label in zip(p, LABELS.tolist(), strict=True):
        cross.append(-np.log(row[label]))
        fine.append(sum((row[: i + 1].sum() - (i >= label)) ** 2 for i in range(21)))
        groups = [row[3 * k : 3 * k + 3].sum() for k in range(7)]
        coarse.append(sum((sum(groups[: k + 1]) - (k >= label // 3)) ** 2 for k in range(7)))
    wanted = [np.mean(values) for values in (cross, fine, coarse)]
    assert [float(term) for term in HRPS(LossConfig()).terms(logits, LABELS)] == pytest.approx(wanted)
    off = HRPS(LossConfig(metabalance="off", ce=1, fine=2, coarse=3, entropy=0.1))(logits, LABELS)
    entropy = np.mean([stats.entropy(row) for row in p])
    assert float(off) == pytest.approx(wanted[0] + 2 * wanted[1] + 3 * wanted[2] - 0.1 * entropy)
    for mode in ("loss", "attached"):
        balanced = HRPS(LossConfig(metabalance=mode, ce=1, fine=2, coarse=3, entropy=0))(logits, LABELS)
        assert float(balanced) == pytest.approx(6 * wanted[0])


def test_with_the_ratio_attached_hrps_is_three_times_cross_entropy() -> None:
    logits = _logits(8, 21)
    three = 3 * _term_gradients(logits)[0]
    attached = _gradient(LossConfig(metabalance="attached", entropy=0), logits)
    torch.testing.assert_close(attached, three, rtol=1e-6, atol=1e-9)
    detached = _gradient(LossConfig(entropy=0), logits)
    assert (detached - three).norm() > 0.1 * three.norm()


def test_balanced_gradients() -> None:
    logits = _logits(8, 21)
    ce, fine, coarse = _term_gradients(logits)
    values = HRPS(LossConfig()).terms(logits, LABELS)
    by_loss = ce + fine * (values[0] / values[1]) + coarse * (values[0] / values[2])
    torch.testing.assert_close(_gradient(LossConfig(entropy=0), logits), by_loss, rtol=1e-6, atol=1e-9)
    by_gradient = ce + fine * (ce.norm() / fine.norm()) + coarse * (ce.norm() / coarse.norm())
    found = _gradient(LossConfig(metabalance="gradient", entropy=0), logits)
    torch.testing.assert_close(found, by_gradient, rtol=1e-6, atol=1e-9)
    with torch.no_grad():  # as a validation loop calls it
        assert torch.isfinite(HRPS(LossConfig(metabalance="gradient"))(logits, LABELS))


@pytest.mark.parametrize("mode", ["loss", "attached", "gradient", "off"])
def test_certainty_is_no_division_by_zero(mode: Metabalance) -> None:
    logits = (1000.0 * functional.one_hot(LABELS, 21)).requires_grad_()
    loss = HRPS(LossConfig(metabalance=mode))(logits, LABELS)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_the_entropy_term_rewards_doubt() -> None:
    sure, unsure = _logits(8, 21) * 4, torch.zeros(8, 21, dtype=torch.float64)
    for logits, entropy in ((unsure, np.log(21)), (sure, stats.entropy(sure.softmax(1), axis=1).mean())):
        with_term = HRPS(LossConfig(entropy=0.5))(logits, LABELS)
        without = HRPS(LossConfig(entropy=0))(logits, LABELS)
        assert float(without - with_term) == pytest.approx(0.5 * entropy)


def test_each_grade_is_the_own_of_one_head() -> None:
    weights = class_weights(4, 21, 0)
    assert set(weights.unique().tolist()) == {0.25, 4.0}
    assert ((weights == 4).sum(0) == 1).all()
    assert (weights == 4).sum(1).tolist() == [6, 5, 5, 5]
    assert torch.equal(weights, class_weights(4, 21, 0)) and not torch.equal(weights, class_weights(4, 21, 1))
    assert weights[0].argsort(descending=True)[:6].sort().values.tolist() != list(range(6))  # shuffled
    assert (class_weights(1, 21, 0) == 1).all()


def test_the_whole_loss() -> None:
    logits = _logits(8, 4, 21).float()
    config = LossConfig()
    loss = ClinReadNetLoss(config)
    heads = []
    for number in range(4):
        nats = functional.cross_entropy(logits[:, number], LABELS, reduction="none")
        weight = loss.weights[number, LABELS]
        heads.append((nats * weight).sum() / weight.sum())
    score = HRPS(config)(logits.mean(1), LABELS)
    mean = torch.stack(heads).mean()
    torch.testing.assert_close(loss(logits, LABELS), (4 * mean + score) / 5)
    for changed, wanted in (
        ({"combine": "half"}, (mean + score) / 2),
        ({"hrps": False}, mean),
        ({"head_ce": False}, score),
    ):
        torch.testing.assert_close(ClinReadNetLoss(replace(config, **changed))(logits, LABELS), wanted)
    assert not loss.state_dict()
    with pytest.raises(ValueError, match=r"expected \(N, 4, 21\)"):
        loss(logits[:, :3], LABELS)


SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 2), "num_heads": (1, 2, 4, 8), "drop_path_rate": 0.0}
TINY = ClinReadNetConfig(image_size=64, window=2, backbone_options=SWIN, hidden=(16, 16), dropout=0.0)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"combine": "half"},
        {"head_ce": False},
        {"hrps": False},
        {"metabalance": "attached"},
        {"metabalance": "gradient"},
        {"metabalance": "off"},
        {"ce": 0.0},
        {"fine": 0.0},
        {"coarse": 0.0},
        {"entropy": 0.0},
        {"ce": 0.3, "fine": 2.0, "coarse": 0.5, "entropy": 1e-2},
        {"heads": 1},
        {"heads": 2, "group": 7, "seed": 5},
    ],
    ids=str,
)
def test_every_switch_learns_eight_images(changed: Mapping[str, object]) -> None:
    torch.manual_seed(0)
    config = replace(LossConfig(), **changed)
    net, criterion = ClinReadNet(replace(TINY, heads=config.heads)), ClinReadNetLoss(config)
    images = torch.rand(8, 3, 64, 64)
    optimiser = torch.optim.NAdam(net.parameters(), lr=3e-3)
    for _ in range(80):
        found = net(images)
        nats = functional.cross_entropy(found.logits.mean(1), LABELS)
        if nats < 0.5 and (found.score - LABELS / 5).abs().max() < 0.5:
            return
        optimiser.zero_grad()
        criterion(found.logits, LABELS).backward()
        optimiser.step()
    pytest.fail(f"{float(nats):.3f} nats after 80 steps")


def test_the_losses_of_the_ablation_tables() -> None:
    losses = {label: LossConfig(**row.loss) for rows in ABLATIONS.values() for label, row in rows.items()}
    assert losses["2# HRPS w/o CrossEntropy"].ce == 0 and not losses["Swin-T"].hrps
    table = [losses[label] for label in ABLATIONS["8"]]
    assert all(a != b for a, b in itertools.combinations(table, 2)) and table[-1] == LossConfig()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"group": 4}, "group 4 does not divide 21"),
        ({"heads": 22}, "heads 22"),
        ({"combine": "sum"}, "combine 'sum'"),
        ({"metabalance": "on"}, "metabalance 'on'"),
        ({"fine": -1.0}, "fine -1.0 is below 0"),
        ({"ce": 0.0, "fine": 0.0, "coarse": 0.0}, "hrps has no term"),
        ({"hrps": False, "head_ce": False}, "neither head_ce nor hrps"),
    ],
)
def test_contradictions_are_refused(changed: Mapping[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LossConfig(**changed)


def test_ranking_loss() -> None:
    targets = torch.tensor([0.0, 1.0, 1.0])
    # Rises of 0.5 and 0.05 where 0.1 is wanted; the pair of equal targets does not count.
    loss = ranking_loss(torch.tensor([0.0, 0.5, 0.05]), targets)
    assert float(loss) == pytest.approx(0.05 / 2)
    assert ranking_loss(torch.tensor([0.0, 0.5, 0.2]), targets) == 0
    assert ranking_loss(torch.randn(4), torch.ones(4)) == 0


def test_plcc_loss() -> None:
    scores, targets = _logits(30), _logits(60)[30:]
    assert float(plcc_loss(scores, targets)) == pytest.approx(1 - stats.pearsonr(scores, targets).statistic)
    assert float(plcc_loss(3 * targets + 1, targets)) == pytest.approx(0, abs=1e-9)
    leaf = scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(plcc_loss, (leaf, targets))
    flat = torch.ones(5, requires_grad=True)
    loss = plcc_loss(flat, torch.arange(5.0))
    loss.backward()
    assert loss.item() == 1 and flat.grad is not None and torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("loss", [ranking_loss, plcc_loss])
def test_losses_of_order_want_two_vectors(loss: type) -> None:
    for scores, targets in ((torch.ones(1), torch.ones(1)), (torch.ones(2, 1), torch.ones(2, 1))):
        with pytest.raises(ValueError, match="expected two of"):
            loss(scores, targets)
    free = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.SGD([free], lr=0.05)
    with torch.no_grad():
        free.copy_(torch.tensor([0.3, 0.1, 0.2, 0.0]))
    for _ in range(200):
        optimiser.zero_grad()
        loss(free, torch.arange(4.0)).backward()
        optimiser.step()
    assert free.argsort().tolist() == [0, 1, 2, 3]
