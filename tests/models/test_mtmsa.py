"""Attention at several temperatures: timm's output at temperature 1, and what each temperature does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from models.compat import import_timm
from models.mtmsa import MultiTemperatureAttention, Softmax, gate, sharpen
from models.soqn import ChannelAttention

import_timm()

from timm.models.swin_transformer import SwinTransformerBlock, SwinTransformerStage  # noqa: E402

ONES, PROGRESSIVE = (1.0, 1.0, 1.0), (0.3, 0.4, 0.3)


def _stage(side: int, window: int, width: int = 16) -> SwinTransformerStage:
    torch.manual_seed(0)
    stage = SwinTransformerStage(width, width, (side, side), 2, False, num_heads=4, window_size=window).eval()
    for block in stage.blocks:
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
    return stage


def _sharpened(
    side: int, window: int, temperatures: tuple[float, ...], softmax: Softmax = "single"
) -> SwinTransformerStage:
    stage = _stage(side, window)
    sharpen(stage, temperatures, PROGRESSIVE[: len(temperatures)], softmax)
    return stage.eval()


@pytest.mark.parametrize(("side", "window"), [(8, 4), (9, 4), (4, 4)], ids=["whole", "padded", "one-window"])
@pytest.mark.parametrize("number", [0, 1], ids=["plain", "shifted"])
def test_with_every_temperature_1_a_block_gives_what_timms_gives(side: int, window: int, number: int) -> None:
    block: SwinTransformerBlock = _stage(side, window).blocks[number]
    ours: SwinTransformerBlock = _sharpened(side, window, ONES).blocks[number]
    assert any(ours.shift_size) == (number == 1 and side > window)
    x = torch.randn(3, side, side, 16)
    with torch.inference_mode():
        assert (ours(x) - block(x)).abs().max() < 2e-6
        ours.attn.temperature.mul_(2)
        assert (ours(x) - block(x)).abs().max() > 1e-3


def _parts(attention: MultiTemperatureAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    qkv = attention.qkv(x).unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return qkv[0] @ qkv[1].mT * attention.scale + attention._get_rel_pos_bias(), qkv[2]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_temperature_multiplies_the_logits_inside_one_softmax(temperature: float) -> None:
    attention = _sharpened(4, 4, (temperature,)).blocks[0].attn
    x = torch.randn(2, 16, 16)
    logits, value = _parts(attention, x)
    wanted = (temperature * logits).softmax(-1) @ value
    torch.testing.assert_close(attention(x), attention.proj(wanted.transpose(1, 2).flatten(2)))


def test_the_other_readings_of_equation_12() -> None:
    x = torch.randn(2, 16, 16)
    for form, outer in (
        ("double", lambda p, v: (2 * p).softmax(-1) @ v),
        ("printed", lambda p, v: (2 * p @ v).softmax(-1)),
    ):
        attention = _sharpened(4, 4, (2.0,), form).blocks[0].attn  # type: ignore[arg-type]
        logits, value = _parts(attention, x)
        wanted = outer(logits.softmax(-1), value)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(attention(x), attention.proj(wanted.transpose(1, 2).flatten(2)))


def _rows_seen(block: SwinTransformerBlock, side: int) -> list[int]:
    """Rows of the input on which row 0 of the output depends."""
    x = torch.randn(1, side, side, 16, requires_grad=True)
    block(x)[0, 0].sum().backward()
    assert x.grad is not None
    return (x.grad[0].abs().sum(dim=(1, 2)) > 1e-12).nonzero().flatten().tolist()


@pytest.mark.parametrize("form", ["single", "double", "printed"])
def test_no_temperature_opens_the_mask(form: Softmax) -> None:
    # One temperature, whose share is always 1: the modulator's mean token is not masked.
    assert _rows_seen(_sharpened(8, 4, (0.01,), form).blocks[1], 8) == [0, 1]


def test_what_timm_masks_where_it_pads() -> None:
    """As the deviations of models.mtmsa tell."""
    assert _rows_seen(_sharpened(16, 7, (1.0,)).blocks[1], 16) == [0, 10, 11, 12, 13, 14, 15]
    assert _rows_seen(_sharpened(16, 8, (1.0,)).blocks[1], 16) == [0, 1, 2, 3]


def test_the_shares_of_the_temperatures() -> None:
    attention = _sharpened(4, 4, (0.5, 1.0, 2.0)).blocks[0].attn
    x = torch.randn(5, 16, 16)
    shares = attention.weights(x)
    assert shares.shape == (5, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(5))
    torch.testing.assert_close(attention.weights(x.flip(1)), shares)  # of the mean token
    with torch.no_grad():
        attention.progressive.copy_(torch.tensor([0.0, 9.0, 0.0]))
    assert (attention.weights(x).argmax(1) == 1).all()


def test_everything_learns_and_unknown_shapes_of_weights_are_refused() -> None:
    stage = _sharpened(8, 4, (0.5, 1.0, 2.0))
    stage(torch.randn(2, 8, 8, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in stage.parameters())
    with pytest.raises(ValueError, match="2 progressive weights for 1 temperatures"):
        sharpen(_stage(8, 4), (1.0,), (0.3, 0.4))


def test_no_temperature_leaves_swin_as_it_is() -> None:
    stage = _stage(8, 4)
    sharpen(stage, (), ())
    assert not any(isinstance(module, MultiTemperatureAttention) for module in stage.modules())


def test_a_gate_stands_in_for_attention_and_keeps_the_rest() -> None:
    stage = _stage(8, 4)
    before = copy.deepcopy(stage.blocks[0])
    gate(stage, ChannelAttention)
    x = torch.randn(2, 8, 8, 16)
    block = stage.eval().blocks[0]
    x1 = x + block.gate(before.norm1(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(block(x), x1 + before.mlp(before.norm2(x1)))
    assert not any("attn" in name for name in stage.state_dict())
