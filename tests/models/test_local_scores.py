"""Where in an image a score that is linear in pooled features comes from."""

from __future__ import annotations

import torch

from models.local_scores import local_scores


def _pooled(maps: list[torch.Tensor]) -> torch.Tensor:
    parts = [
        torch.cat([layer.mean(dim=(2, 3)), layer.std(dim=(2, 3), correction=0)], dim=1) for layer in maps
    ]
    return torch.cat(parts, dim=1)


def test_the_shares_differ_as_the_places_do() -> None:
    """With one layer and slopes for means only, the map is the weighted sum of the channels, centred."""
    layer = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5).sin()
    slopes = torch.tensor([[1.0, -2.0, 0.5, 0, 0, 0], [0.0, 3.0, 0, 0, 0, 0]])
    found = local_scores([layer], _pooled([layer]), slopes)
    whole = (layer * slopes[:, :3, None, None]).sum(dim=1)
    assert torch.allclose(found, whole - whole.mean(dim=(1, 2), keepdim=True), atol=1e-5)


def test_what_varies_locally_shows_through_the_deviations() -> None:
    layer = torch.zeros(1, 1, 8, 8)
    layer[..., :4] = torch.tensor([1.0, -1.0]).repeat(2)
    found = local_scores([layer], _pooled([layer]), torch.tensor([[0.0, -1.0]]))
    assert (found[..., :4] < 0).all() and (found[..., 4:] > 0).all()


def test_coarse_layers_are_spread_over_the_finest() -> None:
    fine, coarse = torch.zeros(1, 1, 5, 6), torch.zeros(1, 1, 3, 3)
    coarse[0, 0, 2, 2] = 1
    found = local_scores([fine, coarse], _pooled([fine, coarse]), torch.tensor([[1.0, 0, 1.0, 0]]))
    assert found.shape == (1, 5, 6) and abs(float(found.mean())) < 1e-6
    assert found[0, -1, -1] == found.max() and float(found[0, 0, 0]) == float(found.min())


def test_a_flat_layer_has_no_places() -> None:
    layer = torch.full((1, 2, 4, 4), 0.3)
    assert local_scores([layer], _pooled([layer]), torch.ones(1, 4)).abs().max() < 1e-5
