"""Own versions of slow operations give what the library's give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import lite0, spectral
from models.compat import import_timm

import_timm()

from timm.layers.padding import pad_same  # noqa: E402


def _images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sides", [(32, 32), (33, 47), (31, 64)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_is_tensorflows(sides: tuple[int, int], kernel: int) -> None:
    images = _images(2, 3, *sides)
    wanted = pad_same(images, (kernel, kernel), (2, 2))
    assert torch.equal(lite0._padded(images, kernel, 2), wanted)


def test_pooling_is_mean_and_deviation() -> None:
    maps = _images(2, 5, 40, 30).contiguous(memory_format=torch.channels_last) * 3
    maps[1, 2] = 0.7
    deviation, mean = torch.std_mean(maps.double(), dim=(2, 3), correction=0)
    wanted = torch.cat([mean, deviation], dim=1).float()
    torch.testing.assert_close(lite0._pool(maps), wanted, atol=2e-6, rtol=2e-6)


def test_the_order_is_a_stable_argsort() -> None:
    values = _images(3, 5000)
    values[0, ::3] = 0
    values[0, 1::9] = -0.0
    values[1] = 0.25
    assert torch.equal(spectral._order(values), values.argsort(dim=1, stable=True))


def test_deviation_and_power() -> None:
    values = _images(3, 500)
    torch.testing.assert_close(spectral._deviation(values), values.std(dim=1))
    spectrum = torch.fft.rfft(values)
    torch.testing.assert_close(spectral._power(spectrum), spectrum.abs().square())


def test_the_high_pass_is_the_image_less_its_binomial_mean() -> None:
    images = _images(2, 20, 30)
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    padded = F.pad(images[:, None], (2, 2, 2, 2), mode="replicate")
    low = F.conv2d(padded, torch.outer(weights, weights)[None, None])[:, 0]
    torch.testing.assert_close(spectral._high_pass(images), images - low, atol=1e-6, rtol=1e-5)
