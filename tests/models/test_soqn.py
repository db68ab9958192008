"""The Sobel ordinal quality network: its kernels, branches, mixing and residual."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.soqn import SOQN, BranchMixer, ChannelAttention, OrdinalBranch, SobelBranch, SpatialAttention


def _ramp(direction: str) -> Tensor:
    """(1, 1, 9, 9): a step whose edge runs in this direction."""
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    across = {"horizontal": y - 4, "vertical": x - 4, "main": x - y, "second": x + y - 8}[direction]
    return across.sign()[None, None]


@pytest.mark.parametrize(
    ("direction", "number"), [("horizontal", 0), ("vertical", 1), ("main", 2), ("second", 3)]
)
def test_each_kernel_answers_most_to_its_own_edge(direction: str, number: int) -> None:
    strength = SobelBranch(1).edges(_ramp(direction)).abs().sum(dim=(0, 2, 3, 4))
    assert strength.argmax() == number
    right_angle = {0: 1, 1: 0, 2: 3, 3: 2}[number]
    assert strength[right_angle] < 0.05 * strength[number]


def test_flat_maps_have_no_edges_and_channels_stay_apart() -> None:
    branch = SobelBranch(4)
    assert branch.edges(torch.full((1, 4, 6, 6), 7.0)).abs().max() == 0
    x = torch.zeros(2, 4, 6, 6)
    x[1, 2, :, 3:] = 1
    edges = branch.edges(x)
    assert edges.shape == (2, 4, 4, 6, 6)
    assert edges[1, 1, 2].abs().max() == 4 and edges[1, 0, 2].abs().max() == 0
    edges[1, :, 2] = 0
    assert edges.abs().max() == 0
    assert "kernels" not in branch.state_dict() and not any(p is branch.kernels for p in branch.parameters())


def test_each_direction_has_its_own_weight_map() -> None:
    branch = SobelBranch(4).eval()
    x, seen = torch.randn(2, 4, 6, 6), []
    branch.fuse.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    branch(x)
    edges = branch.edges(x)
    wanted = torch.cat([edges[:, i] * branch.maps[i](edges[:, i]) for i in range(4)], dim=1)
    torch.testing.assert_close(seen[0], wanted)


def test_the_ordinal_branch_weighs_channels_after_grades() -> None:
    branch = OrdinalBranch(16, 21, (8, 8), 4, 4, 0.1).eval()
    x = torch.randn(3, 16, 6, 6)
    p = branch.distribution(x)
    assert p.shape == (3, 21)
    torch.testing.assert_close(p.sum(1), torch.ones(3))
    weights = torch.tanh(torch.nn.functional.layer_norm(p @ branch.ordinal, (16,)))
    torch.testing.assert_close(branch(x), branch.enhance(x * weights[:, :, None, None]))
    assert branch.enhance[3].groups == 4 and branch.enhance[3].weight.shape == (4, 1, 3, 3)


@pytest.mark.parametrize("kind", [ChannelAttention, SpatialAttention])
def test_attention_scales_by_a_factor_between_0_and_1(
    kind: type[ChannelAttention | SpatialAttention],
) -> None:
    x = torch.randn(2, 16, 8, 8)
    factor = kind(16, 4).eval()(x) / x
    assert factor.min() > 0 and factor.max() < 1
    along = (2, 3) if kind is ChannelAttention else (1,)
    assert (factor.amax(along) - factor.amin(along)).max() < 1e-5
    assert factor.std() > 1e-4


def test_branches_are_mixed_at_random_in_training_only() -> None:
    torch.manual_seed(0)
    mixer = BranchMixer(8, 4, 1.0)
    maps = torch.randn(4, 8, 6, 6), torch.randn(4, 8, 6, 6)
    first, second = mixer(*maps), mixer(*maps)
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.sum(1), torch.ones(4))
    mixer.eval()
    assert torch.equal(mixer(*maps), mixer(*maps))
    torch.testing.assert_close(mixer(*maps).sum(1), torch.ones(4))


def test_the_residual_is_weighted_and_normalised() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 8, 8)
    net = SOQN(16).eval()
    assert net.gamma.item() == pytest.approx(0.2) and net.beta.item() == pytest.approx(0.8)
    torch.testing.assert_close(net(x).mean(1), torch.zeros(2, 8, 8), atol=1e-5, rtol=0)
    with torch.no_grad():
        net.gamma.zero_()
    torch.testing.assert_close(net(x), net.norm2(x), atol=1e-3, rtol=1e-3)
    plain = SOQN(16, residual="plain").eval()
    enhanced = plain.enhance(plain.fused(plain.attention(plain.norm1(x))))
    torch.testing.assert_close(plain(x), plain.norm2(enhanced + x))
    assert not hasattr(plain, "gamma")


@pytest.mark.parametrize("branches", ["sobel", "ordinal", "both"])
@pytest.mark.parametrize("residual", ["plain", "weighted"])
def test_everything_in_it_learns(branches: str, residual: str) -> None:
    torch.manual_seed(0)
    net = SOQN(16, branches=branches, residual=residual, hidden=(8, 8))  # type: ignore[arg-type]
    x = torch.randn(4, 16, 8, 8)
    y = net(x)
    assert y.shape == x.shape
    (y * torch.randn_like(y)).sum().backward()
    missing = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing
    names = {name for name, _ in net.named_children()}
    assert ("sobel" in names, "ordinal" in names) == (branches != "ordinal", branches != "sobel")


def test_a_width_that_does_not_split_is_refused() -> None:
    with pytest.raises(ValueError, match="width 18 does not split"):
        SOQN(18)
