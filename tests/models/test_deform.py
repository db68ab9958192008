"""Deformable convolution against loops, conv2d, numerical gradients and, where it works, torchvision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from models.compat import mend_torchvision
from models.deform import DeformConv2d, deform_conv2d

GEOMETRIES = [(1, 0, 1), (1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 3, 3)]  # stride, padding, dilation


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def example(stride: int, padding: int, dilation: int, spread: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    images = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, 3, 2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    size = nn.functional.conv2d(images, weight, stride=stride, padding=padding, dilation=dilation).shape[2:]
    return images, torch.randn(2, 12, *size, dtype=torch.float64) * spread, weight, bias


def by_loops(
    images: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, dilation: int
) -> Tensor:
    """The definition, one number after the other."""
    count, _, height, width = images.shape
    rows, columns = weight.shape[2:]
    found = bias.view(-1, 1, 1).repeat(count, 1, *offsets.shape[2:])
    for n, i, j in torch.cartesian_prod(*map(torch.arange, (count, *offsets.shape[2:]))).tolist():
        for tap in range(rows * columns):
            y = i * stride - padding + tap // columns * dilation + float(offsets[n, 2 * tap, i, j])
            x = j * stride - padding + tap % columns * dilation + float(offsets[n, 2 * tap + 1, i, j])
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        part = (1 - abs(y - row)) * (1 - abs(x - column)) * images[n, :, row, column]
                        found[n, :, i, j] += weight[:, :, tap // columns, tap % columns] @ part
    return found


@pytest.mark.parametrize(("stride", "padding", "dilation"), GEOMETRIES)
def test_it_is_its_definition(stride: int, padding: int, dilation: int) -> None:
    parts = example(stride, padding, dilation, spread=3.0)
    found = deform_conv2d(*parts, stride=stride, padding=padding, dilation=dilation)
    torch.testing.assert_close(found, by_loops(*parts, stride, padding, dilation), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("stride", "padding", "dilation"), GEOMETRIES)
def test_zero_offsets_are_a_plain_convolution(stride: int, padding: int, dilation: int) -> None:
    images, offsets, weight, bias = example(stride, padding, dilation, spread=0.0)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    found = deform_conv2d(images, offsets, weight, bias, **geometry)
    torch.testing.assert_close(
        found, nn.functional.conv2d(images, weight, bias, **geometry), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (1, 1)])
def test_a_side_of_one_pixel_still_has_places(shape: tuple[int, int]) -> None:
    images = torch.ones(1, 1, *shape, dtype=torch.float64)
    weight = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    offsets = torch.full((1, 2, *shape), 0.25, dtype=torch.float64)
    found = deform_conv2d(images, offsets, weight)
    assert found[0, 0, -1, -1] == pytest.approx(0.75**2)


def test_gradients_are_the_numerical_ones() -> None:
    parts = [part.requires_grad_() for part in example(2, 1, 1, spread=0.4)]
    assert torch.autograd.gradcheck(lambda *p: deform_conv2d(*p, stride=2, padding=1), parts)


@pytest.mark.parametrize(("stride", "padding", "dilation"), GEOMETRIES)
def test_it_agrees_with_torchvision(stride: int, padding: int, dilation: int) -> None:
    mend_torchvision()
    from torchvision.ops import deform_conv2d as theirs

    parts = example(stride, padding, dilation, spread=3.0)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    try:
        wanted = theirs(*parts, **geometry)
    except (RuntimeError, AttributeError) as error:
        pytest.skip(f"torchvision's operator does not load here: {str(error)[:60]}")
    torch.testing.assert_close(deform_conv2d(*parts, **geometry), wanted, rtol=0, atol=1e-12)


def test_half_precision_keeps_places() -> None:
    images, offsets, weight, bias = (part.float() for part in example(1, 1, 1, spread=2.0))
    wanted = deform_conv2d(images, offsets, weight, bias, padding=1)
    found = deform_conv2d(images.bfloat16(), offsets, weight.bfloat16(), bias.bfloat16(), padding=1)
    assert found.dtype == torch.bfloat16
    assert (found.float() - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_the_module_is_the_function_and_can_be_exported() -> None:
    net = DeformConv2d(3, 5, 3, padding=1).eval()
    images, offsets = torch.randn(2, 3, 6, 6), torch.randn(2, 18, 6, 6)
    wanted = deform_conv2d(images, offsets, net.weight, net.bias, padding=1)
    assert torch.equal(net(images, offsets), wanted)
    exported = torch.export.export(net, (images, offsets)).module()
    torch.testing.assert_close(exported(images, offsets), wanted)
    assert DeformConv2d(3, 5, 3, bias=False).bias is None


def test_wrong_shapes_are_named() -> None:
    images, offsets, weight, _ = example(1, 1, 1, spread=1.0)
    with pytest.raises(ValueError, match=r"offsets have shape \(2, 12, 7, 10\); expected \(2, 12, 5, 8\)"):
        deform_conv2d(images, offsets, weight)
    with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\)"):
        deform_conv2d(images[:, :2], offsets, weight, padding=1)
