from __future__ import annotations

import numpy as np
import pytest
import torch

from models.shading import PER_CHANNEL, shading_features

SIDE = 96


def _disc(field: np.ndarray | float = 1.0) -> torch.Tensor:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    return torch.from_numpy((0.5 * (x**2 + y**2 < 0.7) * field).astype(np.float32))[None]


@pytest.mark.parametrize("shape", [(2, 32, 32), (1, 33, 70), (3, 128, 96)])
def test_finite_features_a_row_for_each_image(shape: tuple[int, int, int]) -> None:
    found = shading_features(torch.rand(*shape, generator=torch.manual_seed(0)))
    assert found.shape == (shape[0], PER_CHANNEL)
    assert found.isfinite().all()
    assert shading_features(torch.zeros(*shape)).isfinite().all()


def test_images_do_not_touch_each_other() -> None:
    images = torch.rand(2, 48, 48, generator=torch.manual_seed(1))
    alone = torch.cat([shading_features(images[:1]), shading_features(images[1:])])
    assert torch.allclose(shading_features(images), alone, atol=1e-5)


def test_a_receive_field_shows_in_the_strength_of_the_fit() -> None:
    x = np.linspace(-1, 1, SIDE)[None, :]
    strengths = [float(shading_features(_disc(np.exp(a * x)))[0, 3]) for a in (0.0, 0.2, 0.6)]
    assert strengths[0] < strengths[1] < strengths[2] and strengths[2] > 2 * strengths[0]


def test_a_broken_line_of_k_space_shows_along_its_axis() -> None:
    spectrum = torch.fft.fft2(_disc())
    spectrum[:, [5, -5]] *= 8
    broken = torch.fft.ifft2(spectrum).real
    rows, columns = slice(PER_CHANNEL - 8, PER_CHANNEL - 4), slice(PER_CHANNEL - 4, PER_CHANNEL)
    before, after = shading_features(_disc())[0], shading_features(broken)[0]
    turned = shading_features(broken.transpose(1, 2).contiguous())[0]
    assert after[rows][2] - before[rows][2] > 0.1
    assert torch.allclose(after[rows], turned[columns], atol=1e-3)
    assert torch.allclose(after[columns], turned[rows], atol=1e-3)
